package feed_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
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

func wantTail(t testing.TB, js jetstream.JetStream, want feed.Tail) {
	t.Helper()
	got, err := feed.ReadTail(t.Context(), js)
	if err != nil || got != want {
		t.Fatalf("the stream ends with %v, %v; want %v", got, err, want)
	}
	if last, err := feed.LastPosition(t.Context(), js); err != nil || last != want.Position {
		t.Fatalf("the stream's last position is %d, %v; want %d", last, err, want.Position)
	}
}

func tailOf(events []config.Event) feed.Tail {
	last := events[len(events)-1]
	return feed.Tail{Position: last.Position, Epoch: testkit.Epoch, Hash: last.Hash}
}

// The stream keeps everything for ever, and lets nobody remove an event. Of one
// that exists nothing is changed, whatever an operator has set.
func TestEnsureStream(t *testing.T) {
	t.Parallel()
	js, err := jetstream.New(testkit.NATS(t).Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := feed.ReadTail(t.Context(), js); !errors.Is(err, feed.ErrNoStream) {
		t.Errorf("the tail of no stream: %v", err)
	}
	if _, err := feed.LastPosition(t.Context(), js); !errors.Is(err, feed.ErrNoStream) {
		t.Errorf("the last position of no stream: %v", err)
	}
	var starters sync.WaitGroup
	for range 4 {
		starters.Go(func() {
			if err := feed.EnsureStream(t.Context(), js, 1); err != nil {
				t.Error(err)
			}
		})
	}
	starters.Wait()
	wantTail(t, js, feed.Tail{})
	events := testkit.RandomLog(t, 1, 5).Events
	testkit.Publish(t, js, events)
	stream, err := js.Stream(t.Context(), feed.Stream)
	if err != nil {
		t.Fatal(err)
	}
	made := stream.CachedInfo().Config
	if made.Storage != jetstream.FileStorage || made.MaxMsgs != -1 || made.MaxBytes != -1 || made.MaxAge != 0 || made.MaxMsgsPerSubject != -1 {
		t.Errorf("the stream has limits: %+v", made)
	}
	if err := stream.DeleteMsg(t.Context(), 1); err == nil {
		t.Error("an event was deleted")
	}
	if err := stream.Purge(t.Context()); err == nil {
		t.Error("the stream was purged")
	}

	operators := made
	operators.MaxBytes, operators.Description = 1<<20, "changed by an operator"
	if _, err := js.UpdateStream(t.Context(), operators); err != nil {
		t.Fatal(err)
	}
	if err := feed.EnsureStream(t.Context(), js, 1); err != nil {
		t.Fatal(err)
	}
	if err := feed.EnsureStream(t.Context(), js, 3); err == nil {
		t.Error("a single server made three replicas")
	}
	stream, err = js.Stream(t.Context(), feed.Stream)
	if err != nil {
		t.Fatal(err)
	}
	if now := stream.CachedInfo().Config; now.MaxBytes != 1<<20 || now.Description != operators.Description {
		t.Errorf("the stream that existed was changed to %+v", now)
	}
	wantTail(t, js, tailOf(events))
}

// Every event gets its position as its sequence, or the batch is refused whole.
func TestPublish(t *testing.T) {
	t.Parallel()
	js := testkit.Feed(t, testkit.NATS(t))
	events := testkit.RandomLog(t, 2, 1200).Events
	publish := func(events []config.Event) error { return feed.Publish(t.Context(), js, testkit.ID, events) }
	mustPublish := func(events []config.Event) {
		t.Helper()
		if err := publish(events); err != nil {
			t.Fatal(err)
		}
		wantTail(t, js, tailOf(events))
	}
	mustPublish(events[:1])
	mustPublish(events[1:3])
	for name, wrong := range map[string][]config.Event{
		"one that is there":       events[2:3],
		"a batch that is there":   events[0:3],
		"a batch that overlaps":   events[2:6],
		"one behind a gap":        events[4:5],
		"a batch behind a gap":    events[4:8],
		"a large one behind it":   events[10 : 10+feed.MaxBatch],
		"a large one that is not": events[1 : 1+feed.MaxBatch],
	} {
		if err := publish(wrong); !errors.Is(err, feed.ErrWrongSequence) {
			t.Errorf("%s: %v, want %v", name, err, feed.ErrWrongSequence)
		}
		wantTail(t, js, tailOf(events[:3]))
	}
	if err := publish(events[3 : 3+feed.MaxBatch+1]); err == nil || errors.Is(err, feed.ErrWrongSequence) {
		t.Errorf("more than a batch can have: %v", err)
	}
	wantTail(t, js, tailOf(events[:3]))
	mustPublish(events[3 : 3+feed.MaxBatch])
	unfit := events[3+feed.MaxBatch]
	unfit.Data = []byte(`{`)
	if err := publish([]config.Event{unfit}); err == nil {
		t.Error("an event with broken data was published")
	}
	wantTail(t, js, tailOf(events[:3+feed.MaxBatch]))
}

// However many relays publish the same log at once, the stream is that log.
func TestRelaysRace(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	server := testkit.NATS(t)
	js := testkit.Feed(t, server)
	events := testkit.RandomLog(t, 3, 120).Events
	var relays sync.WaitGroup
	for i := range 3 {
		relays.Go(func() {
			for {
				last, err := feed.LastPosition(t.Context(), js)
				if err != nil {
					t.Error(err)
					return
				}
				if last == int64(len(events)) {
					return
				}
				end := min(last+int64(5*i+1), int64(len(events)))
				if err := feed.Publish(t.Context(), js, testkit.ID, events[last:end]); err != nil && !errors.Is(err, feed.ErrWrongSequence) {
					t.Error(err)
					return
				}
			}
		})
	}
	relays.Wait()
	consumer, err := feed.OpenDurable(t.Context(), js, "reader")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(events, fetched(t, consumer, len(events))); diff != "" {
		t.Errorf("the stream (-want +got):\n%s", diff)
	}
}

// A message that is none of ours stops readers: it can't be skipped.
func TestForeignMessage(t *testing.T) {
	t.Parallel()
	js := testkit.Feed(t, testkit.NATS(t))
	if _, err := js.Publish(t.Context(), "config.events.ns.a", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := feed.ReadTail(t.Context(), js); err == nil {
		t.Error("the tail was read")
	}
	consumer, err := feed.OpenDurable(t.Context(), js, "reader")
	if err != nil {
		t.Fatal(err)
	}
	if messages, err := consumer.Fetch(t.Context(), 5*time.Second); err == nil {
		t.Errorf("fetched %v", messages)
	}
}

// A connection is there before its server, and again after it. What is
// published meanwhile is refused rather than sent late.
func TestConnectionHealsItself(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	server.Stop()
	var log logBuffer
	nc, err := feed.Connect(feed.Options{URL: server.URL, User: "u", Password: "p", Name: "test", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if err := nc.Publish("x", nil); err == nil {
		t.Error("published without a server")
	}
	connected := func() error {
		if !nc.IsConnected() {
			return errors.New("not connected")
		}
		return nil
	}
	server.Restart(t)
	testkit.Eventually(t, connected)
	server.Restart(t)
	testkit.Eventually(t, func() error {
		for _, line := range []string{"NATS connection lost", "NATS connection restored"} {
			if !strings.Contains(log.String(), line) {
				return fmt.Errorf("the log does not say %q", line)
			}
		}
		return nil
	})
	testkit.Eventually(t, connected)
	if _, err := feed.Connect(feed.Options{URL: "nats://a b:x"}); err == nil {
		t.Error("connected to what is no address")
	}
}

// logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
