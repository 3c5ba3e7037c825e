package commands

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/config-api/config-api/shared/config"
)

func (c *cli) export() *cobra.Command {
	var file, at string
	cmd := &cobra.Command{
		Use: "export", Short: "write a namespace as a file, or the whole log as a backup", Args: cobra.NoArgs, Annotations: long,
		Long: `With --namespace, writes its values as a file that configctl apply takes: -o yaml, json,
env or properties, now or as they were.

Without it, writes the whole log as a backup that configctl import takes: JSON lines,
with the chain of hashes, which is checked on the way. A file is there whole or not at
all.`,
		Example: "  configctl export -n shop -o yaml\n  configctl export -n shop --at \"yesterday 18:00\" --output shop.properties\n  configctl export --output backup.ndjson",
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			if c.flags.namespace == "" {
				if c.flags.format != "" || at != "" {
					return usagef("-o and --at are for a namespace: say which with -n; without them the whole log is written")
				}
				return c.exportLog(cmd.Context(), api, file)
			}
			format := fileFormats["yaml"]
			if c.flags.format != "" || file != "" {
				if format, err = formatOf(c.flags.format, file); err != nil {
					return err
				}
			}
			reads, err := c.at(at)
			if err != nil {
				return err
			}
			items, err := collect(cmd.Context(), api.ns, reads)
			if err != nil {
				return err
			}
			entries := make([]entry, 0, len(items))
			for _, item := range items {
				entries = append(entries, entry{item.Name, config.Value(item.Value)})
			}
			return c.output(file, func(w io.Writer) error {
				var b bytes.Buffer
				if err := format.write(&b, entries); err != nil {
					return err
				}
				_, err := w.Write(b.Bytes())
				return err
			})
		},
	}
	cmd.Flags().StringVar(&file, "output", "", "the file; standard output if there is none")
	cmd.Flags().StringVar(&at, "at", "", "as it was at a time or a position")
	return cmd
}

// output writes a file, or to standard output.
func (c *cli) output(file string, write func(io.Writer) error) error {
	if file == "" || file == "-" {
		return write(c.Out)
	}
	return replaceFile(file, func(f *os.File) error { return write(f) })
}

func (c *cli) exportLog(ctx context.Context, api api, file string) error {
	p := c.progress("exporting")
	defer p.end()
	var header config.ExportHeader
	err := c.output(file, func(w io.Writer) error {
		var err error
		header, err = api.Export(ctx, w, p.at)
		return err
	})
	if err != nil {
		return err
	}
	p.end()
	c.note("exported %d events to %s, hash %s", header.Position, cmp.Or(file, "standard output"), header.Hash)
	return nil
}
