package command

import (
	"time"

	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/stats"
)

// Metrics returns the service's metrics.
func (s *Service) Metrics() *service.Metrics { return s.metrics }

// measure describes what the service counts: docs/operations.md says what to make
// of it.
func (s *Service) measure() {
	m, log, relay := service.NewMetrics("command"), s.log.Stats(), s.relay
	s.metrics = m
	m.Gauge("log_position", "Position of the last event in the log, as far as this process has seen.", func() float64 { return float64(log.Position.Load()) })
	m.Counter("events_appended_total", "Events that this process has appended to the log.", func() float64 { return float64(log.Events.Load()) })
	m.Figure("events_per_second", func() float64 { return log.Rate.PerSecond(time.Now()) })
	m.Sizes("append_batch_events", "Events of one transaction.", &log.Batch)
	m.Duration("append_commit", "How long it took to write the events of a transaction and to commit it.", &log.Commit)
	m.Counter("commits_in_doubt_total", "Commits that were cut off, so that their outcome had to be looked up.", func() float64 { return float64(log.InDoubt.Load()) })
	m.Durations("eventstore_query", "How long queries of the event store took.", "query", &log.Queries)

	m.Gauge("relay_leader", "1 while this process publishes the log.", func() float64 { return stats.Flag(relay.Status().Leader) })
	m.Gauge("relay_halted", "1 while nothing is published until a person acts.", func() float64 { return stats.Flag(relay.Status().Halted != "") })
	m.Gauge("relay_position", "Position of the last event that was published, as far as the relay knows.", func() float64 { return float64(relay.Status().Published) })
	m.Gauge("relay_lag_events", "Events in the log that are not published; 0 of a relay that stands by.", func() float64 { return float64(relay.lag()) })
	m.Duration("relay_publish", "How long it took to publish a batch of events.", &relay.publishing)
	m.Counter("relay_errors_total", "Times that relaying was interrupted by an error.", func() float64 { return float64(relay.errors.Load()) })
	m.Gauge("feed_bytes", "Size of the stream on the disk of one NATS server, as the relay that leads has seen it.", func() float64 { return float64(relay.feed().Bytes) })
	m.Gauge("feed_consumers", "Consumers of the stream: the services' and subscribers'.", func() float64 { return float64(relay.feed().Consumers) })
	m.Gauge("feed_replicas", "Replicas of the stream that are up to date.", func() float64 { return float64(relay.feed().Replicas) })
	m.Gauge("feed_replicas_wanted", "Replicas that the stream is to have.", func() float64 { return float64(relay.replicas) })
	m.Pool(s.pool)
	m.NATS(s.nc)
}

// feed is what the relay that leads knows of the stream; zero of another.
func (r *relay) feed() feed.Figures {
	if status := r.Status(); status.Leader {
		return status.Feed
	}
	return feed.Figures{}
}

// lag is how many events are not published. One that stands by leaves it to the
// leader; one that can't look, since NATS is away, tells from when it last could.
func (r *relay) lag() int64 {
	status := r.Status()
	if !status.Placed || status.StandsBy {
		return 0
	}
	return max(r.log.Stats().Position.Load()-status.Published, 0)
}
