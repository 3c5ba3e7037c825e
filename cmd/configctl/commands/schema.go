package commands

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
)

func (c *cli) schema() *cobra.Command {
	return group("schema", "what values must be like", c.schemaGet(), c.schemaSet(), c.schemaDelete(), c.schemaList())
}

func (c *cli) schemaGet() *cobra.Command {
	return &cobra.Command{
		Use: "get PATTERN", Short: "print the schema of a pattern of names", Args: cobra.ExactArgs(1),
		Example: "  configctl schema get 'checkout.*'",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			s, err := api.ns.Schema(cmd.Context(), args[0], c.reads()...)
			if err != nil {
				return err
			}
			var indented json.RawMessage
			if indented, err = json.MarshalIndent(s.Schema, "", "  "); err != nil {
				return err
			}
			return c.print(answer{data: s, text: string(indented), value: []string{string(s.Schema)}})
		},
	}
}

func (c *cli) schemaSet() *cobra.Command {
	var w writing
	var force bool
	cmd := &cobra.Command{
		Use: "set PATTERN SCHEMA", Short: "make values keep a JSON Schema", Args: cobra.ExactArgs(2),
		Long: "Makes the values of a pattern of names keep a JSON Schema (a name, or a prefix with *). The\n" +
			"schema is JSON, - for standard input, or @file. It is refused if values of now break it.",
		Example: "  configctl schema set checkout.timeout '{\"type\": \"integer\", \"minimum\": 1}'\n  configctl schema set 'flags.*' @flag.schema.json --force",
		RunE: func(cmd *cobra.Command, args []string) error {
			schema, err := c.argument(args[1], false)
			if err != nil {
				return fmt.Errorf("the schema: %w", err)
			}
			if _, is := schema.AsString(); is {
				return usagef("the schema is not JSON")
			}
			api, err := c.connect()
			if err != nil {
				return err
			}
			if err := api.ns.SetSchema(cmd.Context(), args[0], schema, force, w.options()...); err != nil {
				return err
			}
			c.note("%s of %s must keep it from now on", args[0], api.ns.Name())
			return nil
		},
	}
	w.bind(cmd, false)
	w.ifVersion = -1
	cmd.Flags().BoolVar(&force, "force", false, "also if values of now break it")
	return cmd
}

func (c *cli) schemaDelete() *cobra.Command {
	var w writing
	cmd := &cobra.Command{
		Use: "delete PATTERN", Short: "free the values again", Args: cobra.ExactArgs(1),
		Example: "  configctl schema delete checkout.timeout",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			return api.ns.DeleteSchema(cmd.Context(), args[0], w.options()...)
		},
	}
	w.bind(cmd, false)
	w.ifVersion = -1
	return cmd
}

func (c *cli) schemaList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "print the schemas of the namespace", Args: cobra.NoArgs,
		Example: "  configctl schema list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			items := []client.Schema{}
			t := table{head: []string{"PATTERN", "SCHEMA", "VERSION", "SET", "BY"}}
			for s, err := range api.ns.Schemas(cmd.Context(), c.reads()...) {
				if err != nil {
					return err
				}
				items = append(items, s)
				t.add(s.Pattern, cell([]byte(config.Value(s.Schema))), number(s.Version), clock(s.UpdatedAt), oneLine(s.UpdatedBy))
			}
			return c.print(answer{data: items, table: t, value: column(t, 0)})
		},
	}
}
