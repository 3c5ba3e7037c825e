package command

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/testkit"
	"github.com/config-api/config-api/shared/testkit/contract"
)

// system is a command service that runs and answers HTTP.
type system struct {
	*Service
	contract.API
	Stop func() // ends it as a process ends; twice is as good as once
}

// noNATS is an address where no server answers: writes do not need one.
const noNATS = "nats://127.0.0.1:1"

// start runs a service that ends with the test at the latest.
func start(t *testing.T, database, nats string, options ...func(*Options)) system {
	t.Helper()
	o := Options{Database: service.DatabaseOptions{URL: database}, NATS: service.NATSOptions{URL: nats}, Replicas: 1}
	for _, option := range options {
		option(&o)
	}
	s, err := New(t.Context(), o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.relay.pause, s.relay.haltedPause = 20*time.Millisecond, 20*time.Millisecond
	server := httptest.NewServer(s.Handler())
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		server.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the service ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return system{Service: s, API: contract.New(server.URL), Stop: stop}
}

// write sends a write that must be accepted.
func (s system) write(t *testing.T, method, path, body string, headers ...string) contract.Answer {
	t.Helper()
	got := s.Do(t, method, path, body, headers...)
	if got.Status/100 != 2 {
		t.Fatalf("%s %s %.200s: answered %d %.500s", method, path, body, got.Status, got.Body)
	}
	return got
}

// refused sends a write that must be refused with this status.
func (s system) refused(t *testing.T, status int, method, path, body string) service.Problem {
	t.Helper()
	got := s.Do(t, method, path, body)
	if got.Status != status {
		t.Errorf("%s %s %.200s: answered %d %.500s, want %d", method, path, body, got.Status, got.Body, status)
	}
	return decode[service.Problem](t, got)
}

func decode[T any](t *testing.T, got contract.Answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(got.Body), &v); err != nil {
		t.Fatalf("answer %.500q: %v", got.Body, err)
	}
	return v
}

// events reads the whole log.
func (s system) events(t *testing.T) []config.Event {
	t.Helper()
	var events []config.Event
	for {
		page, err := s.log.Read(t.Context(), int64(len(events)), config.MaxChanges)
		if err != nil {
			t.Fatal(err)
		}
		if events = append(events, page...); len(page) == 0 {
			return events
		}
	}
}

func (s system) epoch(t *testing.T) string {
	t.Helper()
	head, err := s.log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return head.Epoch
}

// wantEvents fails the test unless the log has that many events, in a valid
// chain.
func (s system) wantEvents(t *testing.T, want int) {
	t.Helper()
	if v, err := s.log.Verify(t.Context(), 1, 0, nil); err != nil || !v.Valid {
		t.Errorf("verify: %+v, %v", v, err)
	}
	if n := len(s.events(t)); n != want {
		t.Errorf("the log has %d events, want %d", n, want)
	}
}

// set is a command that sets names of namespace ns to one value.
func set(value string, names ...string) eventlog.Command {
	cmd := eventlog.Command{Set: config.ChangeSet{Namespace: "ns"}}
	for _, name := range names {
		cmd.Set.Changes = append(cmd.Set.Changes, config.Change{Op: config.Set, Name: name, Value: config.Value(value)})
	}
	return cmd
}

func (s system) append(t *testing.T, cmd eventlog.Command) eventlog.Outcome {
	t.Helper()
	out, err := s.log.Append(t.Context(), cmd)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return out
}

func numbered(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("n%d", i)
	}
	return names
}

func TestOptionsThatCanNotWork(t *testing.T) {
	t.Parallel()
	database := testkit.DatabaseURL(t, eventlog.Schema)
	for want, o := range map[string]Options{
		"signing key":  {Database: service.DatabaseOptions{URL: database}, SigningKey: "PRIVATE+KEY+none"},
		"database URL": {Database: service.DatabaseOptions{URL: "postgres://%"}},
	} {
		if _, err := New(t.Context(), o, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New without a usable %s: %v", want, err)
		}
	}
	var out strings.Builder
	err := Run(t.Context(), []string{"--nats-replicas=9"}, nil, &out)
	for _, want := range []string{"--database-url", "--nats-replicas"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run: %v, want the fault of %s named", err, want)
		}
	}
}
