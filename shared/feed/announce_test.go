package feed_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/testkit"
)

// Who listens hears what is announced, in order; what can't be read is passed
// over.
func TestAnnounce(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	listener, speaker := server.Conn(t), server.Conn(t)
	applied, served := make(chan feed.Applied, 10), make(chan feed.Served, 10)
	if err := feed.Listen(listener, feed.AppliedSubject, func(a feed.Applied) { applied <- a }); err != nil {
		t.Fatal(err)
	}
	if err := feed.Listen(listener, feed.ServedSubject, func(s feed.Served) { served <- s }); err != nil {
		t.Fatal(err)
	}
	if err := listener.Flush(); err != nil {
		t.Fatal(err)
	}
	one, two := feed.Applied{Epoch: testkit.Epoch, Position: 1}, feed.Applied{Epoch: testkit.Epoch, Position: 2}
	leaving := feed.Served{Instance: "i", Epoch: testkit.Epoch, Position: 1<<53 + 1, Leaving: true}
	for _, err := range []error{
		feed.Announce(speaker, feed.AppliedSubject, one),
		speaker.Publish(feed.AppliedSubject, []byte("hello")),
		feed.Announce(speaker, feed.AppliedSubject, two),
		feed.Announce(speaker, feed.ServedSubject, leaving),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if a, b := <-applied, <-applied; a != one || b != two {
		t.Errorf("heard %v and %v, want %v and %v", a, b, one, two)
	}
	if s := <-served; s != leaving {
		t.Errorf("heard %v, want %v", s, leaving)
	}
	if err := feed.Announce(speaker, feed.AppliedSubject, make(chan int)); err == nil {
		t.Error("announced what is no JSON")
	}
	listener.Close()
	if err := feed.Listen(listener, feed.AppliedSubject, func(feed.Applied) {}); err == nil {
		t.Error("listens on a closed connection")
	}
	if err := feed.ServeHead(listener, func() feed.Head { return feed.Head{} }); err == nil {
		t.Error("serves on a closed connection")
	}
}

// The head of the log comes from one of the command services, or the error says
// why it does not.
func TestRequestHead(t *testing.T) {
	t.Parallel()
	head := feed.Head{Epoch: testkit.Epoch, Position: 42, RecordedAt: testkit.Began}
	tests := map[string]struct {
		serve func(nc *nats.Conn) error
		want  feed.Head
		err   string
	}{
		"two command services": {
			serve: func(nc *nats.Conn) error {
				answer := func() feed.Head { return head }
				return errors.Join(feed.ServeHead(nc, answer), feed.ServeHead(nc, answer))
			},
			want: head,
		},
		"one that can't tell": {
			serve: func(nc *nats.Conn) error {
				return feed.ServeHead(nc, func() feed.Head { return feed.Head{Position: 7, Error: "the database is down"} })
			},
			want: feed.Head{Position: 7, Error: "the database is down"},
			err:  "the database is down",
		},
		"none": {
			serve: func(*nats.Conn) error { return nil },
			err:   "no command service answers: nats: no responders available for request",
		},
		"another program": {
			serve: func(nc *nats.Conn) error {
				_, err := nc.Subscribe(feed.HeadSubject, func(m *nats.Msg) { _ = m.Respond([]byte("hello")) })
				return err
			},
			err: "head: invalid character 'h' looking for beginning of value",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testkit.NATS(t)
			nc := server.Conn(t)
			if err := test.serve(nc); err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			got, err := feed.RequestHead(ctx, server.Conn(t))
			if got != test.want || err == nil && test.err != "" || err != nil && err.Error() != test.err {
				t.Errorf("answered %v, %v; want %v, %q", got, err, test.want, test.err)
			}
		})
	}
}
