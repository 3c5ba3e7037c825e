//go:build crash && linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/feed"
)

// What is promised of the time until a standby does the work of a leader that was
// killed.
const (
	relayMovesWithin         = 2 * time.Second
	projectorTakesOverWithin = 5 * time.Second
)

// TestCrashTakeover kills leaders and measures until another does their work.
func TestCrashTakeover(t *testing.T) {
	c := newCluster(t, size{commands: 2, projectors: 2, queries: 1})
	s := &survival{cluster: c, t: t, random: rand.New(rand.NewPCG(*crashSeed, 1))}
	s.load = c.load(20*time.Millisecond).start(t, *crashSeed, 2, 1)
	for _, what := range []struct {
		name   string
		lock   int
		within time.Duration
		at     func() int64
	}{
		{"the relay", relayLock, relayMovesWithin, func() int64 {
			last, _ := feed.LastPosition(t.Context(), c.js)
			return last
		}},
		{"the projection", projectorLock, projectorTakesOverWithin, func() int64 {
			var applied int64
			_ = c.pool.QueryRow(t.Context(), `select c.position from readmodel.checkpoint c join readmodel.active using (generation)`).Scan(&applied)
			return applied
		}},
	} {
		for range 4 {
			leader, err := s.holding(what.lock)
			if err != nil {
				t.Fatal(err)
			}
			s.chance(300 * time.Millisecond)
			leader.signal(syscall.SIGKILL)
			killed, at := time.Now(), what.at()
			if err := s.until(fmt.Sprintf("%s goes on", what.name), func() bool { return what.at() > at }); err != nil {
				t.Fatal(err)
			}
			took := time.Since(killed)
			t.Logf("%s went on %v after %s was killed", what.name, took.Round(time.Millisecond), leader.name)
			if took > what.within {
				t.Errorf("%s went on after %v, it is promised within %v", what.name, took, what.within)
			}
			if err := s.startAgain(leader); err != nil {
				t.Fatal(err)
			}
			if err := c.awaitNormal(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.load.end()
	checkCluster(t, c, s.load, nil)
}
