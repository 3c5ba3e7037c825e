package testkit

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
)

// Feed makes the server's stream of events if it is missing, and returns where
// it is used.
func Feed(t testing.TB, s *NATSServer) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(s.Conn(t))
	if err != nil {
		t.Fatalf("testkit: %v", err)
	}
	if err := feed.EnsureStream(t.Context(), js, 1); err != nil {
		t.Fatalf("testkit: %v", err)
	}
	return js
}

// DeleteFeed deletes the server's stream of events, and waits until its files are
// gone as well: the server removes them later, and a stream that is deleted again
// before then stays, in silence, to come back with its old messages.
func DeleteFeed(t testing.TB, s *NATSServer, js jetstream.JetStream) {
	t.Helper()
	if err := js.DeleteStream(t.Context(), feed.Stream); err != nil {
		t.Fatalf("testkit: %v", err)
	}
	Eventually(t, func() error {
		left, err := filepath.Glob(filepath.Join(s.StoreDir, "jetstream", "*", "streams", "*"+feed.Stream))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%s is still there", left)
		}
		return err
	})
}

// Lose makes the stream anew with events of which it has lost one, as a disk can
// bring about. Ours refuses to have a message deleted, so it is another stream.
func Lose(t testing.TB, js jetstream.JetStream, events []config.Event, position int64) {
	t.Helper()
	if err := js.DeleteStream(t.Context(), feed.Stream); err != nil {
		t.Fatalf("testkit: %v", err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: feed.Stream, Subjects: []string{feed.Subjects}, AllowAtomicPublish: true, AllowDirect: true,
	})
	if err != nil {
		t.Fatalf("testkit: %v", err)
	}
	Publish(t, js, events)
	if err := stream.DeleteMsg(t.Context(), uint64(position)); err != nil {
		t.Fatalf("testkit: %v", err)
	}
}

// Publish publishes events of a [Log], as a relay does.
func Publish(t testing.TB, js jetstream.JetStream, events []config.Event) {
	t.Helper()
	for len(events) > 0 {
		n := min(len(events), feed.MaxBatch)
		if err := feed.Publish(t.Context(), js, ID, events[:n]); err != nil {
			t.Fatalf("testkit: %v", err)
		}
		events = events[n:]
	}
}
