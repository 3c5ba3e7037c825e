package query_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/config-api/config-api/services/query"
	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/testkit"
)

func (r *running) wantList(t testing.TB, events []config.Event, position int64) {
	t.Helper()
	for _, namespace := range []string{"one", "two"} {
		var got page
		a := r.get(t, "/v2/namespaces/"+namespace+"/configs?limit=1000&wait=10s&min_position="+token(position))
		a.into(t, &got)
		if diff := gocmp.Diff(fold(t, events, namespace, position), got.Items); diff != "" || got.Position != position {
			t.Fatalf("%s at %d (-want +got):\n%s", namespace, got.Position, diff)
		}
	}
}

// The memory is the fold of the events: loaded from the read tables, wherever
// they are, and kept fresh by the feed, also when they fall behind.
func TestMemoryIsTheFoldOfTheEvents(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := newSystem(t)
	events := testkit.RandomLog(t, 1, 400).Events
	tables, first, second := events[100].Commit, events[200].Commit, events[300].Commit
	testkit.Publish(t, s.js, events[:first])
	s.apply(t, events[:tables])
	served := make(chan feed.Served, 10_000)
	nc := s.nats.Conn(t)
	must(t, feed.Listen(nc, feed.ServedSubject, func(a feed.Served) { served <- a }))
	must(t, nc.Flush())
	q := s.start(t, s.options())
	q.wantList(t, events, first)
	testkit.Publish(t, s.js, events[first:second])
	q.wantList(t, events, second)
	s.nats.Restart(t)
	testkit.Eventually(t, func() error {
		_, err := feed.LastPosition(t.Context(), s.js)
		return err
	})
	testkit.Publish(t, s.js, events[second:])
	q.wantList(t, events, int64(len(events)))

	t.Log("It has told how far it was, and tells that it leaves.")
	q.stop()
	last := feed.Served{}
	for !last.Leaving {
		next := <-served
		if last.Position > next.Position || last.Instance != "" && next.Instance != last.Instance || next.Epoch != testkit.Epoch {
			t.Fatalf("announced %+v after %+v", next, last)
		}
		last = next
	}
	if last.Position != int64(len(events)) {
		t.Errorf("left at %d, want %d", last.Position, len(events))
	}
}

// wantStale waits until the service says that its memory is not kept fresh, and
// its log has the line n times.
func (r *running) wantStale(t testing.TB, line string, n int) {
	t.Helper()
	testkit.Eventually(t, func() error {
		if got := strings.Count(r.log.String(), line); got < n {
			return fmt.Errorf("%q is %d times in the log, want %d", line, got, n)
		}
		a := r.get(t, "/readyz")
		if !strings.Contains(a.body, "the view is not kept fresh") {
			return fmt.Errorf("/readyz answers %s", a.body)
		}
		return a.is(http.StatusServiceUnavailable)
	})
}

// An event that the service does not understand halts the memory. What it has
// is served on; nothing is skipped.
func TestMemoryHalts(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(log *testkit.Log, e *config.Event){
		"an unknown event":  func(log *testkit.Log, e *config.Event) { e.SchemaVersion = 2; log.Chain(1) },
		"a changed message": func(_ *testkit.Log, e *config.Event) { e.Actor = "eve" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t)
			var log testkit.Log
			s.write(t, log.Set(t, "ns", "a", `1`))
			q := s.start(t, s.options())
			bad := log.Set(t, "ns", "a", `2`)
			spoil(&log, &bad[0])
			testkit.Publish(t, s.js, bad)
			testkit.Publish(t, s.js, log.Set(t, "ns", "b", `3`))
			q.wantStale(t, "the view has halted", 1)
			metrics := q.get(t, "/metrics").body
			for _, line := range []string{"view_halted", "view_stale", "view_position", "view_names"} {
				if line = "\nconfig_api_" + line + `{service="query"} 1` + "\n"; !strings.Contains(metrics, line) {
					t.Errorf("the metrics lack %q", line)
				}
			}
			must(t, q.get(t, "/v2/namespaces/ns/configs/a").shows(1))
			must(t, q.get(t, "/v2/namespaces/ns/configs/b").is(http.StatusNotFound))
		})
	}
}

// The feed of another log is not mixed with what is there. The memory is loaded
// anew, again and again, and never goes back; when the read tables are of the
// other log too it is that log's.
func TestMemoryAndTheFeedOfAnotherLog(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var log testkit.Log
	s.write(t, log.Set(t, "ns", "a", `1`))
	testkit.Publish(t, s.js, log.Set(t, "ns", "a", `2`)) // the tables stay behind
	q := s.start(t, s.options())
	testkit.Eventually(t, func() error { return q.get(t, "/v2/namespaces/ns/configs/a").shows(2) })
	foreign := log.Set(t, "ns", "a", `3`)
	must(t, feed.Publish(t.Context(), s.js, restored, foreign))
	q.wantStale(t, "the view is not kept fresh, loading it anew", 2)
	must(t, q.get(t, "/v2/namespaces/ns/configs/a").shows(2))

	must(t, s.js.DeleteStream(t.Context(), feed.Stream))
	must(t, feed.EnsureStream(t.Context(), s.js, 1))
	must(t, feed.Publish(t.Context(), s.js, restored, log.Events))
	if _, err := s.pool.Exec(t.Context(), `update readmodel.checkpoint set epoch = $1`, anotherLog); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() error {
		a := q.get(t, "/v2/namespaces/ns/configs?limit=1")
		if got, want := a.header.Get("Config-Position"), anotherLog+":3"; got != want {
			return fmt.Errorf("it shows %s, want %s", got, want)
		}
		return q.get(t, "/readyz").is(http.StatusOK)
	})
	must(t, q.get(t, "/v2/namespaces/ns/configs/a?min_position="+token(1)).is(http.StatusPreconditionFailed))
}

// Without its database a service that starts has nothing to answer, and says
// so.
func TestStartingWithoutADatabase(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	gate := newGate(t, s.database)
	gate.close()
	o := s.options()
	o.Database.URL = gate.url
	q := s.startOnly(t, o)
	for _, path := range []string{"/v2/namespaces/ns/configs", "/v2/namespaces/ns/configs/a", "/v1/config", "/v1/config/a", "/v2/namespaces/ns/watch", "/readyz"} {
		a := q.get(t, path)
		if err := a.is(http.StatusServiceUnavailable); err != nil || !strings.Contains(a.body, "the service is starting: try again") {
			t.Errorf("GET %s answered %d %s", path, a.status, a.body)
		}
	}
	gate.open(t)
	testkit.Eventually(t, func() error { return q.get(t, "/readyz").is(http.StatusOK) })
}

// A read that comes before the first state waits for it.
func TestReadsWaitForTheFirstState(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var log testkit.Log
	s.write(t, log.Set(t, "default", "a", `"1"`))
	gate := newGate(t, s.database)
	gate.close()
	o := s.options()
	o.Database.URL = gate.url
	q := s.startOnly(t, o)
	answers := make(chan answer, 2)
	go func() { answers <- q.get(t, "/v2/namespaces/default/configs/a?wait=20s") }()
	go func() { answers <- q.get(t, "/v2/namespaces/default/configs?wait=20s") }()
	testkit.Eventually(t, func() error { // it has tried
		if !strings.Contains(q.log.String(), "the view is not kept fresh") {
			return fmt.Errorf("the log is %s", q.log.String())
		}
		return nil
	})
	gate.open(t)
	for range cap(answers) {
		a := <-answers
		must(t, a.is(http.StatusOK))
	}
}

// Tables that were announced and are not there, as on a standby that is behind, are
// not loaded for: the memory goes on with those that are.
func TestAnnouncedTablesThatAreNotThere(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var log testkit.Log
	s.write(t, log.Set(t, "ns", "a", `1`))
	q := s.start(t, s.options())
	for position := range int64(20) {
		must(t, feed.Announce(s.nats.Conn(t), feed.AppliedSubject, feed.Applied{Epoch: testkit.Epoch, Position: position, Generation: 2}))
	}
	testkit.Publish(t, s.js, log.Set(t, "ns", "a", `2`))
	testkit.Eventually(t, func() error { return q.get(t, "/v2/namespaces/ns/configs/a").shows(2) })
	if loads := strings.Count(q.log.String(), "view loaded"); loads != 1 {
		t.Errorf("the tables were loaded %d times, want once: %s", loads, q.log.String())
	}
}

// A query service does not start on tables of a newer program, and says why; one
// that works when they come goes on.
func TestNewerTables(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var log testkit.Log
	s.write(t, log.Set(t, "ns", "a", `1`))
	works := s.start(t, s.options())
	if _, err := s.pool.Exec(t.Context(), `insert into readmodel.migrations (version, file) values (999, '0999_newer.sql')`); err != nil {
		t.Fatal(err)
	}
	refuses, err := query.New(t.Context(), s.options(), slog.New(slog.DiscardHandler))
	must(t, err)
	var newer *pg.NewerError
	if err := refuses.Run(t.Context()); !errors.As(err, &newer) || !strings.Contains(err.Error(), "run the newer program") {
		t.Errorf("it ended with %v", err)
	}
	testkit.Publish(t, s.js, log.Set(t, "ns", "a", `2`))
	testkit.Eventually(t, func() error { return works.get(t, "/v2/namespaces/ns/configs/a").shows(2) })
}
