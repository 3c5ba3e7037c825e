//go:build crash && linux

package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// gateway is the one origin before the cluster: it routes as the gateway of the
// containers does, in turn to those that answer.
type gateway struct {
	url                         string
	commands, projectors, reads instances
	transport                   *http.Transport
}

// instances are those of one service.
type instances struct {
	members []*process
	alive   []atomic.Bool
	turn    atomic.Uint64
}

// next returns the instance whose turn it is, and the one after it.
func (p *instances) next() []string {
	var found []string
	turn := int(p.turn.Add(1))
	for i := range p.members {
		if at := (turn + i) % len(p.members); p.alive[at].Load() {
			found = append(found, p.members[at].address)
		}
	}
	return found
}

// watch takes what does not answer out of turn, as any gateway does.
func (p *instances) watch(ctx context.Context) {
	client := &http.Client{Timeout: time.Second}
	for i, member := range p.members {
		go func() {
			every := time.NewTicker(250 * time.Millisecond)
			defer every.Stop()
			for ctx.Err() == nil {
				resp, err := client.Get(member.url() + "/healthz")
				if err == nil {
					_ = resp.Body.Close()
				}
				p.alive[i].Store(err == nil && resp.StatusCode == http.StatusOK)
				select {
				case <-every.C:
				case <-ctx.Done():
				}
			}
		}()
	}
}

func newGateway(t *testing.T, commands, projectors, reads []*process) *gateway {
	t.Helper()
	g := &gateway{transport: &http.Transport{MaxIdleConnsPerHost: 64, DialContext: (&net.Dialer{Timeout: time.Second}).DialContext}}
	for p, members := range map[*instances][]*process{&g.commands: commands, &g.projectors: projectors, &g.reads: reads} {
		p.members, p.alive = members, make([]atomic.Bool, len(members))
		p.watch(t.Context())
	}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.Out.URL.Scheme = "http" },
		Transport:     g,
		FlushInterval: -1,                         // a watch is a stream
		ErrorLog:      log.New(io.Discard, "", 0), // answers that break off are what the tests are about
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusBadGateway)
		},
	})
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		g.transport.CloseIdleConnections()
	})
	g.url = server.URL
	return g
}

// RoundTrip sends a request to the service that it is for. What could not be
// sent, because nobody listens any more, goes to another instance.
func (g *gateway) RoundTrip(r *http.Request) (*http.Response, error) {
	of, path := &g.reads, r.URL.Path
	switch {
	case path == "/v2/projections" || strings.HasPrefix(path, "/v2/projections/"):
		of = &g.projectors
	case strings.HasPrefix(path, "/v2/log/") || r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions:
		of = &g.commands
	}
	body := []byte{}
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	err := errors.New("no instance answers")
	for _, address := range of.next() {
		r.URL.Host = address
		if len(body) > 0 {
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		var resp *http.Response
		if resp, err = g.transport.RoundTrip(r); err == nil {
			return resp, nil
		}
		var unsent *net.OpError
		if !errors.As(err, &unsent) || unsent.Op != "dial" {
			break
		}
	}
	return nil, err
}
