package commands

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/config-api/config-api/shared/client"
)

func (c *cli) parked() *cobra.Command {
	return group("parked", "names with an event that can't be applied", c.parkedList(), c.parkedRetry())
}

func (c *cli) parkedList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "print them, of all namespaces", Args: cobra.NoArgs,
		Example: "  configctl parked list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			projections, err := api.Projections(cmd.Context())
			if err != nil {
				return err
			}
			names := []client.Parked{}
			t := table{head: []string{"NAMESPACE", "NAME", "POSITION", "WAITING", "SINCE", "REASON"}}
			for _, p := range projections {
				for _, n := range p.Parked {
					names = append(names, n)
					t.add(n.Namespace, n.Name, number(n.Position), number(n.Events), clock(n.Since), oneLine(n.Reason))
				}
				if more := p.ParkedNames - len(p.Parked); more > 0 {
					c.note("and %d more", more)
				}
			}
			if len(names) == 0 {
				c.note("nothing is parked")
			}
			return c.print(answer{data: names, table: t, value: column(t, 1)})
		},
	}
}

// errStillParked is told after the table that says what, and why.
var errStillParked = errors.New("some are parked still, for the reasons above: see \"A name is parked\" in docs/operations.md")

func (c *cli) parkedRetry() *cobra.Command {
	return &cobra.Command{
		Use: "retry [NAME]", Short: "apply what waits, of one name or of all", Args: cobra.MaximumNArgs(1),
		Long: "Applies the events that wait, in order, up to the first that still can't be: those of\n" +
			"NAME in the namespace, or without it of all names in all namespaces.",
		Example: "  configctl parked retry\n  configctl parked retry checkout.timeout -n shop",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			var namespace, name string
			if len(args) == 1 {
				namespace, name = api.ns.Name(), args[0]
			}
			done, err := api.RetryParked(cmd.Context(), namespace, name)
			if err != nil {
				return err
			}
			left := false
			t := table{head: []string{"NAMESPACE", "NAME", "APPLIED", "STILL AT", "REASON"}}
			for _, r := range done {
				at := ""
				if r.Reason != "" {
					left, at = true, number(r.Position)
				}
				t.add(r.Namespace, r.Name, number(r.Applied), at, oneLine(r.Reason))
			}
			if len(done) == 0 {
				c.note("nothing is parked")
			}
			if err := c.print(answer{data: done, table: t, value: column(t, 2)}); err != nil || !left {
				return err
			}
			return errStillParked
		},
		ValidArgsFunction: c.completeNames,
	}
}

// parkedText says in a status how many there are.
func parkedText(p client.Projection) string {
	if p.ParkedNames == 0 {
		return ""
	}
	return fmt.Sprintf("; %d names are parked, see configctl parked list", p.ParkedNames)
}
