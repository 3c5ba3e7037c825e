package feed_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/testkit"
)

// follower collects what Follow brings.
type follower struct {
	t      *testing.T
	mu     sync.Mutex
	events []config.Event
	ended  chan error
}

// What is not what was appended, or of another log, ends it.
func TestFollowEndsAtWhatIsNotTheLogs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		log    config.LogID
		change func(*config.Event)
		want   string
	}{
		"a changed value":   {testkit.ID, func(e *config.Event) { e.Data = []byte(`{"config_name":"a","value":0,"old_value":1}`) }, "message 3 of the feed does not have the hash"},
		"a changed actor":   {testkit.ID, func(e *config.Event) { e.Actor = "eve" }, "message 3 of the feed does not have the hash"},
		"of another log":    {config.LogID{Epoch: "0191f3a2-0000-7000-8000-0000000000ff", Origin: testkit.Epoch}, func(*config.Event) {}, "went over to another log (epoch 0191f3a2-0000-7000-8000-0000000000ff) at position 3"},
		"of another origin": {config.LogID{Epoch: testkit.Epoch, Origin: "0191f3a2-0000-7000-8000-0000000000ff"}, func(*config.Event) {}, "message 3 of the feed does not have the hash"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js := testkit.Feed(t, testkit.NATS(t))
			var log testkit.Log
			for _, value := range []string{`1`, `2`, `3`} {
				log.Set(t, "ns", "a", value)
			}
			test.change(&log.Events[2])
			testkit.Publish(t, js, log.Events[:2])
			if err := feed.Publish(t.Context(), js, test.log, log.Events[2:]); err != nil {
				t.Fatal(err)
			}
			var reached int64
			err := feed.Follow(t.Context(), js, feed.Place{}, slog.New(slog.DiscardHandler), func(_ string, events []config.Event) error {
				reached = events[len(events)-1].Position
				return nil
			})
			if err == nil || !strings.Contains(err.Error(), test.want) || reached != 2 {
				t.Errorf("Follow ended after %d with %v, want %q after 2", reached, err, test.want)
			}
		})
	}
}

// A message that the stream has lost ends it too; one that is only late does not.
func TestFollowEndsAtALostMessage(t *testing.T) {
	t.Parallel()
	js := testkit.Feed(t, testkit.NATS(t))
	var log testkit.Log
	for _, value := range []string{`1`, `2`, `3`} {
		log.Set(t, "ns", "a", value)
	}
	testkit.Lose(t, js, log.Events, 2)
	var reached int64
	err := feed.Follow(t.Context(), js, feed.Place{}, slog.New(slog.DiscardHandler), func(_ string, events []config.Event) error {
		reached = events[len(events)-1].Position
		return nil
	})
	var missing *feed.MissingError
	if !errors.As(err, &missing) || missing.Position != 2 || reached != 1 {
		t.Errorf("Follow ended after %d with %v, want that message 2 is missing after 1", reached, err)
	}
	for _, there := range []int64{1, 3, 4, 100} {
		if err := feed.Missing(t.Context(), js, there); err != nil {
			t.Errorf("position %d: %v", there, err)
		}
	}
}

// follow follows from a position on until the test ends.
func follow(t *testing.T, js jetstream.JetStream, after feed.Place) *follower {
	f := &follower{t: t, ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { f.ended <- feed.Follow(ctx, js, after, slog.New(slog.DiscardHandler), f.apply) }()
	t.Cleanup(func() {
		cancel()
		if err := <-f.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Follow ended with %v", err)
		}
	})
	return f
}

func (f *follower) apply(epoch string, events []config.Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if last := events[len(events)-1]; epoch != testkit.Epoch || last.Position != last.Commit {
		f.t.Errorf("half a change set, or of another log (%s): %v", epoch, events)
	}
	f.events = append(f.events, events...)
	return nil
}

// want waits until the follower has as many events, and compares them.
func (f *follower) want(events []config.Event) {
	f.t.Helper()
	testkit.Eventually(f.t, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.events) < len(events) {
			return fmt.Errorf("%d events came, want %d", len(f.events), len(events))
		}
		return nil
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if !reflect.DeepEqual(events, f.events) { // much faster than Diff
		f.t.Fatalf("followed (-want +got):\n%s", cmp.Diff(events, f.events))
	}
}

// Each position comes once, whatever happens to the server and to the stream.
func TestFollow(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	js, err := jetstream.New(server.Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	all := follow(t, js, feed.Place{}) // there is no stream yet
	js = testkit.Feed(t, server)
	events := testkit.RandomLog(t, 5, 900).Events
	after := events[40].Commit
	place := feed.Place{Token: config.Token{Epoch: testkit.Epoch, Position: after}, Hash: events[after-1].Hash}
	testkit.Publish(t, js, events[:100])
	some := follow(t, js, place)
	wantBoth := func(n int) {
		t.Helper()
		all.want(events[:n])
		some.want(events[after:n])
	}

	t.Log("A change set is whole, also when it is published in parts.")
	set := setOf(t, events[100:])
	testkit.Publish(t, js, events[100:100+set])
	testkit.Publish(t, js, events[100+set:100+set+1])
	end := int(events[100+set].Commit)
	testkit.Publish(t, js, events[100+set+1:end])
	wantBoth(end)

	t.Log("The server restarts.")
	server.Restart(t)
	testkit.Eventually(t, func() error {
		_, err := feed.LastPosition(t.Context(), js)
		return err
	})
	next := int(events[end+200].Commit)
	testkit.Publish(t, js, events[end:next])
	wantBoth(next)

	t.Log("The stream is lost, and filled again from the log.")
	if err := js.DeleteStream(t.Context(), feed.Stream); err != nil {
		t.Fatal(err)
	}
	if err := feed.EnsureStream(t.Context(), js, 1); err != nil {
		t.Fatal(err)
	}
	testkit.Publish(t, js, events)
	wantBoth(len(events))
}

// setOf returns how many events there are before the first change set of
// several.
func setOf(t *testing.T, events []config.Event) int {
	for i, e := range events {
		if e.Commit > e.Position && (i == 0 || events[i-1].Commit < e.Position) {
			return i
		}
	}
	t.Fatal("no change set of several events")
	return 0
}

// What fails is tried again with the same change set; only Stop ends it.
func TestFollowTriesAgainUntilStopped(t *testing.T) {
	t.Parallel()
	js := testkit.Feed(t, testkit.NATS(t))
	testkit.Publish(t, js, testkit.RandomLog(t, 6, 10).Events)
	enough := errors.New("enough")
	var tries []int64
	err := feed.Follow(t.Context(), js, feed.Place{}, slog.New(slog.DiscardHandler), func(_ string, events []config.Event) error {
		tries = append(tries, events[0].Position)
		if len(tries) < 3 {
			return errors.New("not now")
		}
		return &feed.Stop{Err: enough}
	})
	if diff := cmp.Diff([]int64{1, 1, 1}, tries); !errors.Is(err, enough) || diff != "" {
		t.Errorf("ended with %v, tries (-want +got):\n%s", err, diff)
	}
	stop := &feed.Stop{Err: enough}
	if !errors.Is(stop, enough) || stop.Error() != enough.Error() {
		t.Errorf("Stop hides its reason: %v", stop)
	}
}

// It ends with its context, also while it waits to try again.
func TestFollowEndsWithItsContext(t *testing.T) {
	t.Parallel()
	js := testkit.Feed(t, testkit.NATS(t))
	testkit.Publish(t, js, testkit.RandomLog(t, 7, 1).Events)
	ctx, cancel := context.WithCancel(t.Context())
	err := feed.Follow(ctx, js, feed.Place{}, slog.New(slog.DiscardHandler), func(string, []config.Event) error {
		cancel()
		return errors.New("not now")
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// It ends with its context also when the stream has gone from under it.
func TestFollowEndsWithoutAStream(t *testing.T) {
	t.Parallel()
	js := testkit.Feed(t, testkit.NATS(t))
	testkit.Publish(t, js, testkit.RandomLog(t, 8, 1).Events)
	ctx, cancel := context.WithCancel(t.Context())
	followed := make(chan error, 1)
	applied := make(chan struct{}, 10)
	trying := slog.New(slog.NewTextHandler(writer(func([]byte) { cancel() }), nil))
	go func() {
		followed <- feed.Follow(ctx, js, feed.Place{}, trying, func(string, []config.Event) error {
			applied <- struct{}{}
			return nil
		})
	}()
	<-applied
	if err := js.DeleteStream(t.Context(), feed.Stream); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-followed:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("it does not end")
	}
}

// writer calls itself with what is written.
type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }
