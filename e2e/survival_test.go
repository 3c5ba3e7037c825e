//go:build crash && linux

package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
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

// until waits for a condition that must come.
func (s *survival) until(what string, is func() bool) error {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(normalWithin); !is(); {
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v still not: %s", normalWithin, what)
		}
		select {
		case <-poll.C:
		case <-s.t.Context().Done():
			return s.t.Context().Err()
		}
	}
	return nil
}

// injected is what a fault did to the clients.
type injected struct {
	name              string
	times             int
	noWrites, noReads time.Duration // the longest
	healed            time.Duration // until all was normal again, the longest
}

// TestCrashCluster runs all of the system as processes of their own, has clients
// write, read, watch and subscribe, and injects one fault after the other at
// moments that the seed decides. After each, all must be back to normal by itself;
// at the end, everything that any client was told must have been true.
func TestCrashCluster(t *testing.T) {
	t.Logf("to repeat this run: -seed=%d", *crashSeed)
	c := newCluster(t, size{commands: 2, projectors: 2, queries: 2})
	s := &survival{cluster: c, t: t, random: rand.New(rand.NewPCG(*crashSeed, 0))}
	s.load = startLoad(t, c, *crashSeed, 6, 4, 12*time.Millisecond)
	f := s.load.follow(t)
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
	t.Log(summary(did, s.load.history, took))
	if *crashFaults == "" && s.load.count(acknowledged) < 1000 {
		t.Error("too few writes to say anything")
	}
}

// inject returns when all is as before.
func (s *survival) inject(f fault) injected {
	s.t.Helper()
	s.load.round()
	s.chance(300 * time.Millisecond)
	if err := f.inject(s); err != nil {
		s.t.Fatalf("%s: %v", f.name, err)
	}
	healing := time.Now()
	if err := s.awaitNormal(s.t.Context()); err != nil {
		s.t.Fatalf("%s: %v", f.name, err)
	}
	// A write and a read, after which the pauses are over.
	before := s.beats()
	if err := s.until("writes and reads are answered again", func() bool {
		now := s.beats()
		return now[0] > before[0] && now[1] > before[1]
	}); err != nil {
		s.t.Fatalf("%s: %v", f.name, err)
	}
	result := injected{name: f.name, times: 1, healed: time.Since(healing)}
	result.noWrites, result.noReads = s.load.round()
	s.t.Logf("%-45s without writes %6v, without reads %6v, normal after %v", f.name,
		result.noWrites.Round(time.Millisecond), result.noReads.Round(time.Millisecond), result.healed.Round(time.Millisecond))
	return result
}

func (s *survival) beats() [2]int {
	s.load.mu.Lock()
	defer s.load.mu.Unlock()
	return [2]int{s.load.writes.count, s.load.reads.count}
}

func summary(all []injected, h *history, took time.Duration) string {
	var rows []injected
	at := map[string]int{}
	for _, one := range all {
		i, seen := at[one.name]
		if !seen {
			i = len(rows)
			at[one.name] = i
			rows = append(rows, injected{name: one.name})
		}
		r := &rows[i]
		r.times++
		r.noWrites, r.noReads, r.healed = max(r.noWrites, one.noWrites), max(r.noReads, one.noReads), max(r.healed, one.healed)
	}
	var text strings.Builder
	fmt.Fprintln(&text, "summary")
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "fault\ttimes\twithout writes\twithout reads\tnormal after\t")
	for _, r := range rows {
		fmt.Fprintf(table, "%s\t%d\t%.1f s\t%.1f s\t%.1f s\t\n", r.name, r.times, r.noWrites.Seconds(), r.noReads.Seconds(), r.healed.Seconds())
	}
	_ = table.Flush()
	fmt.Fprintf(&text, "%d faults, %d requests, %d writes acknowledged, %d refused, %d in doubt, %d violations, %v, seed %d",
		len(all), h.requests, h.count(acknowledged), h.count(refused), h.count(doubt), len(h.violations), took.Round(time.Second), *crashSeed)
	return text.String()
}

// within is a context for what the faults themselves ask of the servers.
func (s *survival) within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.t.Context(), d)
}
