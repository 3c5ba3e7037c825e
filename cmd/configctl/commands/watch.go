package commands

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
)

func (c *cli) watch() *cobra.Command {
	var from string
	var o client.WatchOptions
	count := 0
	cmd := &cobra.Command{
		Use: "watch [NAME]", Short: "print changes as they are made", Args: cobra.MaximumNArgs(1), Annotations: long,
		Long: "Prints the changes of the namespace as they are made, one a line, each once and in order.\n" +
			"A connection that breaks is made again, and nothing is left out. Ctrl-C ends it.",
		Example: "  configctl watch\n  configctl watch --prefix flags. --from \"1h ago\"\n  configctl watch checkout.timeout --from 0 -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.flags.format == "yaml" || c.flags.format == "value" {
				return usagef("watch prints lines: use -o json or table")
			}
			api, err := c.connect()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				o.Name = args[0]
			}
			if o.After, err = c.after(cmd, api, from); err != nil {
				return err
			}
			seen := 0
			for e, err := range api.ns.Watch(cmd.Context(), o) {
				if err != nil {
					return err
				}
				if err := c.event(e); err != nil {
					return err
				}
				if seen++; seen == count {
					break
				}
			}
			return nil
		},
		ValidArgsFunction: c.completeNames,
	}
	f := cmd.Flags()
	f.StringVar(&o.Prefix, "prefix", "", "only configs whose names begin with it")
	f.StringVar(&from, "from", "", "begin after this time or position; 0 is the beginning")
	f.IntVar(&count, "count", 0, "end after so many changes")
	return cmd
}

// after is where a watch begins. Without a wish it is what is there now, asked for
// once: a connection that breaks before the first change must not lose it.
func (c *cli) after(cmd *cobra.Command, api api, from string) (config.Token, error) {
	var i instant
	if from != "" {
		var err error
		if i, err = c.instant(from); err != nil {
			return config.Token{}, err
		}
	}
	head, err := api.Head(cmd.Context())
	if err != nil {
		return config.Token{}, err
	}
	position := i.position
	switch {
	case from == "":
		position = head.Position
	case !i.time.IsZero():
		if position, _, err = api.PositionAt(cmd.Context(), i.time); err != nil {
			return config.Token{}, err
		}
	}
	if position == 0 {
		return client.Begin, nil
	}
	return config.Token{Epoch: head.Epoch, Position: position}, nil
}

// event prints a change as one line.
func (c *cli) event(e client.Event) error {
	if c.flags.format == "json" {
		return writeJSON(c.Out, e, "")
	}
	what, colour := e.Name+" = "+cell(e.Value), ""
	if e.Type == config.ValueDeleted || e.Type == config.SchemaDeleted {
		what, colour = e.Name+" deleted", red
	}
	line := fmt.Sprintf("%s  %d  %s  (%s", clock(e.RecordedAt), e.Position, what, cmp.Or(oneLine(e.Actor), "unknown"))
	if e.Reason != "" {
		line += ": " + oneLine(e.Reason)
	}
	line += ")"
	if colour != "" && c.colour() {
		line = colour + line + plain
	}
	_, err := fmt.Fprintln(c.Out, line)
	return err
}
