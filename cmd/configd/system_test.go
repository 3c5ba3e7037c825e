package main

import (
	"context"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/testkit"
	"github.com/config-api/config-api/shared/testkit/contract"
	"github.com/config-api/config-api/shared/tracing"
)

// system is the three services as configd runs them, on a database and a NATS
// server of the test's own.
type system struct {
	url      string
	database string
	nats     *testkit.NATSServer
	output   output // what all have logged
	tracing  tracing.Options
	stop     func() // as Ctrl-C does; twice is as good as once
}

func startSystem(t testing.TB) *system {
	t.Helper()
	s := newSystem(t)
	s.start(t)
	return s
}

func newSystem(t testing.TB) *system {
	t.Helper()
	s := &system{database: testkit.DatabaseURL(t, eventlog.Schema, readmodel.Schema), nats: testkit.NATS(t)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the services logged:\n%s", &s.output)
		}
	})
	return s
}

// execute runs SQL as the owner of the database.
func (s *system) execute(t testing.TB, sql string) {
	t.Helper()
	pool, err := pg.Open(t.Context(), s.database, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// start runs the services until the test ends, if not before. After a stop it
// starts them anew on the same data, at another address.
func (s *system) start(t testing.TB) {
	t.Helper()
	db, nats := service.DatabaseOptions{URL: s.database}, service.NATSOptions{URL: s.nats.URL}
	all, parts, err := newServices(t.Context(), options{logValues: true, tracing: s.tracing}, db, nats, &s.output)
	if err != nil {
		t.Fatal(err)
	}
	working, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, len(parts))
	for _, p := range parts {
		go func() { done <- p.work(working) }()
	}
	server := httptest.NewServer(all)
	s.url = server.URL
	s.stop = sync.OnceFunc(func() {
		server.CloseClientConnections()
		server.Close()
		stop()
		for range parts {
			if err := <-done; err != nil {
				t.Errorf("a service ended with %v", err)
			}
		}
	})
	t.Cleanup(s.stop)
	if err := all.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	t.Parallel()
	api := contract.New(startSystem(t).url)
	t.Run("empty", func(t *testing.T) { contract.Empty(t, api) })
	t.Run("v1", func(t *testing.T) { contract.V1(t, api) })
	t.Run("v2", func(t *testing.T) { contract.V2(t, api) })
}
