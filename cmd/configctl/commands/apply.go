package commands

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
)

func (c *cli) apply() *cobra.Command {
	var w rewriting
	var file, as string
	var prune bool
	cmd := &cobra.Command{
		Use: "apply -f FILE", Short: "make the namespace equal to a file", Args: cobra.NoArgs, Annotations: long,
		Long: `Makes the namespace equal to a file, after it has shown what that changes. What is not
in the file stays, unless --prune. All is done in one change set, so nobody sees a part
of it; a file with more than 1000 changes needs several, with one correlation id. If
somebody changes one of the values meanwhile, nothing is done.

The file is YAML or JSON: one mapping from names to values, which may be mappings
themselves; or .env or .properties, whose values are read as configctl set reads its
argument (in an .env file "double quotes" make a text). configctl export writes them.`,
		Example: "  configctl apply -f shop.yaml -n shop --dry-run\n  configctl apply -f shop.env --prune --yes --reason \"release 7\"\n" +
			"  configctl export -n staging -o json | configctl apply -f - --as json -n production --yes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usagef("apply needs -f FILE")
			}
			wanted, err := c.readEntries(file, as)
			if err != nil {
				return err
			}
			api, err := c.connect()
			if err != nil {
				return err
			}
			present, err := collect(cmd.Context(), api.ns, c.reads())
			if err != nil {
				return err
			}
			p, left := compare(present, wanted, prune)
			if left > 0 {
				c.note("not in the file: %s of %s; they stay, --prune deletes them", counted(left, "config"), api.ns.Name())
			}
			if len(p.steps) == 0 || w.dryRun {
				c.note("%s: %s; nothing was done", api.ns.Name(), p.summary())
				return c.print(answer{data: map[string]any{"changes": p.changes()}, table: p.table(), value: column(p.table(), 1)})
			}
			if len(p.steps) > config.MaxChanges {
				c.note("more than %d changes do not fit into one change set: readers will see them in parts", config.MaxChanges)
			}
			if err := c.showAndAsk(&p, api.ns.Name(), w.yes); err != nil {
				return err
			}
			return c.applyAll(cmd.Context(), api.ns, p.changes(), w.options())
		},
	}
	w.bind(cmd)
	cmd.Flags().StringVarP(&file, "file", "f", "", "the file; - is standard input")
	cmd.Flags().StringVar(&as, "as", "", "the file's format: yaml, json, env or properties (default: what its name ends with)")
	cmd.Flags().BoolVar(&prune, "prune", false, "delete what is not in the file")
	return cmd
}

// readEntries reads a file of configs.
func (c *cli) readEntries(file, as string) ([]entry, error) {
	format, err := formatOf(as, file)
	if err != nil {
		return nil, err
	}
	text, err := c.readFile(file)
	if err != nil {
		return nil, err
	}
	entries, err := format.read(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return entries, nil
}

func collect(ctx context.Context, ns *client.Namespace, reads []client.ReadOption) ([]client.Config, error) {
	var items []client.Config
	for item, err := range ns.List(ctx, "", reads...) {
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

// applyAll sends the changes, as many at once as the API takes.
func (c *cli) applyAll(ctx context.Context, ns *client.Namespace, changes []client.Change, options []client.WriteOption) error {
	var position int64
	done, id := 0, ""
	if len(changes) > config.MaxChanges {
		id = rand.Text()
		options = append(options, client.CorrelationID(id))
	}
	for set := range slices.Chunk(changes, config.MaxChanges) {
		applied, err := ns.Apply(ctx, set, options...)
		if errors.Is(err, client.ErrPreconditionFailed) || errors.Is(err, client.ErrConflict) {
			err = fmt.Errorf("somebody has changed the namespace since the plan was made, apply again: %w", err)
		}
		if err != nil && done > 0 {
			err = fmt.Errorf("%s done, with correlation id %s, the others are not: %w", counted(done, "change"), id, err)
		}
		if err != nil {
			return err
		}
		done, position, id = done+len(set), applied.Position, applied.CorrelationID
	}
	return c.print(answer{
		data:  map[string]any{"namespace": ns.Name(), "changes": done, "position": position, "correlation_id": id},
		text:  doneText(done, ns.Name(), position, id),
		value: []string{id},
	})
}
