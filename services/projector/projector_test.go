package projector_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/services/projector"
	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/testkit"
)

// system is what projectors work on.
type system struct {
	database string
	nats     *testkit.NATSServer
	js       jetstream.JetStream
	pool     *pgxpool.Pool
	store    *readmodel.Store
}

func newSystem(t testing.TB) *system {
	t.Helper()
	s := &system{database: testkit.DatabaseURL(t, readmodel.Schema), nats: testkit.NATS(t)}
	s.js = testkit.Feed(t, s.nats)
	var err error
	if s.pool, err = (service.DatabaseOptions{URL: s.database}).Open(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.pool.Close)
	s.store = readmodel.New(s.pool)
	return s
}

func (s *system) options() projector.Options {
	return projector.Options{
		Database: service.DatabaseOptions{URL: s.database}, NATS: service.NATSOptions{URL: s.nats.URL}, LogValues: true,
	}
}

// running is a projector at work.
type running struct {
	handler http.Handler
	log     *logBuffer
	stop    func() // returns when it has stopped
}

// start starts a projector that is stopped when the test ends, if not before.
func (s *system) start(t testing.TB, o projector.Options) *running {
	t.Helper()
	log := new(logBuffer)
	p, err := projector.New(t.Context(), o, slog.New(slog.NewJSONHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	r := &running{handler: p.Handler(), log: log, stop: sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the projector ended with %v", err)
		}
	})}
	t.Cleanup(r.stop)
	return r
}

// logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// get answers a request of the projector's HTTP interface.
func (r *running) get(t testing.TB, path string) (int, string) {
	t.Helper()
	answer := httptest.NewRecorder()
	r.handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return answer.Code, answer.Body.String()
}

// projection is what GET /v2/projections says of the one that there is.
type projection struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Detail   string `json:"detail"`
	Epoch    string `json:"epoch"`
	Position int64  `json:"position"`
	Feed     int64  `json:"feed_position"`
	Lag      int64  `json:"lag"`
}

func (r *running) projection() (projection, error) {
	answer := httptest.NewRecorder()
	r.handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/v2/projections", nil))
	var list struct {
		Items []projection `json:"items"`
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &list); err != nil || answer.Code != http.StatusOK || len(list.Items) != 1 {
		return projection{}, fmt.Errorf("GET /v2/projections answered %d %s", answer.Code, answer.Body)
	}
	return list.Items[0], nil
}

// wantFold waits until the read tables have reached the last of the events, and
// fails unless they are exactly the fold of them.
func (s *system) wantFold(t testing.TB, events []config.Event) {
	t.Helper()
	testkit.Eventually(t, func() error {
		at, err := s.store.Checkpoint(t.Context())
		if err == nil && at.Position != int64(len(events)) {
			err = fmt.Errorf("the read tables are at %d, want %d", at.Position, len(events))
		}
		return err
	})
	var rows []readmodel.Row
	at, err := s.store.Load(t.Context(), func(r readmodel.Row) error {
		rows = append(rows, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	history, _, err := s.store.Audit(t.Context(), readmodel.AuditQuery{Until: readmodel.Latest, Limit: len(events) + 1})
	if err != nil {
		t.Fatal(err)
	}
	last := map[[2]string]readmodel.Row{}
	var wantHistory []readmodel.Entry
	for i := range events {
		e, err := readmodel.EntryOf(&events[i])
		if err != nil {
			t.Fatal(err)
		}
		last[[2]string{e.Namespace, e.Name}] = e.Row
		wantHistory = append(wantHistory, e)
	}
	var want []readmodel.Row
	for _, row := range last {
		want = append(want, row)
	}
	for _, rows := range [][]readmodel.Row{want, rows} {
		slices.SortFunc(rows, func(a, b readmodel.Row) int {
			return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		})
	}
	slices.Reverse(history)
	if !reflect.DeepEqual(want, rows) { // much faster than Diff
		t.Fatalf("current values (-want +got):\n%s", gocmp.Diff(want, rows))
	}
	if !reflect.DeepEqual(wantHistory, history) {
		t.Fatalf("history (-want +got):\n%s", gocmp.Diff(wantHistory, history))
	}
	end := events[len(events)-1]
	if at.Epoch != testkit.Epoch || at.Hash != end.Hash || !at.RecordedAt.Equal(end.RecordedAt) {
		t.Fatalf("the checkpoint %v is not of event %d", at, end.Position)
	}
}

// heard are the positions that projectors announce, which never go back.
type heard struct{ positions chan int64 }

func (s *system) hear(t *testing.T) heard {
	t.Helper()
	h := heard{make(chan int64, 1_000_000)}
	last := int64(0)
	err := feed.Listen(s.nats.Conn(t), feed.AppliedSubject, func(a feed.Applied) {
		if a.Position < last {
			t.Errorf("position %d was announced after %d", a.Position, last)
		}
		last = a.Position
		h.positions <- last
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Whatever happens to the consumer, the stream, the server and the connections:
// the read tables are the fold of the events, and the change log has each once.
func TestReadTablesAreTheFoldWhateverHappens(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := newSystem(t)
	events := testkit.RandomLog(t, 1, 400).Events
	done := 0
	// publish publishes up to the change set that is whole at a position.
	publish := func(to int) {
		t.Helper()
		to = int(events[to-1].Commit)
		testkit.Publish(t, s.js, events[done:to])
		done = to
	}
	publish(200)
	s.hear(t)
	p := s.start(t, s.options())
	wantAll := func() {
		t.Helper()
		s.wantFold(t, events[:done])
	}
	wantAll()
	consumer := func(f func(name string) error) {
		t.Helper()
		for _, name := range []string{"projector-a", "changelog"} {
			if err := f(name); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	reset := func(to int) {
		t.Helper()
		consumer(func(name string) error {
			_, err := s.js.ResetConsumerToSequence(t.Context(), feed.Stream, name, uint64(to))
			return err
		})
	}

	t.Log("The consumers are reset by hand to the beginning: everything is delivered again.")
	reset(1)
	publish(done + 10)
	wantAll()

	t.Log("They are reset forward: there is a gap.")
	reset(done + 4)
	publish(done + 20)
	wantAll()

	t.Log("They are deleted.")
	consumer(func(name string) error { return s.js.DeleteConsumer(t.Context(), feed.Stream, name) })
	publish(done + 10)
	wantAll()

	t.Log("The stream is deleted, and filled again from the log.")
	if err := s.js.DeleteStream(t.Context(), feed.Stream); err != nil {
		t.Fatal(err)
	}
	if err := feed.EnsureStream(t.Context(), s.js, 1); err != nil {
		t.Fatal(err)
	}
	testkit.Publish(t, s.js, events[:done])
	publish(done + 10)
	wantAll()

	t.Log("NATS restarts.")
	s.nats.Restart(t)
	testkit.Eventually(t, func() error {
		_, err := feed.LastPosition(t.Context(), s.js)
		return err
	})
	publish(done + 10)
	wantAll()

	wantChangelog(t, events[:done], p.log)

	t.Log("The database cuts all connections, again and again, while events come.")
	for range 4 {
		publish(done + 20)
		killed(t, s)
	}
	wantAll()
}

// killed cuts the projector's connections to the database.
func killed(t testing.TB, s *system) {
	t.Helper()
	_, err := s.pool.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity
		where datname = current_database() and application_name = 'config-api projector'`)
	if err != nil {
		t.Fatal(err)
	}
}

// A consumer that was reset beyond the stream's end brings nothing when events
// come: the watchdog notices.
func TestWatchdogResetsASilentConsumer(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	events := testkit.RandomLog(t, 2, 30).Events
	first := events[9].Commit
	testkit.Publish(t, s.js, events[:first])
	p := s.start(t, s.options())
	s.wantFold(t, events[:first])
	wantChangelog(t, events[:first], p.log)
	for _, name := range []string{"projector-a", "changelog"} {
		if _, err := s.js.ResetConsumerToSequence(t.Context(), feed.Stream, name, 1000); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Publish(t, s.js, events[first:])
	s.wantFold(t, events)
	wantChangelog(t, events, p.log)
}

// A change set of which a part was delivered waits for the rest: readers never
// see half of one.
func TestHalfAChangeSetWaits(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := newSystem(t)
	events := testkit.RandomLog(t, 3, 50).Events
	half := int64(20) // the first position from here on that is inside a change set
	for events[half-1].Commit == half {
		half++
	}
	whole := events[half-1].Commit
	before := half
	for before > 0 && events[before-1].Commit == whole {
		before--
	}
	announced := s.hear(t)
	testkit.Publish(t, s.js, events[:half])
	s.start(t, s.options())
	s.wantFold(t, events[:before])
	testkit.Eventually(t, func() error { // until the half is delivered
		consumer, err := s.js.Consumer(t.Context(), feed.Stream, "projector-a")
		if err == nil && int64(consumer.CachedInfo().Delivered.Stream) != half {
			err = fmt.Errorf("delivered up to %d, want %d", consumer.CachedInfo().Delivered.Stream, half)
		}
		return err
	})
	// It announces each turn: after two more the half has been looked at.
	for len(announced.positions) > 0 {
		<-announced.positions
	}
	for range 2 {
		if position := <-announced.positions; position != before {
			t.Fatalf("it applied up to %d, the change set began after %d", position, before)
		}
	}
	s.wantFold(t, events[:before])
	testkit.Publish(t, s.js, events[half:])
	s.wantFold(t, events)
}

// Without NATS, or without its stream, the projector waits for it, and answers
// what it can.
func TestProjectorWaitsForNATS(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	if err := s.js.DeleteStream(t.Context(), feed.Stream); err != nil {
		t.Fatal(err)
	}
	p := s.start(t, s.options())
	testkit.Eventually(t, func() error {
		if got, err := p.projection(); err != nil || got.Position != 0 || got.Lag != 0 {
			return fmt.Errorf("without a stream: %+v, %w", got, err)
		}
		return nil
	})
	s.nats.Stop()
	testkit.Eventually(t, func() error {
		if status, body := p.get(t, "/v2/projections"); status != http.StatusServiceUnavailable {
			return fmt.Errorf("without NATS it answered %d %s", status, body)
		}
		return nil
	})
	if status, body := p.get(t, "/readyz"); status != http.StatusOK {
		t.Errorf("the read tables are there, and /readyz answers %d %s", status, body)
	}
	s.nats.Restart(t)
	testkit.Eventually(t, func() error { return feed.EnsureStream(t.Context(), s.js, 1) })
	events := testkit.RandomLog(t, 4, 10).Events
	testkit.Publish(t, s.js, events)
	s.wantFold(t, events)
	testkit.Eventually(t, func() error {
		got, err := p.projection()
		want := projection{Name: "current", State: "running", Epoch: testkit.Epoch, Position: int64(len(events)), Feed: int64(len(events))}
		if diff := gocmp.Diff(want, got); err != nil || diff != "" {
			return errors.New("projection (-want +got):\n" + diff)
		}
		return nil
	})
}
