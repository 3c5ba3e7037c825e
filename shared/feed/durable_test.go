package feed_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/testkit"
)

// fetched returns the next n events, and fails if there are more.
func fetched(t testing.TB, consumer *feed.Durable, n int) []config.Event {
	t.Helper()
	var events []config.Event
	for len(events) < n {
		messages, err := consumer.Fetch(t.Context(), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if len(messages) == 0 {
			t.Fatalf("nothing came after %d events, %d were expected", len(events), n)
		}
		for _, m := range messages {
			if m.Epoch != testkit.Epoch {
				t.Fatalf("event %d is of log %q", m.Position, m.Epoch)
			}
			events = append(events, m.Event)
		}
		if err := messages[len(messages)-1].AckSync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if more, err := consumer.Fetch(t.Context(), 50*time.Millisecond); err != nil || len(more) > 0 {
		t.Fatalf("%d events more, %v", len(more), err)
	}
	return events
}

func TestDurable(t *testing.T) {
	t.Parallel()
	js := testkit.Feed(t, testkit.NATS(t))
	events := testkit.RandomLog(t, 4, 1200).Events
	end := int64(len(events))
	open := func() *feed.Durable {
		t.Helper()
		consumer, err := feed.OpenDurable(t.Context(), js, "reader")
		if err != nil {
			t.Fatal(err)
		}
		return consumer
	}
	consumer := open()
	wantNext := func(what string, want []config.Event) {
		t.Helper()
		if got := fetched(t, consumer, len(want)); !reflect.DeepEqual(want, got) { // much faster than Diff
			t.Fatalf("%s (-want +got):\n%s", what, cmp.Diff(want, got))
		}
	}

	t.Log("A fetch of nothing ends in time, with none.")
	if messages, err := consumer.Fetch(t.Context(), 10*time.Millisecond); err != nil || len(messages) > 0 {
		t.Fatalf("fetched %v, %v from an empty stream", messages, err)
	}

	t.Log("A fetch waits for what comes.")
	first := make(chan error, 1)
	go func() {
		messages, err := consumer.Fetch(t.Context(), 20*time.Second)
		if err == nil && (len(messages) != 1 || messages[0].Position != 1) {
			err = fmt.Errorf("fetched %v, want event 1", messages)
		}
		if err == nil {
			err = messages[0].AckSync(t.Context())
		}
		first <- err
	}()
	testkit.Eventually(t, func() error { // until it waits
		info, err := consumerInfo(t.Context(), js)
		if err == nil && info.NumWaiting == 0 {
			err = errors.New("nobody waits")
		}
		return err
	})
	testkit.Publish(t, js, events[:1])
	if err := <-first; err != nil {
		t.Fatal(err)
	}

	t.Log("It brings everything in order; opened again it goes on where it was.")
	testkit.Publish(t, js, events[1:1050])
	wantNext("the rest", events[1:1050])
	consumer.Close()
	consumer = open()
	testkit.Publish(t, js, events[1050:])
	wantNext("after it was opened again", events[1050:])
	if delivered, pending, err := consumer.Delivered(t.Context()); err != nil || delivered != end || pending != 0 {
		t.Errorf("delivered up to %d, %d left, %v", delivered, pending, err)
	}

	t.Log("Reset moves it anywhere, but not beyond the end.")
	reset := func(position int64) {
		t.Helper()
		if err := consumer.Reset(t.Context(), position); err != nil {
			t.Fatalf("reset to %d: %v", position, err)
		}
	}
	reset(1150)
	wantNext("reset back", events[1149:])
	reset(0)
	if messages, err := consumer.Fetch(t.Context(), time.Second); err != nil || len(messages) != 1000 || messages[0].Position != 1 {
		t.Fatalf("after a reset to the beginning: %d messages, %v", len(messages), err)
	}
	reset(1170)
	wantNext("reset forward", events[1169:])
	for _, position := range []int64{end + 2, end + 1000} {
		if err := consumer.Reset(t.Context(), position); !errors.Is(err, feed.ErrBeyondEnd) {
			t.Errorf("reset to %d, the end is %d: %v", position, end, err)
		}
	}
	reset(end + 1)
	wantNext("reset to the end", nil)

	t.Log("Deleted, it is made anew by a reset.")
	if err := js.DeleteConsumer(t.Context(), feed.Stream, "reader"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := consumer.Delivered(t.Context()); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("how far a deleted consumer is: %v", err)
	}
	reset(1190)
	wantNext("after it was deleted", events[1189:])

	t.Log("Without its stream it says so.")
	if err := js.DeleteStream(t.Context(), feed.Stream); err != nil {
		t.Fatal(err)
	}
	if err := consumer.Reset(t.Context(), 1); !errors.Is(err, feed.ErrNoStream) {
		t.Errorf("reset without a stream: %v", err)
	}
	if _, err := feed.OpenDurable(t.Context(), js, "reader"); !errors.Is(err, feed.ErrNoStream) {
		t.Errorf("opened without a stream: %v", err)
	}
}

func consumerInfo(ctx context.Context, js jetstream.JetStream) (*jetstream.ConsumerInfo, error) {
	consumer, err := js.Consumer(ctx, feed.Stream, "reader")
	if err != nil {
		return nil, err
	}
	return consumer.CachedInfo(), nil
}

// A consumer of that name which can't be reset is refused when it is opened, not
// when it is needed.
func TestDurableOfAnotherKind(t *testing.T) {
	t.Parallel()
	js := testkit.Feed(t, testkit.NATS(t))
	_, err := js.CreateConsumer(t.Context(), feed.Stream, jetstream.ConsumerConfig{
		Durable: "reader", DeliverPolicy: jetstream.DeliverNewPolicy, AckPolicy: jetstream.AckAllPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := feed.OpenDurable(t.Context(), js, "reader"); err == nil {
		t.Error("it was opened")
	}
}
