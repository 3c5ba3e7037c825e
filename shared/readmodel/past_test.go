package readmodel_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/testkit"
)

// Each read of the past answers what a fold of the events up to then does, at
// whatever position and with whatever filters it is asked.
func TestPastIsTheFoldOfTheEventsUpToThen(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	m := model{events: testkit.RandomLog(t, 4, 250).Events}
	m.entries = entries(t, m.events, func(readmodel.Entry) bool { return true })
	store := filled(t, m.events)
	checkpoint, err := store.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reads := map[string]func(rt *rapid.T) (want any, got any, saw readmodel.Checkpoint, err error){
		"Get": func(rt *rapid.T) (any, any, readmodel.Checkpoint, error) {
			namespace, name, position := m.namespace(rt), m.name(rt), m.position(rt)
			got, saw, err := store.Get(t.Context(), namespace, name, position)
			return m.get(namespace, name, position), got, saw, err
		},
		"List": func(rt *rapid.T) (any, any, readmodel.Checkpoint, error) {
			namespace, position := m.namespace(rt), m.position(rt)
			prefix, after := rapid.SampledFrom([]string{"", "a", "a.", "b", "b_", "Z", "zz"}).Draw(rt, "prefix"), rapid.SampledFrom([]string{"", "Z", "a", "a.b", "b", "zz"}).Draw(rt, "after")
			limit := rapid.IntRange(1, 10).Draw(rt, "limit")
			got, saw, err := store.List(t.Context(), namespace, prefix, after, limit, position)
			return m.live(namespace, position, limit, func(name string) bool {
				_, schema := config.SchemaPattern(name)
				return !schema && strings.HasPrefix(name, prefix) && name > after
			}), got, saw, err
		},
		"Schemas": func(rt *rapid.T) (any, any, readmodel.Checkpoint, error) {
			namespace, position := m.namespace(rt), m.position(rt)
			got, saw, err := store.Schemas(t.Context(), namespace, position)
			return m.live(namespace, position, 100, func(name string) bool {
				_, schema := config.SchemaPattern(name)
				return schema
			}), got, saw, err
		},
		"Namespaces": func(rt *rapid.T) (any, any, readmodel.Checkpoint, error) {
			position := m.position(rt)
			got, saw, err := store.Namespaces(t.Context(), position)
			return m.namespaces(position), got, saw, err
		},
		"PositionAt": func(rt *rapid.T) (any, any, readmodel.Checkpoint, error) {
			at := m.time(rt, "at")
			got, saw, err := store.PositionAt(t.Context(), at)
			want := int64(0)
			for _, e := range m.filter(func(e readmodel.Entry) bool { return !e.UpdatedAt.After(at) }) {
				want = e.Commit // whole change sets
			}
			return want, got, saw, err
		},
		"History": func(rt *rapid.T) (any, any, readmodel.Checkpoint, error) {
			namespace, name := m.namespace(rt), m.name(rt)
			q := readmodel.HistoryQuery{
				After: m.position(rt), Until: m.position(rt), Limit: rapid.IntRange(1, 60).Draw(rt, "limit"),
				Descending: rapid.Bool().Draw(rt, "descending"),
			}
			got, saw, err := store.History(t.Context(), namespace, name, q)
			return m.history(namespace, name, q), got, saw, err
		},
		"Between": func(rt *rapid.T) (any, any, readmodel.Checkpoint, error) {
			namespace, after, to, limit := m.namespace(rt), m.position(rt), m.position(rt), rapid.IntRange(1, 60).Draw(rt, "limit")
			got, saw, err := store.Between(t.Context(), namespace, after, to, limit)
			return m.between(namespace, after, to, limit), got, saw, err
		},
		"Diff": func(rt *rapid.T) (any, any, readmodel.Checkpoint, error) {
			namespace, from, to, limit := m.namespace(rt), m.position(rt), m.position(rt), rapid.IntRange(1, 60).Draw(rt, "limit")
			got, saw, err := store.Diff(t.Context(), namespace, from, to, limit)
			return m.diff(namespace, from, to, limit), got, saw, err
		},
		"Audit": func(rt *rapid.T) (any, any, readmodel.Checkpoint, error) {
			q := readmodel.AuditQuery{
				Before: m.position(rt), Until: m.position(rt), Limit: rapid.IntRange(1, 60).Draw(rt, "limit"),
				Namespace: rapid.SampledFrom([]string{"", "one", "two", "three"}).Draw(rt, "namespace"),
				Name:      rapid.SampledFrom([]string{"", "", "a", "b-1"}).Draw(rt, "name"),
				Prefix:    rapid.SampledFrom([]string{"", "", "a", "b", "$schema."}).Draw(rt, "prefix"),
				Actor:     rapid.SampledFrom([]string{"", "ann", "bob"}).Draw(rt, "actor"),
			}
			if rapid.Bool().Draw(rt, "with a correlation id") {
				q.CorrelationID = "c3"
			}
			if rapid.Bool().Draw(rt, "with from") {
				q.From = m.time(rt, "from")
			}
			if rapid.Bool().Draw(rt, "with to") {
				q.To = m.time(rt, "to")
			}
			got, saw, err := store.Audit(t.Context(), q)
			return m.audit(q), got, saw, err
		},
	}
	for name, read := range reads {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				want, got, saw, err := read(rt)
				if err != nil {
					rt.Fatal(err)
				}
				if saw != checkpoint {
					rt.Fatalf("saw checkpoint %v, want %v", saw, checkpoint)
				}
				if diff := gocmp.Diff(want, got); diff != "" {
					rt.Fatalf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

// model answers the reads from the events alone.
type model struct {
	events  []config.Event
	entries []readmodel.Entry // of each event
}

func (m model) namespace(rt *rapid.T) string {
	return rapid.SampledFrom([]string{"one", "two", "none"}).Draw(rt, "namespace")
}

func (m model) name(rt *rapid.T) string {
	return rapid.SampledFrom([]string{"a", "a.b", "b_1", "Z", config.SchemaStream("a.*"), "never"}).Draw(rt, "name")
}

// position draws one from before the first event to after the last.
func (m model) position(rt *rapid.T) int64 {
	return rapid.Int64Range(0, int64(len(m.events)+2)).Draw(rt, "position")
}

// time draws an instant, some of them exactly when an event was recorded.
func (m model) time(rt *rapid.T, label string) time.Time {
	off := rapid.SampledFrom([]time.Duration{-time.Microsecond, 0, time.Microsecond}).Draw(rt, label+" off")
	return testkit.Began.Add(time.Duration(m.position(rt)-1)*time.Second + off)
}

func (m model) filter(keep func(readmodel.Entry) bool) []readmodel.Entry {
	var kept []readmodel.Entry
	for _, e := range m.entries {
		if keep(e) {
			kept = append(kept, e)
		}
	}
	return kept
}

func (m model) get(namespace, name string, position int64) readmodel.Row {
	row := readmodel.Row{Namespace: namespace, Name: name}
	for _, e := range m.filter(func(e readmodel.Entry) bool {
		return e.Namespace == namespace && e.Name == name && e.Position <= position
	}) {
		row = e.Row
	}
	return row
}

// names are those of a namespace with events in an interval, by name.
func (m model) names(namespace string, after, to int64) []string {
	var names []string
	for _, e := range m.filter(func(e readmodel.Entry) bool {
		return e.Namespace == namespace && e.Position > after && e.Position <= to
	}) {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (m model) live(namespace string, position int64, limit int, keep func(name string) bool) []readmodel.Row {
	rows := []readmodel.Row{}
	for _, name := range m.names(namespace, 0, position) {
		if row := m.get(namespace, name, position); keep(name) && !row.Deleted && len(rows) < limit {
			rows = append(rows, row)
		}
	}
	return rows
}

func (m model) namespaces(position int64) []readmodel.Namespace {
	found := []readmodel.Namespace{}
	for _, namespace := range []string{"one", "two"} {
		all := m.filter(func(e readmodel.Entry) bool { return e.Namespace == namespace && e.Position <= position })
		if len(all) == 0 {
			continue
		}
		last := all[len(all)-1]
		configs := m.live(namespace, position, len(m.events), func(name string) bool {
			_, schema := config.SchemaPattern(name)
			return !schema
		})
		found = append(found, readmodel.Namespace{
			Name: namespace, Configs: int64(len(configs)), Position: last.Position, UpdatedAt: last.UpdatedAt,
		})
	}
	return found
}

func (m model) history(namespace, name string, q readmodel.HistoryQuery) []readmodel.Entry {
	found := m.filter(func(e readmodel.Entry) bool {
		continues := q.After == 0 || !q.Descending && e.Position > q.After || q.Descending && e.Position < q.After
		return e.Namespace == namespace && e.Name == name && continues && e.Position <= q.Until
	})
	if q.Descending {
		slices.Reverse(found)
	}
	return upTo(q.Limit, found)
}

func (m model) between(namespace string, after, to int64, limit int) []readmodel.Entry {
	return upTo(limit, m.filter(func(e readmodel.Entry) bool {
		return e.Namespace == namespace && e.Position > after && e.Position <= to
	}))
}

func (m model) diff(namespace string, from, to int64, limit int) readmodel.Diff {
	d := readmodel.Diff{Events: m.between(namespace, from, to, limit)}
	for _, name := range m.names(namespace, from, to) {
		if _, schema := config.SchemaPattern(name); !schema {
			d.Changes = append(d.Changes, readmodel.Change{Before: m.get(namespace, name, from), After: m.get(namespace, name, to)})
		}
	}
	return d
}

func (m model) audit(q readmodel.AuditQuery) []readmodel.Entry {
	found := m.filter(func(e readmodel.Entry) bool {
		return (q.Namespace == "" || e.Namespace == q.Namespace) && (q.Name == "" || e.Name == q.Name) &&
			strings.HasPrefix(e.Name, q.Prefix) && (q.Actor == "" || e.UpdatedBy == q.Actor) &&
			(q.CorrelationID == "" || e.CorrelationID == q.CorrelationID) &&
			(q.From.IsZero() || !e.UpdatedAt.Before(q.From)) && (q.To.IsZero() || !e.UpdatedAt.After(q.To)) &&
			(q.Before == 0 || e.Position < q.Before) && e.Position <= q.Until
	})
	slices.Reverse(found)
	return upTo(q.Limit, found)
}

func upTo(limit int, found []readmodel.Entry) []readmodel.Entry {
	if found == nil {
		return []readmodel.Entry{}
	}
	return found[:min(limit, len(found))]
}

// A read that can't be answered says what it was and why.
func TestReadsSayWhatFailed(t *testing.T) {
	t.Parallel()
	store := readmodel.New(testkit.Database(t, readmodel.Schema))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	reads := map[string]func() error{
		"get":  func() error { _, _, err := store.Get(ctx, "one", "a", 1); return err },
		"list": func() error { _, _, err := store.List(ctx, "one", "", "", 1, 1); return err },
		"history": func() error {
			_, _, err := store.History(ctx, "one", "a", readmodel.HistoryQuery{Limit: 1})
			return err
		},
		"events":             func() error { _, _, err := store.Between(ctx, "one", 0, 1, 1); return err },
		"diff":               func() error { _, _, err := store.Diff(ctx, "one", 0, 1, 1); return err },
		"audit":              func() error { _, _, err := store.Audit(ctx, readmodel.AuditQuery{Limit: 1}); return err },
		"namespaces":         func() error { _, _, err := store.Namespaces(ctx, 1); return err },
		"position at a time": func() error { _, _, err := store.PositionAt(ctx, testkit.Began); return err },
		"load":               func() error { _, err := store.Load(ctx, func(readmodel.Row) error { return nil }); return err },
		"checkpoint":         func() error { _, err := store.Checkpoint(ctx); return err },
		"position of the change log": func() error {
			_, err := store.Logged(ctx)
			return err
		},
	}
	for what, read := range reads {
		if err := read(); err == nil || !strings.HasPrefix(err.Error(), what+": ") {
			t.Errorf("%s failed with %v", what, err)
		}
	}
	if err := store.SetLogged(ctx, config.Token{}, config.Token{}); err == nil {
		t.Error("the position of the change log was set")
	}
}
