package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/stats"
	"github.com/config-api/config-api/shared/tracing"
)

const (
	// relayLock is the advisory lock of the one relay that works. It is for
	// economy only: what keeps two relays apart is the expected sequence.
	relayLock = 7_263_001
	// relayPoll is the safety net under the signal of the log: another process
	// may have appended.
	relayPoll = 50 * time.Millisecond
	// relayPause is how long a relay waits after a failure, and how often a
	// standby asks for the lock.
	relayPause = 500 * time.Millisecond
	// haltedPause is how often a halted relay looks whether it was mended.
	haltedPause = 10 * time.Second
	// streamTimeout bounds a look at the stream. A server that is stopped
	// leaves the last request without an answer, and the relay waits for it.
	streamTimeout = 2 * time.Second
	// publishTimeout bounds one batch.
	publishTimeout = 10 * time.Second
)

// relay publishes the log to the feed: event p becomes message p. What to
// publish next is the stream's last sequence plus one, read anew after every
// error; nothing else is remembered.
type relay struct {
	log      *eventlog.Log
	pool     *pgxpool.Pool
	js       jetstream.JetStream
	replicas int
	logger   *slog.Logger
	tracer   *tracing.Tracer
	// Its pauses, which tests shorten: see relayPause and haltedPause.
	pause, haltedPause time.Duration
	again              chan struct{} // a halted relay need not pause any longer

	publishing stats.Histogram // a batch
	errors     atomic.Int64

	mu     sync.Mutex
	status relayStatus
}

type relayStatus struct {
	Leader    bool
	StandsBy  bool         // another leads
	Placed    bool         // Published is known
	Published int64        // the stream's last sequence, as far as known
	Feed      feed.Figures // while it leads, half a second old
	Halted    string       // why nothing is published until a person acts
	Err       error        // of the last try
}

// halted is why nothing can be published until a person acts.
type halted string

func (h halted) Error() string { return "the relay has halted: " + string(h) }

func (r *relay) Status() relayStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

func (r *relay) update(f func(*relayStatus)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.status)
}

// run relays until ctx ends.
func (r *relay) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.lead(ctx)
		r.update(func(s *relayStatus) { s.Leader, s.StandsBy, s.Err = false, err == nil, err })
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			r.errors.Add(1)
		}
		switch {
		case errors.As(err, new(halted)):
			r.logger.Error("relay halted: see \"The log was restored, or the feed was changed\" in docs/operations.md", "error", err)
			select {
			case <-time.After(r.haltedPause):
			case <-r.again:
			case <-ctx.Done():
			}
		case err != nil:
			r.logger.Warn("relay interrupted, trying again", "error", err)
		}
		pause(ctx, r.pause)
	}
}

// retry has a halted relay look at once whether it was mended.
func (r *relay) retry() {
	select {
	case r.again <- struct{}{}:
	default:
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// lead takes the lock on a connection of its own and publishes until something
// fails. When another relay has the lock it returns nil after a look at the feed,
// or why that could not be looked at.
func (r *relay) lead(ctx context.Context) error {
	conn, err := r.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("relay lock: %w", err)
	}
	defer conn.Release()
	leader, err := pg.TryLock(ctx, conn, relayLock)
	if err != nil {
		return err
	}
	if leader {
		defer pg.Unlock(context.WithoutCancel(ctx), conn, relayLock)
	}
	ctx, cancel := feed.WhileConnected(ctx, r.js.Conn())
	defer cancel()
	at, log, err := r.findPlace(ctx)
	if why := halted(""); errors.As(err, &why) {
		if !leader {
			return nil // it is for the leader to say so, or to mend it just now
		}
		r.update(func(s *relayStatus) { s.Halted = string(why) })
	}
	if err != nil {
		return err
	}
	r.update(func(s *relayStatus) {
		*s = relayStatus{Leader: leader, StandsBy: !leader, Placed: true, Published: at.Position}
	})
	if !leader {
		return nil
	}
	r.logger.Info("relay leads", "position", at.Position)
	for checked := time.Now(); ctx.Err() == nil; {
		if time.Since(checked) > r.pause {
			if err := r.check(ctx, conn, at); err != nil {
				return err
			}
			checked = time.Now()
		}
		before := at
		if at, err = r.publish(ctx, &log, at); err != nil {
			return err
		}
		if at == before || r.log.EndsAt(at.Position) {
			r.wait(ctx, at.Position)
		}
	}
	return context.Cause(ctx)
}

// wait returns when there may be more than was published.
func (r *relay) wait(ctx context.Context, published int64) {
	poll := time.After(relayPoll)
	for {
		select {
		case <-r.log.Appended():
			if r.log.EndsAt(published) {
				continue // that is what the signal was for
			}
		case <-poll:
		case <-ctx.Done():
		}
		return
	}
}

// check makes sure, while there is nothing to publish, that the lock is still
// held and that the stream has not lost anything.
func (r *relay) check(ctx context.Context, conn *pgxpool.Conn, at feed.Tail) error {
	if err := conn.Ping(ctx); err != nil {
		return fmt.Errorf("relay lock lost: %w", err)
	}
	tail, figures, err := feed.ReadStream(ctx, r.js)
	if err != nil {
		return err
	}
	r.update(func(s *relayStatus) { s.Feed = figures })
	if tail != at {
		return fmt.Errorf("the feed ends with event %d, and not with event %d that was published: %w", tail.Position, at.Position, feed.ErrWrongSequence)
	}
	return nil
}

// findPlace returns where the stream ends, after making sure that it ends with
// this log's event, and which log that is.
func (r *relay) findPlace(ctx context.Context) (at feed.Tail, log config.LogID, err error) {
	r.log.Forget() // nothing is taken for true that was known before
	if err := feed.EnsureStream(ctx, r.js, r.replicas); err != nil {
		return feed.Tail{}, log, err
	}
	tail, err := feed.ReadTail(ctx, r.js)
	if err != nil {
		return feed.Tail{}, log, err
	}
	head, err := r.log.Head(ctx)
	if err != nil {
		return feed.Tail{}, log, err
	}
	halt := func(format string, args ...any) (feed.Tail, config.LogID, error) {
		return feed.Tail{}, log, halted(fmt.Sprintf(format, args...))
	}
	switch {
	case tail.Position == 0:
		return feed.Tail{}, head.LogID, nil
	case tail.Epoch != head.Epoch:
		return halt("the feed is of another log (epoch %s, the log's is %s)", tail.Epoch, head.Epoch)
	case tail.Position > head.Position:
		return halt("the feed is ahead of the log (%d, the log ends at %d): the log has lost events", tail.Position, head.Position)
	}
	hash, err := r.log.HashAt(ctx, tail.Position)
	if err != nil {
		return feed.Tail{}, log, err
	}
	if hash != tail.Hash {
		return halt("message %d of the feed is not event %d of the log", tail.Position, tail.Position)
	}
	return tail, head.LogID, nil
}

// publish sends the next of what the log has after a position, up to the end of a
// change set, and returns how the stream ends then.
func (r *relay) publish(ctx context.Context, log *config.LogID, at feed.Tail) (feed.Tail, error) {
	events, err := r.log.Next(ctx, at.Position, feed.MaxBatch)
	if err != nil || len(events) == 0 {
		return at, err
	}
	if at.Position == 0 { // an import gives the log another origin
		head, err := r.log.Head(ctx)
		if err != nil {
			return at, err
		}
		*log = head.LogID
	}
	publishing, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	began, spans := time.Now(), r.tracer.Publish(events)
	err = feed.Publish(publishing, r.js, *log, events)
	spans.End(err)
	r.publishing.Since(began)
	if err != nil {
		return at, err
	}
	last := events[len(events)-1]
	at = feed.Tail{Position: last.Position, Epoch: log.Epoch, Hash: last.Hash}
	r.update(func(s *relayStatus) { s.Published = at.Position })
	return at, nil
}
