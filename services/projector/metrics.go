package projector

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/stats"
)

// Metrics returns the service's metrics.
func (s *Service) Metrics() *service.Metrics { return s.metrics }

// measure describes what the service counts: docs/operations.md says what to make
// of it.
func (s *Service) measure() {
	m, p, b := service.NewMetrics("projector"), s.projector, s.rebuilder
	s.metrics = m
	m.Gauge("projection_leader", "1 while this process projects.", func() float64 { return stats.Flag(p.Status().Leading) })
	m.Gauge("projection_halted", "1 while nothing is applied until a person acts.", func() float64 { return stats.Flag(p.Status().Halted != "") })
	m.Gauge("projection_position", "Position of the last event that is applied.", func() float64 { return float64(p.progress(time.Now()).position) })
	m.Gauge("feed_position", "Position of the last event in the feed, as far as the projector has heard.", func() float64 { return float64(p.progress(time.Now()).feed) })
	m.Gauge("projection_lag_events", "Events of the feed that are not applied.", func() float64 { return float64(p.progress(time.Now()).lag) })
	m.Gauge("projection_lag_seconds", "At most how long ago the oldest event was recorded that is not applied; 0 when all are.", func() float64 { return p.progress(time.Now()).behind.Seconds() })
	m.Gauge("projection_parked_names", "Names with an event that can't be applied.", func() float64 { return float64(p.parked.Load()) })
	m.Duration("projection_apply", "How long it took to apply a batch of events.", &p.applying)
	m.Sizes("projection_batch_events", "Events that were applied at once.", &p.batch)
	m.Counter("projection_consumer_resets_total", "Times that the durable consumer was elsewhere than the checkpoint and was reset.", func() float64 { return float64(p.resets.Load()) })

	rebuild := func(read func(readmodel.Rebuild) float64) func() float64 {
		return func() float64 {
			if r := b.last.Load(); r != nil {
				return read(*r)
			}
			return 0
		}
	}
	m.Gauge("rebuild_running", "1 while the read tables are made anew.", rebuild(func(r readmodel.Rebuild) float64 { return stats.Flag(r.Going()) }))
	m.Gauge("rebuild_done_events", "Events that the rebuild has applied.", rebuild(func(r readmodel.Rebuild) float64 { return float64(r.Done) }))
	m.Gauge("rebuild_wanted_events", "Events that the rebuild has to apply.", rebuild(func(r readmodel.Rebuild) float64 { return float64(r.Total) }))
	m.Gauge("rebuild_last_duration_seconds", "How long the last rebuild took that came to be read.", func() float64 { return time.Duration(b.took.Load()).Seconds() })
	m.Pool(s.pool)
	m.NATS(s.nc)
}

// figures say how far the projection is and what it took.
type figures struct {
	applying stats.Histogram
	batch    stats.Sizes
	resets   atomic.Int64
	parked   atomic.Int64 // names, as the leader knows them

	figuring   sync.Mutex
	checkpoint readmodel.Checkpoint
	feed       int64     // the feed's end
	oldest     time.Time // of what has come and is not applied, if that is known
}

// at says where the checkpoint is.
func (f *figures) at(checkpoint readmodel.Checkpoint) {
	f.figuring.Lock()
	defer f.figuring.Unlock()
	f.checkpoint, f.oldest = checkpoint, time.Time{}
}

// isAt reports whether the checkpoint is where it was.
func (f *figures) isAt(checkpoint readmodel.Checkpoint) bool {
	f.figuring.Lock()
	defer f.figuring.Unlock()
	return f.checkpoint.Generation == checkpoint.Generation && f.checkpoint.Token() == checkpoint.Token()
}

// feedEnds says where the feed does.
func (f *figures) feedEnds(position int64) {
	f.figuring.Lock()
	defer f.figuring.Unlock()
	f.feed = position
}

// arrived says what was delivered.
func (f *figures) arrived(messages []feed.Message) {
	if len(messages) == 0 {
		return
	}
	first, last := &messages[0], &messages[len(messages)-1]
	f.figuring.Lock()
	defer f.figuring.Unlock()
	f.feed = max(f.feed, last.Position+last.Left())
	if f.oldest.IsZero() && first.Position == f.checkpoint.Position+1 {
		f.oldest = first.RecordedAt
	}
}

// progress is how far the projection is.
type progress struct {
	position, feed, lag int64
	behind              time.Duration
}

func (f *figures) progress(now time.Time) progress {
	f.figuring.Lock()
	defer f.figuring.Unlock()
	position := f.checkpoint.Position
	p := progress{position: position, feed: max(f.feed, position)}
	if p.lag = p.feed - p.position; p.lag == 0 {
		return p
	}
	since := f.oldest
	if since.IsZero() { // it was recorded later than the last one that is applied
		since = f.checkpoint.RecordedAt
	}
	if !since.IsZero() {
		p.behind = max(now.Sub(since), 0)
	}
	return p
}

// progress notes how far the rebuild is.
func (b *rebuilder) progress(ctx context.Context, r readmodel.Rebuild, done, total int64) error {
	r.Done, r.Total = done, total
	b.note(r)
	return b.store.RebuildProgress(ctx, done, total)
}

// note keeps how far the rebuild is that goes on, or was last.
func (b *rebuilder) note(r readmodel.Rebuild) {
	b.last.Store(&r)
	if r.State == readmodel.RebuildDone && r.FinishedAt != nil {
		b.took.Store(int64(r.FinishedAt.Sub(r.StartedAt)))
	}
}
