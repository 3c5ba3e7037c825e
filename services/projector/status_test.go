package projector

import (
	"log/slog"
	"testing"

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
