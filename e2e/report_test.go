//go:build crash || compose

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/testkit"
)

// normalWithin is how long the system may take until all is as it should be
// again. It is for a slow and busy machine: some seconds are usual.
const normalWithin = 90 * time.Second

// until waits for a condition that must come.
func until(ctx context.Context, what string, is func() bool) error {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(normalWithin); !is(); {
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v still not: %s", normalWithin, what)
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
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

// inject does something to the system under load, and returns when all is as
// before.
func (l *load) inject(t *testing.T, name string, fault, normal func() error) injected {
	t.Helper()
	l.round()
	if err := fault(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	healing := time.Now()
	if err := normal(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	// A write and a read, after which the pauses are over.
	before := l.beats()
	if err := until(t.Context(), "writes and reads are answered again", func() bool {
		now := l.beats()
		return now[0] > before[0] && now[1] > before[1]
	}); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	result := injected{name: name, times: 1, healed: time.Since(healing)}
	result.noWrites, result.noReads = l.round()
	t.Logf("%-45s without writes %6v, without reads %6v, normal after %v", name,
		result.noWrites.Round(time.Millisecond), result.noReads.Round(time.Millisecond), result.healed.Round(time.Millisecond))
	return result
}

// beats are how many writes and reads have worked.
func (h *history) beats() [2]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return [2]int{h.writes.count, h.reads.count}
}

func summary(all []injected, h *history, took time.Duration, seed uint64) string {
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
	fmt.Fprintf(&text, "%d faults, %d requests, %d writes acknowledged (lost %d, doubled %d), %d refused, %d in doubt, %d violations, %v, seed %d",
		len(all), h.requests, h.count(acknowledged), h.lost, h.doubled, h.count(refused), h.count(doubt), len(h.violations), took.Round(time.Second), seed)
	return text.String()
}

// acknowledged returns the ids of the requests that were.
func (h *history) acknowledged() []string {
	var ids []string
	for _, r := range h.attempts {
		if r.outcome == acknowledged {
			ids = append(ids, r.id)
		}
	}
	return ids
}

// check holds what clients were told against the events since they began, and what
// the query services answer now. Nobody may write any more.
func (l *load) check(t *testing.T, events []config.Event, f *followers, queries []string) {
	t.Helper()
	l.checkRequests(t, events)
	if f != nil {
		testkit.Eventually(t, func() error { return f.complete(events) })
	}
	past := l.repeatPast(t.Context(), queries)
	for i, v := range l.violations {
		if t.Errorf("violation: %s", v); i == 20 {
			t.Fatalf("and %d more", len(l.violations)-i)
		}
	}
	t.Logf("%d events, %d answers about the past repeated, all as they should be", len(events), past)
}

// checkRequests matches events with requests (I1, I10): what was acknowledged is
// there, whole and once and where it was said to be; what was refused is not; what
// is in doubt may be there, once. Of what a writer was acknowledged, the later is
// later in the log.
func (h *history) checkRequests(t *testing.T, events []config.Event) {
	t.Helper()
	found := map[string][]*config.Event{}
	for i := range events {
		found[events[i].RequestID] = append(found[events[i].RequestID], &events[i])
	}
	last := map[string]int64{} // by writer
	for _, r := range h.attempts {
		got := found[r.id]
		delete(found, r.id)
		switch {
		case len(got) == 0 && r.outcome == acknowledged:
			h.lost++
			t.Errorf("lost: %+v was acknowledged", r)
		case len(got) > 0 && r.outcome == refused:
			t.Errorf("%+v was refused, and is in the log", r)
		case len(got) > 0:
			if len(got) > len(r.changes) {
				h.doubled++
			}
			if err := r.is(got); err != nil {
				t.Errorf("%+v: %v", r, err)
			}
		}
		if len(got) > 0 && r.outcome == acknowledged {
			if got[0].Position <= last[r.writer] {
				t.Errorf("%+v is at %d, before one that was acknowledged before it was sent", r, got[0].Position)
			}
			last[r.writer] = got[len(got)-1].Position
		}
	}
	for id, rest := range found {
		t.Errorf("%d events of request %q, which nobody made, or which come twice", len(rest), id)
	}
}

// is returns how events differ from what was asked for.
func (r *request) is(events []*config.Event) error {
	if len(events) != len(r.changes) {
		return fmt.Errorf("%d events for %d changes", len(events), len(r.changes))
	}
	end := events[len(events)-1].Position
	if r.outcome == acknowledged && r.position != 0 && r.position != end {
		return fmt.Errorf("acknowledged at %d, in the log at %d", r.position, end)
	}
	for i, e := range events {
		p, err := e.Payload()
		if err != nil {
			return err
		}
		value, _ := p.Value.AsString()
		c := r.changes[i]
		if e.Namespace != r.namespace || e.Name != c.name || p.Deleted != c.delete || !c.delete && value != c.value {
			return fmt.Errorf("change %d became event %d: %s %s", i, e.Position, e.Name, value)
		}
		if e.Commit != end || e.Position != events[0].Position+int64(i) {
			return fmt.Errorf("event %d of its change set is at %d and commits at %d, the set ends at %d", i, e.Position, e.Commit, end)
		}
	}
	return nil
}
