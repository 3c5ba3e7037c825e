package commands

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/config-api/config-api/shared/check"
	"github.com/config-api/config-api/shared/client"
)

func (c *cli) check() *cobra.Command {
	var readers []string
	var requests string
	cmd := &cobra.Command{
		Use: "check", Short: "check that what must always hold does", Args: cobra.NoArgs, Annotations: long,
		Long: "Reads the log, the feed, the read tables and the memory of the query services, and holds\n" +
			"them against each other. Writes may go on meanwhile. It exits with 1 if something does\n" +
			"not hold, and says what and where.",
		Example: "  configctl check\n  configctl check --reader http://query-1:4000 --reader http://query-2:4000\n  configctl check --requests acknowledged.txt -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			p := c.progress("checking")
			defer p.end()
			o := check.Options{Progress: p.at}
			for _, address := range readers {
				reader, err := client.New(address)
				if err != nil {
					return usageError{err}
				}
				o.Readers = append(o.Readers, reader)
			}
			if requests != "" {
				text, err := c.readFile(requests)
				if err != nil {
					return err
				}
				o.Requests = strings.Fields(text)
			}
			report, err := check.Run(cmd.Context(), api.Client, o)
			if err != nil {
				return fmt.Errorf("it could not be checked: %w", err)
			}
			p.end()
			return c.printReport(report)
		},
	}
	cmd.Flags().StringArrayVar(&readers, "reader", nil, "URL of a query service whose memory is checked; may be given several times")
	cmd.Flags().StringVar(&requests, "requests", "", "file of the ids (X-Request-Id) of writes that were acknowledged, one a line")
	return cmd
}

var errDoesNotHold = errors.New("something that must always hold does not: see above, and docs/operations.md")

func (c *cli) printReport(report *check.Report) error {
	t := table{head: []string{"", "HOLDS", "CHECKED", "WHAT"}}
	for _, r := range report.Results {
		switch {
		case !r.Holds():
			t.rows = append(t.rows, row{[]string{r.Invariant, "NO", r.Checked, r.Says}, red})
		case r.Checked == "":
			t.add(r.Invariant, "-", "", r.Says)
		default:
			t.add(r.Invariant, "yes", r.Checked, r.Says)
		}
	}
	if err := c.print(answer{data: report, table: t}); err != nil {
		return err
	}
	if report.Holds() {
		c.note("all holds up to position %d", report.Position)
		return nil
	}
	for _, r := range report.Results {
		for _, fault := range r.Faults {
			c.note("%s: %s", r.Invariant, oneLine(fault))
		}
		if more := r.Count - len(r.Faults); more > 0 {
			c.note("%s: and %d more", r.Invariant, more)
		}
	}
	return errDoesNotHold
}
