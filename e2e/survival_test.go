//go:build crash && linux

package e2e

import (
	"context"
	"flag"
	"math/rand/v2"
	"regexp"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/client"
)

var (
	crashTime   = flag.Duration("crash-time", 100*time.Second, "no more faults are injected after this time")
	crashFaults = flag.String("faults", "", "inject only faults whose names match this regular expression")
	crashKeep   = flag.Bool("keep", false, "keep the logs and data of a run that passes")
)

// survival is a run of the suite, as a fault sees it.
type survival struct {
	*cluster
	t      *testing.T
	load   *load
	random *rand.Rand
}

// chance lets the load go on for a while that the seed decides, so that each time
// a fault meets another moment.
func (s *survival) chance(most time.Duration) {
	select {
	case <-time.After(time.Duration(s.random.Int64N(int64(most)))):
	case <-s.t.Context().Done():
	}
}

func (s *survival) one(of []*process) *process { return of[s.random.IntN(len(of))] }

func (s *survival) until(what string, is func() bool) error { return until(s.t.Context(), what, is) }

// TestCrashCluster runs all of the system as processes of their own, has clients
// write, read, watch and subscribe, and injects one fault after the other at
// moments that the seed decides. After each, all must be back to normal by itself;
// at the end, everything that any client was told must have been true.
func TestCrashCluster(t *testing.T) {
	t.Logf("to repeat this run: -seed=%d", *crashSeed)
	c := newCluster(t, size{commands: 2, projectors: 2, queries: 2})
	s := &survival{cluster: c, t: t, random: rand.New(rand.NewPCG(*crashSeed, 0))}
	s.load = c.load(12*time.Millisecond).start(t, *crashSeed, 6, 4)
	f := s.load.follow(t, c.js, client.Begin)
	began := time.Now()
	deck := make([]fault, len(faults))
	for i, at := range s.random.Perm(len(faults)) {
		deck[i] = faults[at]
	}
	only, err := regexp.Compile(*crashFaults)
	if err != nil {
		t.Fatal(err)
	}
	var did []injected
	for _, f := range deck {
		if !only.MatchString(f.name) {
			continue
		}
		if time.Since(began) > *crashTime {
			t.Logf("no time left for %s", f.name)
			continue
		}
		did = append(did, s.inject(f))
	}
	took := time.Since(began)
	s.load.end()
	checkCluster(t, c, s.load, f)
	t.Log(summary(did, s.load.history, took, *crashSeed))
	if *crashFaults == "" && s.load.count(acknowledged) < 1000 {
		t.Error("too few writes to say anything")
	}
}

// inject returns when all is as before.
func (s *survival) inject(f fault) injected {
	s.t.Helper()
	return s.load.inject(s.t, f.name, func() error {
		s.chance(300 * time.Millisecond)
		return f.inject(s)
	}, func() error { return s.awaitNormal(s.t.Context()) })
}

// within is a context for what the faults themselves ask of the servers.
func (s *survival) within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.t.Context(), d)
}
