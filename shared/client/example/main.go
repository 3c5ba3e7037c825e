// Command example shows the Go client at work, in a new namespace:
//
//	go run ./shared/client/example http://127.0.0.1:4000
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/config-api/config-api/shared/client"
)

func main() {
	url := "http://127.0.0.1:4000"
	if len(os.Args) > 1 {
		url = os.Args[1]
	}
	if err := run(context.Background(), url); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url string) error {
	c, err := client.New(url, client.WithActor("ann"))
	if err != nil {
		return err
	}
	shop := c.Namespace(fmt.Sprintf("shop-%d", time.Now().Unix()))

	// A write and a read. The read shows the write, wherever it lands.
	first, err := shop.Set(ctx, "checkout.timeout", 30)
	if err != nil {
		return err
	}
	got, err := shop.Get(ctx, "checkout.timeout")
	if err != nil {
		return err
	}
	fmt.Printf("%s is %s, version %d\n", got.Name, got.Value, got.Version)

	// Only if nobody was faster.
	_, err = shop.Set(ctx, "checkout.timeout", 60, client.IfVersion(7))
	var refused *client.Error
	if errors.As(err, &refused) && errors.Is(err, client.ErrPreconditionFailed) {
		fmt.Printf("refused: it has version %d now\n", refused.Conflicts[0].Version)
	}

	// Two changes at once, with a reason; and a watch from before them.
	before := c.Seen()
	if _, err := shop.Set(ctx, "checkout.timeout", 45, client.Reason("the bank is slow")); err != nil {
		return err
	}
	if _, err := shop.Apply(ctx, []client.Change{client.Set("flags.new-cart", true)}, client.Reason("launch")); err != nil {
		return err
	}
	seen := 0
	for event, err := range shop.Watch(ctx, client.WatchOptions{After: before}) {
		if err != nil {
			return err
		}
		fmt.Printf("%s set %s to %s: %s\n", event.Actor, event.Name, event.Value, event.Reason)
		if seen++; seen == 2 {
			break
		}
	}

	// The past is read as the present is.
	then, err := shop.Get(ctx, "checkout.timeout", client.AtPosition(first.Position))
	if err != nil {
		return err
	}
	fmt.Printf("before the launch it was %s\n", then.Value)

	// And back to it, by new events.
	if _, err := shop.Revert(ctx, client.Position(first.Position), client.Rewriting{}, client.Reason("it broke")); err != nil {
		return err
	}
	if got, err = shop.Get(ctx, "checkout.timeout"); err != nil {
		return err
	}
	if _, err = shop.Get(ctx, "flags.new-cart"); !errors.Is(err, client.ErrNotFound) {
		return errors.Join(errors.New("flags.new-cart should be gone"), err)
	}
	fmt.Printf("back: %s is %s, flags.new-cart is not set\n", got.Name, got.Value)
	return nil
}
