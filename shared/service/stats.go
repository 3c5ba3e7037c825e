package service

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/config-api/config-api/shared/stats"
)

// statsRoute is where people read the metrics, without anything else to run.
const statsRoute = "/v2/stats"

// serviceStats are a service's metrics as JSON.
type serviceStats struct {
	Service   string             `json:"service"`
	Version   string             `json:"version"`
	StartedAt time.Time          `json:"started_at"`
	Uptime    float64            `json:"uptime_seconds"`
	InFlight  int64              `json:"requests_in_flight"`
	Endpoints []endpointStats    `json:"endpoints"`
	Timings   []timingStats      `json:"timings"`
	Figures   map[string]float64 `json:"figures"`
}

// endpointStats are those of a route that was asked.
type endpointStats struct {
	Method  string `json:"method"`
	Route   string `json:"route"`
	Count   uint64 `json:"count"`
	Refused uint64 `json:"refused"` // answered with 400 to 499
	Errors  uint64 `json:"errors"`  // answered with 500 to 599
	quantiles
}

// timingStats are those of something that is done again and again.
type timingStats struct {
	Name  string `json:"name"`
	Part  string `json:"part,omitempty"` // which one of its kind
	Count uint64 `json:"count"`
	quantiles
}

type quantiles struct {
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
	P99 float64 `json:"p99_ms"`
}

func quantilesOf(s *stats.Snapshot) quantiles {
	ms := func(share float64) float64 { return float64(s.Quantile(share)) / float64(time.Millisecond) }
	return quantiles{ms(0.50), ms(0.95), ms(0.99)}
}

func (m *Metrics) stats(now time.Time) serviceStats {
	requests := m.requests.all()
	s := serviceStats{
		Service: m.service, Version: Version(), StartedAt: m.began.UTC(), Uptime: now.Sub(m.began).Seconds(),
		InFlight: inFlight(requests), Endpoints: []endpointStats{}, Timings: []timingStats{}, Figures: map[string]float64{},
	}
	for _, c := range requests {
		if n := c.sum(0, 999); n > 0 {
			s.Endpoints = append(s.Endpoints, endpointStats{c.method, c.path, n, c.sum(400, 499), c.sum(500, 599), quantilesOf(c.duration)})
		}
	}
	for _, t := range m.timings {
		t.each(func(part string, h *stats.Histogram) {
			read := h.Read()
			s.Timings = append(s.Timings, timingStats{t.name, part, read.Count, quantilesOf(read)})
		})
	}
	for _, f := range m.figures {
		s.Figures[f.name] = f.read()
	}
	return s
}

// ServeStats answers the figures of services in one process.
func ServeStats(services ...*Metrics) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		now, all := time.Now(), []serviceStats{}
		for _, m := range services {
			all = append(all, m.stats(now))
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(map[string]any{"services": all}) // an error means that nobody listens any more
	})
}
