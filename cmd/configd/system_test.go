package main

import (
	"context"
	"io"
	"net/http/httptest"
	"testing"

	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/testkit"
	"github.com/config-api/config-api/shared/testkit/contract"
)

// startSystem runs the three services as configd does, on a database and a NATS
// server of the test's own, and returns where they answer.
func startSystem(t testing.TB) (url string) {
	t.Helper()
	db := service.DatabaseOptions{URL: testkit.DatabaseURL(t)}
	nats := service.NATSOptions{URL: testkit.NATS(t).URL}
	all, parts, err := newServices(t.Context(), options{logValues: true}, db, nats, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	working, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, len(parts))
	for _, p := range parts {
		go func() { done <- p.work(working) }()
	}
	server := httptest.NewServer(all)
	t.Cleanup(func() {
		server.Close()
		stop()
		for range parts {
			if err := <-done; err != nil {
				t.Errorf("a service ended with %v", err)
			}
		}
	})
	if err := all.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return server.URL
}

// What the README says works as it stands there.
func TestTour(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	contract.Tour(t, contract.New(startSystem(t)), "../..")
}

func TestContract(t *testing.T) {
	t.Parallel()
	api := contract.New(startSystem(t))
	t.Run("empty", func(t *testing.T) { contract.Empty(t, api) })
	t.Run("v1", func(t *testing.T) { contract.V1(t, api) })
	t.Run("v2", func(t *testing.T) { contract.V2(t, api) })
}
