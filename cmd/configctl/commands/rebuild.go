package commands

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/config-api/config-api/shared/client"
)

func (c *cli) rebuild() *cobra.Command {
	return group("rebuild", "make the read tables anew, while reads go on", c.rebuildStart(), c.rebuildStatus(), c.rebuildCancel())
}

func (c *cli) rebuildStart() *cobra.Command {
	var generation int64
	var wait bool
	cmd := &cobra.Command{
		Use: "start", Short: "begin a rebuild", Args: cobra.NoArgs, Annotations: long,
		Example: "  configctl rebuild start --wait\n  configctl rebuild start --generation 1",
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			r, err := api.StartRebuild(cmd.Context(), generation)
			if err == nil && wait {
				r, err = c.awaitRebuild(cmd.Context(), api.Client)
			}
			if errors.Is(err, client.ErrConflict) {
				err = fmt.Errorf("%w; configctl rebuild status --wait waits for it, cancel ends it", err)
			}
			if err != nil {
				return err
			}
			return c.printRebuild(r)
		},
	}
	cmd.Flags().Int64Var(&generation, "generation", 0, "bring this generation up to date and have it read again, instead of a new one")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it has ended")
	return cmd
}

func (c *cli) rebuildStatus() *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use: "status", Short: "how far the rebuild is, or how the last has ended", Args: cobra.NoArgs, Annotations: long,
		Example: "  configctl rebuild status --wait",
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			r, err := api.Rebuild(cmd.Context())
			if err == nil && wait {
				r, err = c.awaitRebuild(cmd.Context(), api.Client)
			}
			if err != nil {
				return err
			}
			return c.printRebuild(r)
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it has ended")
	return cmd
}

func (c *cli) rebuildCancel() *cobra.Command {
	return &cobra.Command{
		Use: "cancel", Short: "end the rebuild that goes on", Args: cobra.NoArgs,
		Example: "  configctl rebuild cancel",
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.connect()
			if err != nil {
				return err
			}
			r, err := api.CancelRebuild(cmd.Context())
			if err != nil {
				return err
			}
			return c.printRebuild(r)
		},
	}
}

func (c *cli) awaitRebuild(ctx context.Context, api *client.Client) (client.Rebuild, error) {
	p := c.progress("rebuilding")
	defer p.end()
	return api.AwaitRebuild(ctx, func(r client.Rebuild) { p.at(r.Done, r.Total) })
}

func (c *cli) printRebuild(r client.Rebuild) error {
	return c.print(answer{data: r, text: rebuildText(r), value: []string{r.State}})
}

// rebuildText says in one line how far it is.
func rebuildText(r client.Rebuild) string {
	text := fmt.Sprintf("generation %d is %s: %d of %d events", r.Generation, r.State, r.Done, r.Total)
	if r.Rate > 0 {
		text += fmt.Sprintf(", %.0f a second", r.Rate)
	}
	if r.SecondsLeft != nil && !r.Ended() {
		text += fmt.Sprintf(", %.0f s left", *r.SecondsLeft)
	}
	if r.Detail != "" {
		text += "; " + r.Detail
	}
	return text
}
