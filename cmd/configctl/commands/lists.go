package commands

import (
	"github.com/spf13/cobra"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
)

func (c *cli) list() *cobra.Command {
	var at string
	var namespaces bool
	cmd := &cobra.Command{
		Use: "list [PREFIX]", Short: "print all values of the namespace", Args: cobra.MaximumNArgs(1),
		Long:    "Prints all values of the namespace, or those whose names begin with PREFIX. With\n-o value only the names.",
		Example: "  configctl list\n  configctl list checkout. --at \"2h ago\"\n  configctl list --namespaces",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			reads, err := c.at(at)
			if err != nil {
				return err
			}
			if namespaces {
				return c.namespaces(cmd, api, reads)
			}
			prefix := ""
			if len(args) == 1 {
				prefix = args[0]
			}
			items := []client.Config{}
			t := table{head: []string{"NAME", "VALUE", "VERSION", "SET", "BY"}}
			for item, err := range api.ns.List(cmd.Context(), prefix, reads...) {
				if err != nil {
					return err
				}
				items = append(items, item)
				t.add(item.Name, cell(item.Value), number(item.Version), clock(item.UpdatedAt), oneLine(item.UpdatedBy))
			}
			if len(items) == 0 {
				c.note("%s has no configs that begin with %q; configctl list --namespaces shows where there are some", api.ns.Name(), prefix)
			}
			return c.print(answer{data: items, table: t, value: column(t, 0)})
		},
		ValidArgsFunction: c.completeNames,
	}
	cmd.Flags().StringVar(&at, "at", "", "as it was at a time or a position")
	cmd.Flags().BoolVar(&namespaces, "namespaces", false, "print the namespaces instead")
	return cmd
}

func (c *cli) namespaces(cmd *cobra.Command, api api, reads []client.ReadOption) error {
	items, err := api.Namespaces(cmd.Context(), reads...)
	if err != nil {
		return err
	}
	t := table{head: []string{"NAMESPACE", "CONFIGS", "CHANGED"}}
	for _, item := range items {
		t.add(item.Namespace, number(item.Configs), clock(item.UpdatedAt))
	}
	return c.print(answer{data: items, table: t, value: column(t, 0)})
}

func (c *cli) history() *cobra.Command {
	return &cobra.Command{
		Use: "history NAME", Short: "print every change of a config", Args: cobra.ExactArgs(1),
		Long:    "Prints every change of a config, oldest first.",
		Example: "  configctl history checkout.timeout\n  configctl history checkout.timeout -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			events, values := []client.Event{}, []string{}
			t := table{head: []string{"VERSION", "POSITION", "TIME", "VALUE", "BY", "REASON"}}
			for e, err := range api.ns.History(cmd.Context(), args[0], c.reads()...) {
				if err != nil {
					return err
				}
				events = append(events, e)
				value := string(e.Value) // as JSON: one line, and told apart from what follows
				if e.Type == config.ValueDeleted {
					value = "(deleted)"
				}
				values = append(values, value)
				t.add(number(e.Version), number(e.Position), clock(e.RecordedAt), valueOrDelete(e), oneLine(e.Actor), oneLine(e.Reason))
			}
			return c.print(answer{data: events, table: t, value: values})
		},
		ValidArgsFunction: c.completeNames,
	}
}

func (c *cli) audit() *cobra.Command {
	var q client.AuditQuery
	var from, to string
	var all bool
	limit := 50
	cmd := &cobra.Command{
		Use: "audit", Short: "print who has changed what, newest first", Args: cobra.NoArgs,
		Example: "  configctl audit --by bob --from yesterday\n  configctl audit --all --change 0191f3a2-…",
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			if !all {
				q.Namespace = api.ns.Name()
			}
			if q.From, err = c.timeOf(from); err != nil {
				return err
			}
			if q.To, err = c.timeOf(to); err != nil {
				return err
			}
			events := []client.Event{}
			t := table{head: []string{"POSITION", "TIME", "NAMESPACE", "NAME", "VALUE", "BEFORE", "BY", "REASON"}}
			for e, err := range api.Audit(cmd.Context(), q, c.reads()...) {
				if err != nil {
					return err
				}
				if limit > 0 && len(events) == limit {
					c.note("these are the newest %d: --limit 0 prints all", limit)
					break
				}
				events = append(events, e)
				t.add(number(e.Position), clock(e.RecordedAt), e.Namespace, e.Name, valueOrDelete(e), cell(nilOfNull(e.OldValue)), oneLine(e.Actor), oneLine(e.Reason))
			}
			return c.print(answer{data: events, table: t, value: column(t, 0)})
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&all, "all", "A", false, "of all namespaces")
	f.StringVar(&q.Name, "name", "", "of this config only")
	f.StringVar(&q.Prefix, "prefix", "", "of configs whose names begin with it only")
	f.StringVar(&q.Actor, "by", "", "by this actor only")
	f.StringVar(&q.CorrelationID, "change", "", "of the changes with this correlation id only")
	f.StringVar(&from, "from", "", "from this time on")
	f.StringVar(&to, "to", "", "before this time")
	f.IntVar(&limit, "limit", limit, "how many; 0 is all")
	_ = cmd.RegisterFlagCompletionFunc("name", c.completeNames)
	return cmd
}

// nilOfNull is for tables, where no value before is an empty cell.
func nilOfNull(raw []byte) []byte {
	if string(raw) == "null" {
		return nil
	}
	return raw
}
