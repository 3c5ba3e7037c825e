package query

import (
	"errors"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/stats"
)

// Metrics returns the service's metrics.
func (s *Service) Metrics() *service.Metrics { return s.metrics }

// measure describes what the service counts: docs/operations.md says what to make
// of it.
func (s *Service) measure() {
	m, v, w := service.NewMetrics("query"), s.view, s.watchers
	s.metrics = m
	present := func(read func(*state) float64) func() float64 {
		return func() float64 {
			if now := v.current.Load(); now != nil {
				return read(now)
			}
			return 0
		}
	}
	m.Gauge("view_position", "Position of the current values in memory.", present(func(now *state) float64 { return float64(now.position) }))
	m.Gauge("view_names", "Names in memory, with deleted ones and schemas.", present(func(now *state) float64 { return float64(now.rows.Len()) }))
	m.Gauge("view_stale", "1 while something keeps the memory from being kept fresh.", func() float64 { return stats.Flag(v.problem.Load() != nil) })
	m.Gauge("view_halted", "1 while nothing is applied until a person acts.", func() float64 { return stats.Flag(v.halted()) })
	m.Counter("view_loads_total", "Times that the memory was loaded from the read tables: once at the start.", func() float64 { return float64(v.loads.Load()) })
	m.Gauge("watches_open", "Watches that are open.", func() float64 { return float64(w.count()) })
	m.Gauge("watches_max", "Most watches that may be open.", func() float64 { return float64(w.options.Watchers) })
	m.Counter("watch_events_sent_total", "Events that were sent to watches.", func() float64 { return float64(w.sent.Load()) })
	m.Durations("table_read", "How long reads of the read tables took.", "read", s.store.Reads())
	m.Pool(s.pool)
	m.NATS(s.nc)
}

func (v *view) halted() bool {
	problem := v.problem.Load()
	var unknown *config.UnknownEventError
	var tampered *feed.TamperedError
	return problem != nil && (errors.As(*problem, &unknown) || errors.As(*problem, &tampered))
}

func (w *watchers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open
}
