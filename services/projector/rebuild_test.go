package projector_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/testkit"
)

// rebuild is what the interface says of one.
type rebuild struct {
	State, Detail string
	Generation    int64
	Done, Total   int64
	Rate          float64
	SecondsLeft   *float64   `json:"seconds_left"`
	StartedAt     time.Time  `json:"started_at"`
	FinishedAt    *time.Time `json:"finished_at"`
}

const rebuildPath = "/v2/projections/current/rebuild"

func (r *running) ask(t testing.TB, method, path, body string) (int, rebuild, string) {
	t.Helper()
	answer := httptest.NewRecorder()
	r.handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
	var got rebuild
	_ = json.Unmarshal(answer.Body.Bytes(), &got) // a problem is looked at as text
	return answer.Code, got, answer.Body.String()
}

// rebuilt waits until the rebuild has ended and fails unless it has ended so.
func (r *running) rebuilt(t testing.TB, state string) rebuild {
	t.Helper()
	var got rebuild
	testkit.Eventually(t, func() error {
		if _, got, _ = r.ask(t, "GET", rebuildPath, ""); got.FinishedAt == nil {
			return fmt.Errorf("it goes on: %+v", got)
		}
		return nil
	})
	if got.State != state {
		t.Fatalf("the rebuild ended with %+v, want %s", got, state)
	}
	return got
}

func (r *running) wantGeneration(t testing.TB, generation int64, consumer string) {
	t.Helper()
	testkit.Eventually(t, func() error {
		if status, body := r.get(t, "/v2/projections"); status != http.StatusOK || !strings.Contains(body, fmt.Sprintf(`"generation":%d,`, generation)) || !strings.Contains(body, consumer) {
			return fmt.Errorf("answered %d %s, want generation %d by %s", status, body, generation, consumer)
		}
		return nil
	})
}

// The tables are made anew while events come, are compared and read instead; the
// old ones can be read again, and are dropped by the next rebuild.
func TestRebuild(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	log := testkit.RandomLog(t, 11, 300)
	first := log.Events[149].Commit
	testkit.Publish(t, s.js, log.Events[:first])
	p := s.start(t, s.options())
	s.wantFold(t, log.Events[:first])
	if status, _, body := p.ask(t, "GET", rebuildPath, ""); status != http.StatusNotFound {
		t.Errorf("before the first: %d %s", status, body)
	}
	if status, _, body := p.ask(t, "DELETE", rebuildPath, ""); status != http.StatusConflict {
		t.Errorf("nothing to cancel: %d %s", status, body)
	}

	published := make(chan struct{})
	go func() {
		defer close(published)
		testkit.Publish(t, s.js, log.Events[first:])
	}()
	if status, got, body := p.ask(t, "POST", rebuildPath, ""); status != http.StatusAccepted || got.Generation != 2 {
		t.Fatalf("answered %d %s", status, body)
	}
	if got := p.rebuilt(t, "done"); got.Done < first || got.Total != got.Done || got.Rate <= 0 || got.SecondsLeft != nil {
		t.Errorf("%+v", got)
	}
	<-published
	p.wantGeneration(t, 2, "projector-b")
	s.wantFold(t, log.Events)

	t.Log("The old one again, brought up to date.")
	more := log.Set(t, "one", "more", `1`)
	testkit.Publish(t, s.js, more)
	if status, _, body := p.ask(t, "POST", rebuildPath, `{"generation":2}`); status != http.StatusConflict {
		t.Errorf("the active one: %d %s", status, body)
	}
	if status, _, body := p.ask(t, "POST", rebuildPath, `{"generation":7}`); status != http.StatusNotFound {
		t.Errorf("none: %d %s", status, body)
	}
	if status, _, body := p.ask(t, "POST", rebuildPath, `{"generation":1}`); status != http.StatusAccepted {
		t.Fatalf("answered %d %s", status, body)
	}
	p.rebuilt(t, "done")
	p.wantGeneration(t, 1, "projector-a")
	s.wantFold(t, log.Events)

	t.Log("And anew.")
	if status, got, body := p.ask(t, "POST", rebuildPath, ""); status != http.StatusAccepted || got.Generation != 4 {
		t.Fatalf("answered %d %s", status, body)
	}
	p.rebuilt(t, "done")
	p.wantGeneration(t, 4, "projector-b")
	testkit.Publish(t, s.js, log.Set(t, "one", "last", `1`))
	s.wantFold(t, log.Events)
	for _, method := range []string{"GET", "POST", "DELETE"} {
		if status, _, body := p.ask(t, method, "/v2/projections/other/rebuild", ""); status != http.StatusNotFound {
			t.Errorf("%s: %d %s", method, status, body)
		}
	}
}

// An old generation that is far behind is brought up to date in several steps.
func TestOldGenerationIsReadAgain(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := newSystem(t)
	log := testkit.RandomLog(t, 15, 15_000)
	first := log.Events[99].Commit
	testkit.Publish(t, s.js, log.Events[:first])
	p := s.start(t, s.options())
	s.wantFold(t, log.Events[:first])
	p.ask(t, "POST", rebuildPath, "")
	p.rebuilt(t, "done")
	p.wantGeneration(t, 2, "projector-b")
	testkit.Publish(t, s.js, log.Events[first:])
	s.wantFold(t, log.Events)
	if status, _, body := p.ask(t, "POST", rebuildPath, `{"generation":1}`); status != http.StatusAccepted {
		t.Fatalf("answered %d %s", status, body)
	}
	p.rebuilt(t, "done")
	p.wantGeneration(t, 1, "projector-a")
	s.wantFold(t, log.Events)
}

// Tables that someone has changed are told from what the events say; what was
// read still is.
func TestRebuildThatDiffers(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := newSystem(t)
	events := testkit.RandomLog(t, 12, 60).Events
	testkit.Publish(t, s.js, events)
	p := s.start(t, s.options())
	s.wantFold(t, events)
	for _, change := range []struct{ sql, what string }{
		{`update readmodel.current_1 set value = '0' where not deleted`, "current values"},
		{`update readmodel.history_1 set actor = 'eve'`, "history"},
	} {
		if _, err := s.pool.Exec(t.Context(), change.sql); err != nil {
			t.Fatal(err)
		}
		p.ask(t, "POST", rebuildPath, "")
		if got := p.rebuilt(t, "failed"); !strings.Contains(got.Detail, change.what) {
			t.Errorf("%s: %+v", change.what, got)
		}
		p.wantGeneration(t, 1, "projector-a")
	}
}

// A projector that ends in the middle of a rebuild leaves it to the next, and one
// that is cancelled leaves nothing.
func TestRebuildGoesOn(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := newSystem(t)
	log := testkit.RandomLog(t, 13, 60)
	testkit.Publish(t, s.js, log.Events)
	p := s.start(t, s.options())
	s.wantFold(t, log.Events)
	// Who holds the table that is to be made makes the rebuild wait.
	hold, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hold.Exec(t.Context(), `lock table readmodel.checkpoint in share mode`); err != nil {
		t.Fatal(err)
	}
	if status, _, body := p.ask(t, "POST", rebuildPath, ""); status != http.StatusAccepted {
		t.Fatalf("answered %d %s", status, body)
	}
	if status, _, body := p.ask(t, "POST", rebuildPath, ""); status != http.StatusConflict {
		t.Errorf("a second one: %d %s", status, body)
	}
	p.stop()
	if err := hold.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	p = s.start(t, s.options())
	p.rebuilt(t, "done")
	p.wantGeneration(t, 2, "projector-b")
	s.wantFold(t, log.Events)

	if hold, err = s.pool.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := hold.Exec(t.Context(), `lock table readmodel.checkpoint in share mode`); err != nil {
		t.Fatal(err)
	}
	p.ask(t, "POST", rebuildPath, "")
	if status, got, body := p.ask(t, "DELETE", rebuildPath, ""); status != http.StatusAccepted || got.State != "cancelling" {
		t.Errorf("cancel: %d %s", status, body)
	}
	if err := hold.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.rebuilt(t, "cancelled")
	p.wantGeneration(t, 2, "projector-b")
	var left int
	if err := s.pool.QueryRow(t.Context(), `select count(*) from pg_tables where schemaname = 'readmodel' and tablename like 'history_%'`).Scan(&left); err != nil || left != 1 {
		t.Errorf("%d generations are left, %v", left, err)
	}
}

// A message that the feed has lost halts a projection that needs it. What is read
// stays.
func TestALostMessage(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var log testkit.Log
	for _, value := range []string{`1`, `2`, `3`} {
		log.Set(t, "ns", "a", value)
	}
	testkit.Publish(t, s.js, log.Events)
	p := s.start(t, s.options())
	s.wantFold(t, log.Events)
	log.Set(t, "ns", "a", `4`)
	log.Set(t, "ns", "a", `5`)
	testkit.Lose(t, s.js, log.Events, 4)
	wantHalted(t, p, "message 4 of the feed is missing: the stream has lost it", projection{
		Name: "current", State: "halted", Epoch: testkit.Epoch, Position: 3, Feed: 5, Lag: 2,
	})
	s.wantFold(t, log.Events[:3])
}

// A rebuild that needs it fails, and says so.
func TestRebuildOverALostMessage(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var log testkit.Log
	for _, value := range []string{`1`, `2`, `3`} {
		log.Set(t, "ns", "a", value)
	}
	testkit.Publish(t, s.js, log.Events)
	p := s.start(t, s.options())
	s.wantFold(t, log.Events)
	testkit.Lose(t, s.js, log.Events, 2)
	p.ask(t, "POST", rebuildPath, "")
	if r := p.rebuilt(t, "failed"); !strings.Contains(r.Detail, "message 2 of the feed is missing") {
		t.Errorf("the rebuild failed with %q", r.Detail)
	}
	s.wantFold(t, log.Events)
}

// A projection that has halted before an event that this program does not know
// is rebuilt as far as it had come.
func TestRebuildWhileHalted(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := newSystem(t)
	log := testkit.RandomLog(t, 14, 20)
	events := log.Events
	testkit.Publish(t, s.js, events)
	p := s.start(t, s.options())
	s.wantFold(t, events)
	log.Events = append(log.Events, log.Events[len(log.Events)-1])
	newer := &log.Events[len(log.Events)-1]
	newer.Position, newer.Commit, newer.SchemaVersion, newer.Version = newer.Position+1, newer.Position+1, 99, newer.Version+1
	log.Chain(len(log.Events) - 1)
	testkit.Publish(t, s.js, log.Events[len(log.Events)-1:])
	// The live projection halts before it, and a rebuild goes as far.
	p.ask(t, "POST", rebuildPath, "")
	p.rebuilt(t, "done")
	s.wantFold(t, events)
}
