package commands

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
)

func (c *cli) diff() *cobra.Command {
	return &cobra.Command{
		Use: "diff FROM [TO]", Short: "print what is different between two moments", Args: cobra.RangeArgs(1, 2),
		Long:    "Prints what is different in the namespace between two moments; TO is now.",
		Example: "  configctl diff \"yesterday 14:00\"\n  configctl diff 2026-11-24 2026-11-25 -o json\n  configctl diff 120 140",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			var ends [2]client.Instant
			for i, text := range args {
				moment, err := c.instant(text)
				if err != nil {
					return err
				}
				ends[i] = moment.api()
			}
			d, err := api.ns.Diff(cmd.Context(), ends[0], ends[1], c.reads()...)
			if err != nil {
				return err
			}
			var p plan
			for _, one := range d.Changes {
				p.add(one.Name, nilIf(one.OldVersion == 0 || one.Change == "added", one.OldValue), nilIf(one.Change == "removed", one.NewValue))
			}
			if len(d.Changes) == 0 {
				c.note("nothing is different between the positions %d and %d", d.From, d.To)
			}
			return c.print(answer{data: d, table: p.table(), value: column(p.table(), 1)})
		},
	}
}

func nilIf(not bool, raw json.RawMessage) config.Value {
	if not {
		return nil
	}
	return config.Value(raw)
}

// rewriting are the flags of revert and copy.
type rewriting struct {
	writing
	dryRun, yes bool
}

func (w *rewriting) bind(cmd *cobra.Command) {
	w.writing.bind(cmd, false)
	w.ifVersion = -1
	cmd.Flags().BoolVar(&w.dryRun, "dry-run", false, "only print what would be changed")
	cmd.Flags().BoolVarP(&w.yes, "yes", "y", false, "do not ask")
}

// rewrite shows what would be done, asks, and does it.
func (c *cli) rewrite(ctx context.Context, w rewriting, names []string, do func(context.Context, client.Rewriting) (client.Rewrite, error)) error {
	if len(names) == 0 {
		names = nil
	}
	would, err := do(ctx, client.Rewriting{Names: names, DryRun: true})
	if err != nil {
		return err
	}
	var p plan
	for _, change := range would.Changes {
		p.add(change.Name, config.Value(nilOfNull(change.OldValue)), nilIf(change.Op == config.Delete, change.Value))
	}
	if w.dryRun || len(would.Changes) == 0 {
		if len(would.Changes) == 0 {
			c.note("%s is already like that", would.Namespace)
		}
		return c.print(answer{data: would, table: p.table(), value: column(p.table(), 1)})
	}
	if err := c.showAndAsk(&p, would.Namespace, w.yes); err != nil {
		return err
	}
	done, err := do(ctx, client.Rewriting{Names: names})
	if err != nil {
		return err
	}
	return c.print(answer{
		data:  done,
		text:  doneText(len(done.Changes), done.Namespace, done.Position, done.CorrelationID),
		value: []string{done.CorrelationID},
	})
}

func (c *cli) revert() *cobra.Command {
	var w rewriting
	var to, change string
	cmd := &cobra.Command{
		Use: "revert [NAME…]", Short: "bring the namespace back to what it was", Args: cobra.ArbitraryArgs, Annotations: long,
		Long: "Brings the namespace, or some names of it, back to what it was at a moment, or takes one\n" +
			"change set back. It is done by new changes: nothing is forgotten.",
		Example: "  configctl revert --to \"2h ago\" --reason \"broke checkout\"\n  configctl revert checkout.timeout --to 120 --dry-run\n  configctl revert --change 0191f3a2-…",
		RunE: func(cmd *cobra.Command, args []string) error {
			if (to == "") == (change == "") {
				return usagef("revert needs --to or --change")
			}
			api, err := c.connect()
			if err != nil {
				return err
			}
			do := func(ctx context.Context, how client.Rewriting) (client.Rewrite, error) {
				return api.ns.RevertChange(ctx, change, how, w.options()...)
			}
			if to != "" {
				moment, err := c.instant(to)
				if err != nil {
					return err
				}
				do = func(ctx context.Context, how client.Rewriting) (client.Rewrite, error) {
					return api.ns.Revert(ctx, moment.api(), how, w.options()...)
				}
			}
			return c.rewrite(cmd.Context(), w, args, do)
		},
		ValidArgsFunction: c.completeNames,
	}
	w.bind(cmd)
	cmd.Flags().StringVar(&to, "to", "", "the time or position to go back to")
	cmd.Flags().StringVar(&change, "change", "", "the correlation id of the change set to take back")
	return cmd
}

func (c *cli) copy() *cobra.Command {
	var w rewriting
	var at string
	cmd := &cobra.Command{
		Use: "copy FROM [NAME…]", Short: "make the namespace equal to another", Args: cobra.MinimumNArgs(1), Annotations: long,
		Long: "Makes the namespace, or some names of it, equal to the namespace FROM, as it is or was.\n" +
			"What FROM does not have is deleted.",
		Example: "  configctl copy staging -n production --dry-run\n  configctl copy staging checkout.timeout -n production --at \"yesterday 18:00\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			var moment client.Instant
			if at != "" {
				i, err := c.instant(at)
				if err != nil {
					return err
				}
				moment = i.api()
			}
			return c.rewrite(cmd.Context(), w, args[1:], func(ctx context.Context, how client.Rewriting) (client.Rewrite, error) {
				return api.ns.CopyFrom(ctx, args[0], moment, how, w.options()...)
			})
		},
		ValidArgsFunction: c.completeNamespaces,
	}
	w.bind(cmd)
	cmd.Flags().StringVar(&at, "at", "", "as FROM was at a time or a position")
	return cmd
}
