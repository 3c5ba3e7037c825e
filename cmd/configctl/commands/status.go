package commands

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/config-api/config-api/shared/client"
)

func (c *cli) status() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "print whether the system is well, and how far it is", Args: cobra.NoArgs,
		Long:    "Prints the health of the parts, the end of the log, how far the read tables are, and the\nlast rebuild. It exits with 5 if a part is unhealthy.",
		Example: "  configctl status\n  configctl status -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.connect(client.WithAttempts(1))
			if err != nil {
				return err
			}
			health, err := api.Health(cmd.Context())
			if err != nil {
				return err
			}
			t := table{head: []string{"PART", "STATE", "POSITION", "LAG", "MORE"}}
			for _, part := range slices.Sorted(maps.Keys(health.Checks)) {
				state := health.Checks[part]
				colour := ""
				if !health.Healthy() && state != "ok" {
					colour = red
				}
				t.rows = append(t.rows, row{[]string{part, oneLine(state), "", "", ""}, colour})
			}
			data := map[string]any{"server": c.where, "health": health}
			c.statusOfLog(cmd, api, &t, data)
			if err := c.print(answer{data: data, table: t, value: []string{health.Status}}); err != nil || health.Healthy() {
				return err
			}
			return &client.Error{Status: 503, Code: "unavailable", Detail: "the system is " + health.Status}
		},
	}
}

// statusOfLog adds the rows of what has a position. What does not answer says why in
// its row: the others are of interest then more than ever.
func (c *cli) statusOfLog(cmd *cobra.Command, api api, t *table, data map[string]any) {
	head, err := api.Head(cmd.Context())
	if err != nil {
		t.rows = append(t.rows, row{[]string{"log", oneLine(err.Error()), "", "", ""}, red})
	} else {
		data["head"] = head
		t.add("log", "", number(head.Position), "", cmp.Or(clock(head.RecordedAt), "empty")+", epoch "+head.Epoch)
	}
	projections, err := api.Projections(cmd.Context())
	if err != nil {
		t.rows = append(t.rows, row{[]string{"projections", oneLine(err.Error()), "", "", ""}, red})
	}
	data["projections"] = projections
	for _, p := range projections {
		colour := ""
		if p.State == "halted" {
			colour = red
		}
		more := fmt.Sprintf("generation %d of %s", p.Generation, p.Consumer)
		if p.Detail != "" {
			more += "; " + oneLine(p.Detail)
		}
		more += parkedText(p)
		t.rows = append(t.rows, row{[]string{"projection " + p.Name, p.State, number(p.Position), number(p.Lag), more}, colour})
	}
	rebuild, err := api.Rebuild(cmd.Context())
	switch {
	case errors.Is(err, client.ErrNotFound):
	case err != nil:
		t.rows = append(t.rows, row{[]string{"rebuild", oneLine(err.Error()), "", "", ""}, red})
	default:
		data["rebuild"] = rebuild
		t.add("rebuild", rebuild.State, number(rebuild.Done), "", rebuildText(rebuild))
	}
}
