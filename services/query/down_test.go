package query_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/testkit"
)

// gate is a way to the database that can be closed: then the database is down
// for who goes through it.
type gate struct {
	url             string // of the database through the gate
	network, server string
	address         string

	mu       sync.Mutex
	listener net.Listener // nil when closed
	conns    map[net.Conn]bool
}

func newGate(t testing.TB, database string) *gate {
	t.Helper()
	c, err := pgconn.ParseConfig(database)
	must(t, err)
	g := &gate{address: "127.0.0.1:0", conns: map[net.Conn]bool{}}
	g.network, g.server = pgconn.NetworkAddress(c.Host, c.Port)
	g.open(t)
	u := url.URL{Scheme: "postgres", User: url.UserPassword(c.User, c.Password), Host: g.address, Path: "/" + c.Database, RawQuery: "sslmode=disable"}
	g.url = u.String()
	t.Cleanup(g.close)
	return g
}

func (g *gate) open(t testing.TB) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", g.address)
	must(t, err)
	g.mu.Lock()
	g.listener, g.address = listener, listener.Addr().String()
	g.mu.Unlock()
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := new(net.Dialer).DialContext(context.Background(), g.network, g.server)
			if err != nil {
				_ = in.Close()
				continue
			}
			g.pass(in, out)
		}
	}()
}

// pass copies both ways until the gate closes.
func (g *gate) pass(in, out net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener == nil {
		_, _ = in.Close(), out.Close()
		return
	}
	for from, to := range map[net.Conn]net.Conn{in: out, out: in} {
		g.conns[from] = true
		go func() {
			_, _ = io.Copy(to, from)
			_, _ = to.Close(), from.Close()
		}()
	}
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener == nil {
		return
	}
	_ = g.listener.Close()
	g.listener = nil
	for conn := range g.conns {
		_ = conn.Close()
		delete(g.conns, conn)
	}
}

// While Postgres is down current values are served, and stay fresh; the past is
// 503. When it is back all is.
func TestPostgresDown(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var log testkit.Log
	s.write(t, log.Set(t, "default", "a", `"1"`))
	s.write(t, log.Set(t, "ns", "a", `1`))
	gate := newGate(t, s.database)
	o := s.options()
	o.Database.URL = gate.url
	q := s.start(t, o)
	must(t, feed.ServeHead(s.nats.Conn(t), func() feed.Head { return feed.Head{Epoch: testkit.Epoch, Position: 3} }))
	testkit.Eventually(t, func() error { return q.get(t, "/v1/health").is(http.StatusOK) })
	past := []string{
		"/v1/config/a/history", "/v1/config/a/at/2026-01-02T04:00:00Z", "/v2/namespaces", "/v2/audit", "/v2/namespaces/ns/configs/a/history",
		"/v2/namespaces/ns/configs?at_position=1", "/v2/namespaces/ns/configs/a?at=2026-01-02T04:00:00Z", "/v2/namespaces/ns/diff?from=1",
		"/v2/namespaces/ns/diff?from=2026-01-02T03:04:06Z", "/v2/namespaces/ns/schemas",
	}
	for _, path := range past {
		must(t, q.get(t, path).is(http.StatusOK))
	}

	gate.close()
	testkit.Publish(t, s.js, log.Set(t, "ns", "a", `2`))
	for _, path := range []string{"/v2/namespaces/ns/configs", "/v2/namespaces/ns/configs/a"} {
		must(t, q.get(t, path+"?wait=10s&min_position="+token(3)).shows(3))
	}
	must(t, q.get(t, "/v1/config/a").shows(3))
	must(t, q.get(t, "/v1/config").shows(3))
	must(t, q.get(t, "/readyz").is(http.StatusOK))
	for _, path := range append(past, "/v2/namespaces/ns/schemas/a") {
		a := q.get(t, path)
		if err := a.is(http.StatusServiceUnavailable); err != nil || a.header.Get("Retry-After") == "" || !strings.Contains(a.body, "the database is not available") {
			t.Errorf("GET %s: %v %v %s", path, err, a.header, a.body)
		}
	}
	var health struct {
		Status string            `json:"status"`
		Checks map[string]string `json:"checks"`
	}
	a := q.get(t, "/v1/health")
	must(t, a.is(http.StatusServiceUnavailable))
	a.status = http.StatusOK
	a.into(t, &health)
	if diff := gocmp.Diff(map[string]string{
		"eventstore": "ok", "database": "the database is not available", "projection": "the read tables can't be read",
	}, health.Checks); diff != "" || health.Status != "unhealthy" {
		t.Errorf("health is %s (-want +got):\n%s", health.Status, diff)
	}
	w := q.watch(t, "ns", "from_position=0")
	w.wantBookmark(0)
	w.wantDropped(0, "the past can't be read now: connect again")

	gate.open(t)
	s.apply(t, log.Events[2:])
	for _, path := range append(past, "/v1/health") {
		testkit.Eventually(t, func() error { return q.get(t, path).is(http.StatusOK) })
	}
}
