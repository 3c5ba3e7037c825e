package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// services are the handlers behind the one port. metrics and stats answer those
// of all three.
type services struct {
	command, projector, query http.Handler
	metrics, stats            http.Handler
}

// ServeHTTP routes as the gateway in front of the containers does: writes and
// the log to command, the projections to projector, everything else to query.
func (s services) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	switch {
	case path == "/readyz":
		s.ready(w, r)
	case path == "/metrics" && r.Method == http.MethodGet:
		s.metrics.ServeHTTP(w, r)
	case path == "/v2/stats" && r.Method == http.MethodGet:
		s.stats.ServeHTTP(w, r)
	case path == "/v2/stats/command":
		s.command.ServeHTTP(w, r)
	case path == "/v2/stats/projector", path == "/v2/projections" || strings.HasPrefix(path, "/v2/projections/"):
		s.projector.ServeHTTP(w, r)
	case strings.HasPrefix(path, "/v2/log/"):
		s.command.ServeHTTP(w, r)
	case r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions:
		s.query.ServeHTTP(w, r)
	default:
		s.command.ServeHTTP(w, r)
	}
}

// ready is ready when all three are; the body has the answer of each.
func (s services) ready(w http.ResponseWriter, r *http.Request) {
	status, body := http.StatusOK, map[string]json.RawMessage{}
	for name, service := range map[string]http.Handler{"command": s.command, "projector": s.projector, "query": s.query} {
		answer := answer{header: http.Header{}, status: http.StatusOK}
		service.ServeHTTP(&answer, r)
		if answer.status != http.StatusOK {
			status = http.StatusServiceUnavailable
		}
		if body[name] = answer.body.Bytes(); !json.Valid(answer.body.Bytes()) {
			body[name], _ = json.Marshal(answer.body.String()) // a string always can be
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an error means that nobody listens any more
}

// readyPoll is how often awaitReady asks.
const readyPoll = 20 * time.Millisecond

// awaitReady returns nil once all three are ready, or when ctx ends its error.
func (s services) awaitReady(ctx context.Context) error {
	poll := time.NewTicker(readyPoll)
	defer poll.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "/readyz", nil)
		if err != nil {
			return err
		}
		answer := answer{header: http.Header{}}
		if s.ready(&answer, request); answer.status == http.StatusOK {
			return nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// answer is a ResponseWriter that keeps what is written.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }
