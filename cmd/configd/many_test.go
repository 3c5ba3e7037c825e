package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/config-api/config-api/services/query"
	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/testkit"
)

// With several query services behind a gateway, a client sees its writes and
// never sees state go back, wherever its reads land.
func TestSeveralQueryServices(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := startSystem(t)
	targets := []*httputil.ReverseProxy{proxyTo(t, s.url)}
	for range 2 {
		q, err := query.New(t.Context(), query.Options{
			Database: service.DatabaseOptions{URL: s.database}, NATS: service.NATSOptions{URL: s.nats.URL},
		}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(q.Handler())
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		ended := make(chan error, 1)
		go func() { ended <- q.Run(ctx) }()
		t.Cleanup(func() {
			server.Close()
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		targets = append(targets, proxyTo(t, server.URL))
	}
	var turn atomic.Int64
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := targets[0]
		if r.Method == http.MethodGet {
			to = targets[turn.Add(1)%int64(len(targets))]
		}
		to.ServeHTTP(w, r)
	}))
	t.Cleanup(gateway.Close)

	const writes = 60
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 3 {
		c := newClient(t, gateway.URL)
		readers.Go(func() {
			last := -1
			for ctx.Err() == nil {
				got, err := c.Namespace("many").Get(ctx, "n")
				if err != nil {
					continue // not there yet, or the end
				}
				if n, err := strconv.Atoi(string(got.Value)); err != nil || n < last {
					t.Errorf("read %s after %d", got.Value, last)
				} else {
					last = n
				}
			}
		})
	}
	c := newClient(t, gateway.URL)
	for i := range writes {
		if _, err := c.Namespace("many").Set(t.Context(), "n", i); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Namespace("many").Get(t.Context(), "n"); err != nil || string(got.Value) != strconv.Itoa(i) {
			t.Fatalf("read %s, %v after writing %d", got.Value, err, i)
		}
	}
	stop()
	readers.Wait()
}

func proxyTo(t *testing.T, target string) *httputil.ReverseProxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return httputil.NewSingleHostReverseProxy(u)
}

// A thousand watchers each see every change, once and in order.
func TestAThousandWatchers(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	const watchers, writes = 1000, 20
	c := newClient(t, startSystem(t).url)
	ns := c.Namespace("watched")
	if _, err := ns.Set(t.Context(), "n", -1); err != nil {
		t.Fatal(err)
	}
	after := c.Seen()
	var watching, open sync.WaitGroup
	for range watchers {
		open.Add(1)
		opened := sync.OnceFunc(open.Done)
		watching.Go(func() {
			defer opened()
			n := 0
			for e, err := range ns.Watch(t.Context(), client.WatchOptions{After: after, Reached: func(config.Token) { opened() }}) {
				if err != nil || string(e.Value) != fmt.Sprint(n) {
					t.Errorf("event %d is %s, %v", n, e.Value, err)
					return
				}
				if n++; n == writes {
					return
				}
			}
		})
	}
	open.Wait()
	for i := range writes {
		if _, err := ns.Set(t.Context(), "n", i); err != nil {
			t.Fatal(err)
		}
	}
	watching.Wait()
}
