package commands

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/config-api/config-api/shared/client"
)

func (c *cli) recovery() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "recover", Short: "make everything follow the log, after a restore or a changed feed", Args: cobra.NoArgs, Annotations: long,
		Long: `The one command after Postgres was restored from a backup, or when the feed was changed:
it verifies the log, gives it a new epoch, has the feed made anew from it and the read
tables from the feed, and waits until reads show the log. Until then readers serve what
they had.

What the log does not have is gone: positions that clients remember from before are
refused, and subscribers outside must begin anew.`,
		Example: "  configctl recover",
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			return c.recoverLog(cmd.Context(), api, yes)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (c *cli) recoverLog(ctx context.Context, api api, yes bool) error {
	v, err := c.verifyLog(ctx, api.Client, 0, 0)
	if err != nil {
		return err
	}
	if !v.Valid {
		return fmt.Errorf("the log itself does not hold, event %d %s: restore another backup first; nothing was done", v.FirstInvalid, v.Detail)
	}
	head, err := api.Head(ctx)
	if err != nil {
		return err
	}
	c.note("the log holds: %d events, the last of %s, epoch %s", head.Position, clock(head.RecordedAt), head.Epoch)
	if err := c.confirm(yes, "Make the feed and the read tables follow it? What it does not have is lost."); err != nil {
		return err
	}
	fresh, err := api.Recover(ctx, head.Epoch)
	if err != nil {
		return err
	}
	c.note("the epoch is %s now, and the feed is made anew", fresh.Epoch)
	if err := c.rebuildAfter(ctx, api.Client); err != nil {
		return fmt.Errorf("the log has its new epoch, but the read tables are not made anew: when the reason is gone, go on with configctl rebuild start --wait: %w", err)
	}
	if err := c.awaitReaders(ctx, api, fresh); err != nil {
		return fmt.Errorf("the read tables are made anew, but can't be read yet: %w", err)
	}
	text := fmt.Sprintf(`recovered: reads show the log up to position %d of epoch %s

Tell clients:      positions of before (epoch %s) are answered 412 epoch-mismatch:
                   read again without. Writes of the time that was lost must be made again.
Tell subscribers:  the stream was made anew: delete what was built from it, and begin at its
                   first message. Durable consumers are gone with the old one.`, fresh.Position, fresh.Epoch, head.Epoch)
	return c.print(answer{data: fresh, text: text, value: []string{fresh.Epoch}})
}

// rebuildAfter makes the read tables anew; a rebuild that goes on already began before
// the new epoch, and is let end first, however it does.
func (c *cli) rebuildAfter(ctx context.Context, api *client.Client) error {
	_, err := api.StartRebuild(ctx, 0)
	for errors.Is(err, client.ErrConflict) {
		if _, err := c.awaitRebuild(ctx, api); err != nil && ctx.Err() != nil {
			return err
		}
		_, err = api.StartRebuild(ctx, 0)
	}
	if err != nil {
		return err
	}
	_, err = c.awaitRebuild(ctx, api)
	return err
}
