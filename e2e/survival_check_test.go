//go:build crash && linux

package e2e

import (
	"fmt"
	"testing"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/testkit"
)

// checkCluster checks all that must hold, when nobody writes any more.
func checkCluster(t *testing.T, c *cluster, l *load, f *followers) {
	t.Helper()
	if err := c.awaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	on := target{api: c.gateway.url, database: c.direct, nats: "nats://" + c.natsAddress}
	for _, q := range c.queries {
		on.queries = append(on.queries, q.url())
	}
	var ids []string
	for _, r := range l.attempts {
		if r.outcome == acknowledged {
			ids = append(ids, r.id)
		}
	}
	events := checkSystem(t, on, ids)
	checkRequests(t, events, l.attempts)
	if f != nil {
		testkit.Eventually(t, func() error { return f.complete(events) })
	}
	past := l.repeatPast(t.Context())
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
func checkRequests(t *testing.T, events []config.Event, requests []*request) {
	t.Helper()
	found := map[string][]*config.Event{}
	for i := range events {
		found[events[i].RequestID] = append(found[events[i].RequestID], &events[i])
	}
	last := map[string]int64{} // by writer
	for _, r := range requests {
		got := found[r.id]
		delete(found, r.id)
		switch {
		case len(got) == 0 && r.outcome == acknowledged:
			t.Errorf("lost: %+v was acknowledged", r)
		case len(got) > 0 && r.outcome == refused:
			t.Errorf("%+v was refused, and is in the log", r)
		case len(got) > 0:
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
