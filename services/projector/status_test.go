package projector

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/testkit"
)

// A projector that has halted says so until it has got on, also while it tries
// again and while NATS is away.
func TestHaltedUntilItGetsOn(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	js := testkit.Feed(t, server)
	pool := testkit.Database(t, readmodel.Schema)
	p := &projector{store: readmodel.New(pool), js: js, nc: server.Conn(t), logger: slog.New(slog.DiscardHandler)}
	var log testkit.Log
	events := log.Set(t, "ns", "a", `1`)
	known := events[0].Type
	events[0].Type = "ConfigRenamed"
	log.Chain(0)
	testkit.Publish(t, js, events)
	for range 2 {
		if err := p.run(t.Context()); err == nil || p.Status().Halted != err.Error() || p.Status().Leading {
			t.Errorf("after %v the status is %+v", err, p.Status())
		}
		testkit.DeleteFeed(t, server, js)
		halted := p.Status().Halted
		if err := p.run(t.Context()); err == nil || halted == "" || p.Status().Halted != halted {
			t.Errorf("after %v the status is %+v, before it was %q", err, p.Status(), halted)
		}
		js = testkit.Feed(t, server)
		testkit.Publish(t, js, events)
	}
	testkit.DeleteFeed(t, server, js)
	events[0].Type = known // as an upgraded program would see it
	log.Chain(0)
	js = testkit.Feed(t, server)
	testkit.Publish(t, js, events)
	ended := make(chan error, 1)
	go func() { ended <- p.run(t.Context()) }()
	testkit.Eventually(t, func() error {
		if s := p.Status(); s.Halted != "" || !s.Leading {
			return &haltedError{"still " + s.Halted}
		}
		return nil
	})
	server.Stop()
	if err := <-ended; err == nil || p.Status() != (status{}) {
		t.Errorf("after %v the status is %+v", err, p.Status())
	}
}

// What has halted is mended when another projects beyond it, and not when that only
// tries as well.
func TestHaltedUntilAnotherGetsOn(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	js := testkit.Feed(t, server)
	pool := testkit.Database(t, readmodel.Schema)
	projectorOf := func() *projector {
		return &projector{store: readmodel.New(pool), js: js, nc: server.Conn(t), logger: slog.New(slog.DiscardHandler)}
	}
	p, another := projectorOf(), projectorOf()
	var log testkit.Log
	events := log.Set(t, "ns", "a", `1`)
	known := events[0].Type
	events[0].Type = "ConfigRenamed"
	log.Chain(0)
	testkit.Publish(t, js, events)
	for _, p := range []*projector{p, another, p} {
		if err := p.run(t.Context()); err == nil {
			t.Fatal("an unknown event was applied")
		}
	}
	halted := p.Status()
	if err := p.standBy(t.Context()); err != nil || p.Status() != halted || halted.Halted == "" || p.progress(time.Now()).lag != 1 {
		t.Errorf("while another has halted, too: %v, %+v, %+v", err, p.Status(), p.progress(time.Now()))
	}

	testkit.DeleteFeed(t, server, js)
	events[0].Type = known
	log.Chain(0)
	js = testkit.Feed(t, server)
	testkit.Publish(t, js, events)
	working, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- another.run(working) }()
	testkit.Eventually(t, func() error {
		if another.Status().Halted != "" {
			return errors.New("still halted")
		}
		return nil
	})
	stop()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := p.standBy(t.Context()); err != nil || p.Status() != (status{}) || p.progress(time.Now()) != (progress{position: 1, feed: 1}) {
		t.Errorf("when another has got on: %v, %+v, %+v", err, p.Status(), p.progress(time.Now()))
	}
}
