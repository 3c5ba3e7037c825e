package commands

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/config-api/config-api/shared/client"
)

// verifyStep is how many events are checked with one request, for the progress bar.
const verifyStep = 20_000

func (c *cli) verify() *cobra.Command {
	var from, to int64
	cmd := &cobra.Command{
		Use: "verify", Short: "check the log's chain of hashes", Args: cobra.NoArgs, Annotations: long,
		Long: "Has the service check the chain of hashes of the log: a changed, removed or reordered event\n" +
			"is found. configctl check holds everything else against the log too.",
		Example: "  configctl verify\n  configctl verify --from 1000 --to 2000",
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			v, err := c.verifyLog(cmd.Context(), api.Client, from, to)
			if err != nil {
				return err
			}
			text := fmt.Sprintf("the chain holds from position %d to %d", v.From, v.To)
			if !v.Valid {
				text = fmt.Sprintf("the chain does not hold: event %d %s", v.FirstInvalid, v.Detail)
			}
			if err := c.print(answer{data: v, text: text, value: []string{fmt.Sprint(v.Valid)}}); err != nil || v.Valid {
				return err
			}
			return errBroken
		},
	}
	cmd.Flags().Int64Var(&from, "from", 0, "the first position")
	cmd.Flags().Int64Var(&to, "to", 0, "the last position")
	return cmd
}

var errBroken = errors.New("the log was changed, or its disk is at fault: compare the event with the feed and with a backup (docs/operations.md)")

// verifyLog checks the chain piece by piece. A piece begins with the hash before it as
// it is stored, which the piece before has checked.
func (c *cli) verifyLog(ctx context.Context, reader *client.Client, from, to int64) (client.Verification, error) {
	head, err := reader.Head(ctx)
	if err != nil {
		return client.Verification{}, err
	}
	p := c.progress("verifying")
	defer p.end()
	first, last := max(from, 1), head.Position
	if to > 0 {
		last = min(to, last)
	}
	for begin := first; ; begin += verifyStep {
		// The last piece goes to the end as it is then, unless a part was asked for.
		end := begin + verifyStep - 1
		if end >= last {
			end = to
		}
		v, err := reader.Verify(ctx, begin, end)
		if err != nil || !v.Valid || end == to {
			v.From = first
			return v, err
		}
		p.at(end, last)
	}
}
