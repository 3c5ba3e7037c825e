package commands

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
)

func (c *cli) get() *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use: "get NAME", Short: "print a value", Args: cobra.ExactArgs(1),
		Long:    "Prints the value: of a text the text itself, of anything else its JSON. -o json has all\nthat is known of it, -o table shows it.",
		Example: "  configctl get checkout.timeout\n  configctl get checkout.timeout --at \"yesterday 14:00\"\n  configctl get checkout.timeout -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			reads, err := c.at(at)
			if err != nil {
				return err
			}
			got, err := api.ns.Get(cmd.Context(), args[0], reads...)
			if err != nil {
				return err
			}
			if c.flags.format == "" {
				c.flags.format = "value"
			}
			t := table{head: []string{"NAME", "VALUE", "VERSION", "POSITION", "SET", "BY", "REASON"}}
			t.add(got.Name, cell(got.Value), number(got.Version), number(got.Position), clock(got.UpdatedAt), oneLine(got.UpdatedBy), oneLine(got.Reason))
			return c.print(answer{data: got, table: t, value: []string{bare(got.Value)}})
		},
		ValidArgsFunction: c.completeNames,
	}
	cmd.Flags().StringVar(&at, "at", "", "as it was at a time or a position")
	return cmd
}

// writing are the flags of every write.
type writing struct {
	reason    string
	ifVersion int64
}

func (w *writing) bind(cmd *cobra.Command, one bool) {
	cmd.Flags().StringVar(&w.reason, "reason", "", "why: it stays with the change for ever")
	if one {
		cmd.Flags().Int64Var(&w.ifVersion, "if-version", -1, "only if the config has this version; 0: no value")
	}
}

func (w *writing) options() []client.WriteOption {
	var options []client.WriteOption
	if w.reason != "" {
		options = append(options, client.Reason(w.reason))
	}
	if w.ifVersion >= 0 {
		options = append(options, client.IfVersion(w.ifVersion))
	}
	return options
}

func (c *cli) set() *cobra.Command {
	var w writing
	var isText bool
	cmd := &cobra.Command{
		Use: "set NAME VALUE", Short: "set a value", Args: cobra.ExactArgs(2),
		Long: "Sets a value.\n\n" + valueHelp,
		Example: "  configctl set motd \"good morning\"\n  configctl set checkout.timeout 30 --reason \"slow bank\"\n" +
			"  configctl set flags.new-cart '{\"on\": true}' --if-version 3\n  configctl set release 1.10 --string\n  configctl set tls.cert @cert.pem",
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := c.argument(args[1], isText)
			if err != nil {
				return fmt.Errorf("the value of %s: %w", args[0], err)
			}
			api, err := c.connect()
			if err != nil {
				return err
			}
			done, err := api.ns.Set(cmd.Context(), args[0], value, w.options()...)
			if err != nil {
				return err
			}
			return c.written("set", done)
		},
		ValidArgsFunction: c.completeNames,
	}
	w.bind(cmd, true)
	cmd.Flags().BoolVar(&isText, "string", false, "the value is a text, whatever it looks like")
	return cmd
}

func (c *cli) delete() *cobra.Command {
	var w writing
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "delete a value", Args: cobra.ExactArgs(1),
		Long:    "Deletes a value. Its history stays, and configctl get --at goes on reading it.",
		Example: "  configctl delete flags.old-cart --reason \"nobody uses it\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			done, err := api.ns.Delete(cmd.Context(), args[0], w.options()...)
			if err != nil {
				return err
			}
			return c.written("deleted", done)
		},
		ValidArgsFunction: c.completeNames,
	}
	w.bind(cmd, true)
	return cmd
}

// written says what a write did; its bare value is the version, for --if-version.
func (c *cli) written(what string, w client.Written) error {
	return c.print(answer{
		data:  w,
		text:  fmt.Sprintf("%s %s in %s: version %d, position %d", what, w.Name, w.Namespace, w.Version, w.Position),
		value: []string{number(w.Version)},
	})
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// valueOrDelete is what an event did to its config.
func valueOrDelete(e client.Event) string {
	switch e.Type {
	case config.ValueDeleted, config.SchemaDeleted:
		return "(deleted)"
	}
	return cell(e.Value)
}
