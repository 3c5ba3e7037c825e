package main

import (
	"context"
	"fmt"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/config-api/config-api/services/command"
	"github.com/config-api/config-api/services/projector"
	"github.com/config-api/config-api/services/query"
	"github.com/config-api/config-api/shared/check"
	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/testkit"
)

// writePace leaves some of the machine to the tests beside.
const writePace = 30 * time.Millisecond

// A NATS cluster with three replicas of the feed loses the server that leads it,
// again and again while writes and reads go on: nothing is lost, doubled or out of
// order, and no reader sees state go back.
func TestTheFeedsLeaderIsLost(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	cluster := testkit.Cluster(t)
	s := &system{database: testkit.DatabaseURL(t, eventlog.Schema, readmodel.Schema)}
	startReplicated(t, s, cluster.URL)
	c := newClient(t, s.url)
	written := make([]int, 3)
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	for w := range written {
		mine := newClient(t, s.url, client.WithAttempts(20))
		ns, name := mine.Namespace("ns"), fmt.Sprint("w", w)
		writing.Go(func() {
			pace := time.NewTicker(writePace)
			defer pace.Stop()
			for n := 1; ctx.Err() == nil; n++ {
				<-pace.C
				if _, err := ns.Set(t.Context(), name, n); err != nil {
					t.Errorf("write %d of %s: %v", n, name, err)
					return
				}
				written[w] = n
				if got, err := ns.Get(t.Context(), name); err != nil || string(got.Value) != fmt.Sprint(n) {
					t.Errorf("%s is %s, %v after %d was written", name, got.Value, err, n)
					return
				}
			}
		})
	}
	for range 2 {
		killed := cluster.KillLeader(t, feed.Stream)
		before := must[client.Head](t)(c.Head(t.Context())).Position
		testkit.Eventually(t, func() error { // another leads, and what is written arrives
			_, last, err := c.Feed(t.Context(), before, 1)
			if err == nil && last <= before {
				err = fmt.Errorf("the feed is at %d, the log was at %d when its leader was killed", last, before)
			}
			return err
		})
		cluster.Start(t, killed)
	}
	stop()
	writing.Wait()
	head := must[client.Head](t)(c.Head(t.Context()))
	testkit.Eventually(t, func() error {
		_, last, err := c.Feed(t.Context(), head.Position, 1)
		if err == nil && last != head.Position {
			err = fmt.Errorf("the feed is at %d, the log at %d", last, head.Position)
		}
		return err
	})
	report := must[check.Report](t)(checkOnce(t, s, check.Options{}))
	wantFaults(t, &report)
	t.Logf("wrote %v", written)
}

// startReplicated starts the services with three replicas of the feed.
func startReplicated(t *testing.T, s *system, url string) {
	t.Helper()
	db, nats := service.DatabaseOptions{URL: s.database}, service.NATSOptions{URL: url}
	log := service.LogOptions{Level: "error"}
	writes, err := command.New(t.Context(), command.Options{Database: db, NATS: nats, Replicas: 3}, log.New(&s.output, "command"))
	mustBe(t, err)
	projects, err := projector.New(t.Context(), projector.Options{Database: db, NATS: nats}, log.New(&s.output, "projector"))
	mustBe(t, err)
	reads, err := query.New(t.Context(), query.Options{Database: db, NATS: nats, Watchers: 1, WatchersPerClient: 1}, log.New(&s.output, "query"))
	mustBe(t, err)
	working, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	all := services{command: writes.Handler(), projector: projects.Handler(), query: reads.Handler()}
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{writes.Run, projects.Run, reads.Run} {
		running.Go(func() { mustEnd(t, run(working)) })
	}
	server := httptest.NewServer(all)
	s.url = server.URL
	t.Cleanup(func() {
		server.Close()
		stop()
		running.Wait()
	})
	mustBe(t, all.awaitReady(t.Context()))
}

func mustEnd(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("a service ended with %v", err)
	}
}
