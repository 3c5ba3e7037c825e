//go:build crash || compose

package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
)

// followers are those who are told of every change: watches over HTTP, and, where
// there is a js, a subscriber of the feed with a durable consumer of its own.
type followers struct {
	load  *load
	js    jetstream.JetStream
	after config.Token // where they begin

	mu      sync.Mutex
	watched map[string][]string // ids of the events, by namespace
	reached map[string]int64
	heard   []string // ids, by position
}

func (l *load) follow(t *testing.T, js jetstream.JetStream, after config.Token) *followers {
	t.Helper()
	f := &followers{load: l, js: js, after: after, watched: map[string][]string{}, reached: map[string]int64{}}
	ctx, stop := context.WithCancel(t.Context())
	var following sync.WaitGroup
	t.Cleanup(func() {
		stop()
		following.Wait()
	})
	for _, namespace := range []string{config.DefaultNamespace, v2Namespace} {
		following.Go(func() { f.watch(ctx, namespace) })
	}
	if js != nil {
		following.Go(func() { f.subscribe(ctx) })
	}
	return f
}

func (f *followers) watch(ctx context.Context, namespace string) {
	api, err := client.New(f.load.url)
	if err != nil {
		f.load.violation("%v", err)
		return
	}
	options := client.WatchOptions{After: f.after, Reached: func(at config.Token) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.reached[namespace] = at.Position
	}}
	last := int64(0)
	for e, err := range api.Namespace(namespace).Watch(ctx, options) {
		if err != nil {
			f.load.violation("the watch of %s ended: %v", namespace, err)
			return
		}
		if e.Position <= last {
			f.load.violation("the watch of %s showed position %d after %d", namespace, e.Position, last)
		}
		last = e.Position
		f.mu.Lock()
		f.watched[namespace] = append(f.watched[namespace], e.EventID)
		f.mu.Unlock()
	}
}

const subscriberName = "crash-subscriber"

// subscribe is what a careful subscriber does: it keeps the position that it has,
// drops what it had, and begins its consumer anew when that has nothing although
// the feed has.
func (f *followers) subscribe(ctx context.Context) {
	js := f.js
	for ctx.Err() == nil {
		consumer, err := js.CreateOrUpdateConsumer(ctx, feed.Stream, jetstream.ConsumerConfig{
			Durable: subscriberName, AckPolicy: jetstream.AckAllPolicy, AckWait: 5 * time.Second, MaxAckPending: -1,
		})
		if err == nil {
			err = f.consume(ctx, consumer)
		}
		if errors.Is(err, errAnew) {
			_ = js.DeleteConsumer(ctx, feed.Stream, subscriberName)
		}
		if !errors.Is(err, errAnew) && err != nil { // no server, no stream
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

var errAnew = errors.New("the consumer is to begin anew")

func (f *followers) consume(ctx context.Context, consumer jetstream.Consumer) error {
	for ctx.Err() == nil {
		batch, err := consumer.Fetch(200, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return err
		}
		var lastMessage jetstream.Msg
		for msg := range batch.Messages() {
			if err := f.take(msg); err != nil {
				return err
			}
			lastMessage = msg
		}
		if lastMessage != nil {
			_ = lastMessage.Ack()
			continue
		}
		last, err := feed.LastPosition(ctx, f.js)
		if err != nil {
			return err
		}
		f.mu.Lock()
		behind := last > int64(len(f.heard))
		f.mu.Unlock()
		if behind {
			return errAnew
		}
	}
	return nil
}

func (f *followers) take(msg jetstream.Msg) error {
	e, _, err := feed.Decode(msg.Data())
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch next := int64(len(f.heard)) + 1; {
	case e.Position < next: // had it: it must be the same
		if f.heard[e.Position-1] != e.ID {
			f.load.violation("position %d of the feed was event %s, and is now %s", e.Position, f.heard[e.Position-1], e.ID)
		}
	case e.Position > next:
		return errAnew // a consumer that somebody moved, or that lost its place
	default:
		f.heard = append(f.heard, e.ID)
	}
	return nil
}

// complete returns what the followers lack, nil if they were told everything.
func (f *followers) complete(events []config.Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.js != nil && len(f.heard) < len(events) {
		return fmt.Errorf("the subscriber of the feed is at %d of %d", len(f.heard), len(events))
	}
	want := map[string][]string{}
	for i := range events {
		if e := &events[i]; f.js != nil && f.heard[i] != e.ID {
			return fmt.Errorf("the subscriber heard %s at position %d, the log has %s", f.heard[i], e.Position, e.ID)
		}
		want[events[i].Namespace] = append(want[events[i].Namespace], events[i].ID)
	}
	for namespace, ids := range want {
		got := f.watched[namespace]
		for i := range min(len(ids), len(got)) {
			if ids[i] != got[i] {
				return fmt.Errorf("the watch of %s has %s as its event %d, the log has %s", namespace, got[i], i+1, ids[i])
			}
		}
		if len(got) != len(ids) {
			return fmt.Errorf("the watch of %s has %d events, the log %d", namespace, len(got), len(ids))
		}
	}
	return nil
}
