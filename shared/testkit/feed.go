package testkit

import (
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
