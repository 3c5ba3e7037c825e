package query_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/services/query"
	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/testkit"
)

const anotherLog = "0191f3a2-0000-7000-8000-0000000000ff"

// restored is the log of testkit after it was recovered.
var restored = config.LogID{Epoch: anotherLog, Origin: testkit.Epoch}

// system is what query services read. The test writes it, in the place of the
// command service and the projector.
type system struct {
	database string
	pool     *pgxpool.Pool
	nats     *testkit.NATSServer
	js       jetstream.JetStream
	store    *readmodel.Store
}

func newSystem(t *testing.T) *system {
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

// apply does what the projector does with events.
func (s *system) apply(t testing.TB, events []config.Event) {
	t.Helper()
	at, err := s.store.Checkpoint(t.Context())
	if err == nil && len(events) > 0 {
		_, err = s.store.Apply(t.Context(), at, testkit.Epoch, events)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// write makes events reach the feed and the read tables.
func (s *system) write(t testing.TB, events []config.Event) {
	t.Helper()
	testkit.Publish(t, s.js, events)
	s.apply(t, events)
}

func (s *system) options() query.Options {
	return query.Options{Database: service.DatabaseOptions{URL: s.database}, NATS: service.NATSOptions{URL: s.nats.URL}}
}

// running is a query service at work.
type running struct {
	*query.Service
	url  string
	log  *logBuffer
	stop func() // returns when it has stopped
}

// start starts a query service and waits until it is ready.
func (s *system) start(t *testing.T, o query.Options) *running {
	t.Helper()
	r := s.startOnly(t, o)
	testkit.Eventually(t, func() error { return r.get(t, "/readyz").is(http.StatusOK) })
	return r
}

// startOnly starts a query service that is stopped when the test ends, if not
// before.
func (s *system) startOnly(t *testing.T, o query.Options) *running {
	t.Helper()
	log := new(logBuffer)
	q, err := query.New(t.Context(), o, slog.New(slog.NewJSONHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	server := httptest.NewServer(q.Handler())
	r := &running{Service: q, url: server.URL, log: log, stop: sync.OnceFunc(func() {
		q.StopWatches()
		server.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the service ended with %v", err)
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

// answer is what the service answered.
type answer struct {
	status int
	header http.Header
	body   string
}

// get asks; headers are pairs of name and value. It may be called from any
// goroutine.
func (r *running) get(t testing.TB, path string, headers ...string) answer {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+path, nil)
	if err != nil {
		return answer{body: err.Error()}
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{body: err.Error()}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{body: err.Error()}
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

// is returns an error unless the answer has this status.
func (a answer) is(status int) error {
	if a.status != status {
		return fmt.Errorf("answered %d %.300s, want %d", a.status, a.body, status)
	}
	return nil
}

// shows returns an error unless the answer is 200 and of this state.
func (a answer) shows(position int64) error {
	if want := token(position); a.header.Get("Config-Position") != want {
		return errors.Join(a.is(http.StatusOK), fmt.Errorf("it shows %s, want %s", a.header.Get("Config-Position"), want))
	}
	return a.is(http.StatusOK)
}

// into decodes a 200.
func (a answer) into(t testing.TB, dst any) {
	t.Helper()
	must(t, a.is(http.StatusOK))
	must(t, json.Unmarshal([]byte(a.body), dst))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func token(position int64) string { return testkit.Epoch + ":" + strconv.FormatInt(position, 10) }

// item is what the tests look at in a config or an event.
type item struct {
	Namespace string       `json:"namespace"`
	Name      string       `json:"name"`
	Value     config.Value `json:"value"`
	Version   int64        `json:"version"`
	Position  int64        `json:"position"`
}

type page struct {
	Items    []item `json:"items"`
	Next     string `json:"next_page_token"`
	Position int64  `json:"position"`
	Final    bool   `json:"final"`
}

// fold returns the live configs of a namespace as of a position, by name.
func fold(t testing.TB, events []config.Event, namespace string, position int64) []item {
	t.Helper()
	last := map[string]item{}
	names := []string{}
	for i := range events[:position] {
		row, err := readmodel.RowOf(&events[i])
		must(t, err)
		if _, schema := config.SchemaPattern(row.Name); schema || row.Namespace != namespace {
			continue
		}
		names = append(names, row.Name)
		last[row.Name] = item{row.Namespace, row.Name, row.Value, row.Version, row.Position}
		if row.Deleted {
			delete(last, row.Name)
		}
	}
	return sorted(names, last)
}

// announce says what the projector says after a batch.
func (s *system) announce(t testing.TB, position int64) {
	t.Helper()
	nc := s.nats.Conn(t)
	must(t, feed.Announce(nc, feed.AppliedSubject, feed.Applied{Epoch: testkit.Epoch, Position: position}))
	must(t, nc.Flush())
}

func sorted(names []string, items map[string]item) []item {
	slices.Sort(names)
	live := []item{}
	for _, name := range slices.Compact(names) {
		if i, ok := items[name]; ok {
			live = append(live, i)
		}
	}
	return live
}
