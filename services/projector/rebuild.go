package projector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/failpoint"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/readmodel"
)

const (
	// rebuildPoll is how often it is looked whether a rebuild is asked for: one
	// asked of another process is not heard of otherwise.
	rebuildPoll = time.Second
	// rebuildBatch is about how many events are copied at a time.
	rebuildBatch = 10_000
	// progressEvery is how often the progress is noted.
	progressEvery = 500 * time.Millisecond
	// nearby is how far the new generation may be behind when the live
	// projection is stopped for the flip.
	nearby = 2000
	// headTimeout bounds the question where the log ends.
	headTimeout = 2 * time.Second
)

// rebuilder makes a new generation of the read tables while the live projection
// goes on, with the idle durable consumer, reset to the beginning.
type rebuilder struct {
	store   *readmodel.Store
	js      jetstream.JetStream
	nc      *nats.Conn
	logger  *slog.Logger
	flipped func()        // is called when another generation is read
	asked   chan struct{} // a rebuild was asked for here
	last    atomic.Pointer[readmodel.Rebuild]
	took    atomic.Int64 // the last one that was read, as a time.Duration
}

func newRebuilder(store *readmodel.Store, js jetstream.JetStream, nc *nats.Conn, logger *slog.Logger, flipped func()) *rebuilder {
	return &rebuilder{store: store, js: js, nc: nc, logger: logger, flipped: flipped, asked: make(chan struct{}, 1)}
}

// ask has it look at once.
func (b *rebuilder) ask() {
	select {
	case b.asked <- struct{}{}:
	default:
	}
}

// run does what is asked for until ctx ends or something fails; it is then called
// again, and what had begun is begun anew.
func (b *rebuilder) run(ctx context.Context) error {
	for ctx.Err() == nil {
		r, err := b.store.Rebuild(ctx)
		if err != nil {
			return err
		}
		b.note(r)
		if r.Going() {
			if err := b.do(ctx, r); err != nil {
				return err
			}
		}
		select {
		case <-time.After(rebuildPoll):
		case <-b.asked:
		case <-ctx.Done():
		}
	}
	return nil
}

// do does one rebuild. An error is one that passes; what does not ends it.
func (b *rebuilder) do(ctx context.Context, r readmodel.Rebuild) error {
	began := time.Now()
	b.logger.Info("rebuilding", "generation", r.Generation, "fresh", r.Fresh)
	err := b.rebuild(ctx, r)
	var unknown *config.UnknownEventError
	var differ *readmodel.DifferError
	var halted *haltedError
	switch {
	case err == nil:
		failpoint.Hit("flip-after-commit")
		b.flipped()
		b.logger.Info("rebuilt", "generation", r.Generation, "took", time.Since(began))
		return nil
	case errors.Is(err, readmodel.ErrCancelled):
		b.logger.Info("rebuild cancelled", "generation", r.Generation)
		return b.store.EndRebuild(ctx, r, readmodel.RebuildCancelled, "")
	case errors.As(err, &unknown), errors.As(err, &differ), errors.As(err, &halted):
		b.logger.Error("rebuild failed: what was read before still is", "generation", r.Generation, "error", err)
		return b.store.EndRebuild(ctx, r, readmodel.RebuildFailed, err.Error())
	default:
		return fmt.Errorf("rebuild: %w", err)
	}
}

func (b *rebuilder) rebuild(ctx context.Context, r readmodel.Rebuild) error {
	consumer, err := feed.OpenDurable(ctx, b.js, consumerOf(r.Generation))
	if err != nil {
		return err
	}
	defer consumer.Close()
	active, err := b.store.Checkpoint(ctx)
	if err != nil {
		return err
	}
	log, other, err := b.otherLog(ctx, active)
	if err != nil {
		return err
	}
	if other {
		return b.takeOver(ctx, r, consumer, log)
	}
	var at readmodel.Checkpoint
	if r.Fresh {
		at, err = b.build(ctx, r, consumer, active.Position)
	} else {
		at, err = b.store.CheckpointOf(ctx, r.Generation)
	}
	if err != nil {
		return err
	}
	in := &intake{js: b.js, consumer: consumer}
	if err := in.reset(ctx, placeOf(at)); err != nil {
		return err
	}
	for compared := false; ; { // until it is near the live projection
		active, err := b.store.Checkpoint(ctx)
		if err != nil {
			return err
		}
		if err := b.progress(ctx, r, at.Position, active.Position); err != nil {
			return err
		}
		switch {
		case active.Position-at.Position > nearby:
			at, err = b.step(ctx, in, at, active.Position)
		case !compared: // which takes a while: it may not be near after it
			err = b.store.CompareHistory(ctx, active.Generation, at.Generation, at.Position)
			compared = true
		default:
			return b.flip(ctx, r, in, at)
		}
		if err != nil {
			return err
		}
	}
}

func (b *rebuilder) flip(ctx context.Context, r readmodel.Rebuild, in *intake, at readmodel.Checkpoint) error {
	return b.store.Flip(ctx, r, func(active readmodel.Checkpoint) (readmodel.Checkpoint, error) {
		var err error
		for err == nil && at.Position < active.Position {
			at, err = b.step(ctx, in, at, active.Position)
		}
		return at, err
	})
}

// otherLog reports whether the log is another one than what is read, because it
// was recovered, and returns where it ends.
func (b *rebuilder) otherLog(ctx context.Context, active readmodel.Checkpoint) (feed.Head, bool, error) {
	tail, err := feed.ReadTail(ctx, b.js)
	if err != nil || active.Position == 0 || tail.Epoch == active.Epoch {
		return feed.Head{}, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, headTimeout)
	defer cancel()
	head, err := feed.RequestHead(ctx, b.nc)
	return head, err == nil && head.Epoch != active.Epoch, err
}

// takeOver makes the tables those of another log.
func (b *rebuilder) takeOver(ctx context.Context, r readmodel.Rebuild, consumer *feed.Durable, log feed.Head) error {
	if !r.Fresh {
		return &haltedError{fmt.Sprintf("generation %d is of another log than there is now: rebuild without naming a generation", r.Generation)}
	}
	at, err := b.build(ctx, r, consumer, log.Position)
	if err != nil {
		return err
	}
	return b.store.FlipTo(ctx, r, at, log.Epoch)
}

// build fills a new generation in bulk, up to a position at which a change set
// ends.
func (b *rebuilder) build(ctx context.Context, r readmodel.Rebuild, consumer *feed.Durable, to int64) (readmodel.Checkpoint, error) {
	builder, err := b.store.Build(ctx, r.Generation)
	if err != nil {
		return readmodel.Checkpoint{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	// What comes next is fetched and decoded while this is copied.
	batches := make(chan batch, 1)
	fetched := make(chan error, 1)
	go func() {
		in := &intake{js: b.js, consumer: consumer}
		err := in.reset(ctx, feed.Place{})
		for err == nil && in.given.Position < to {
			var next batch
			if next, err = in.next(ctx, to); err == nil && len(next.events) > 0 {
				select {
				case batches <- next:
				case <-ctx.Done():
					err = ctx.Err()
				}
			}
		}
		close(batches)
		fetched <- err
	}()
	defer func() {
		cancel()
		for range batches { // until nothing is fetched any more
		}
	}()
	progress := time.NewTicker(progressEvery)
	defer progress.Stop()
	for going := true; going; {
		select {
		case next, more := <-batches:
			if going = more; !more {
				break
			}
			if err := builder.Add(ctx, next.epoch, next.events); err != nil {
				return builder.At(), err
			}
		case <-progress.C:
			if err := b.progress(ctx, r, builder.At().Position, to); err != nil {
				return builder.At(), err
			}
		}
	}
	if err := <-fetched; err != nil {
		return builder.At(), err
	}
	if err := b.progress(ctx, r, builder.At().Position, to); err != nil {
		return builder.At(), err
	}
	return builder.Finish(ctx)
}

// step applies a batch of what comes after a checkpoint, up to a position at which
// a change set ends.
func (b *rebuilder) step(ctx context.Context, in *intake, at readmodel.Checkpoint, to int64) (readmodel.Checkpoint, error) {
	next, err := in.next(ctx, to)
	if err != nil || len(next.events) == 0 {
		return at, err
	}
	return b.store.ApplyIdle(ctx, at, next.epoch, next.events)
}

// batch are whole change sets.
type batch struct {
	epoch  string
	events []config.Event
}

// intake reads change sets from a durable consumer that somebody may reset at any
// moment.
type intake struct {
	js       jetstream.JetStream
	consumer *feed.Durable
	held     held
	given    feed.Place // up to which it has handed on
}

func (in *intake) reset(ctx context.Context, to feed.Place) error {
	in.given = to
	in.held = held{at: to}
	return in.consumer.Reset(ctx, to.Position+1)
}

// next returns whole change sets up to a position, about rebuildBatch events at
// most; none when nothing has come for a while.
func (in *intake) next(ctx context.Context, to int64) (batch, error) {
	in.held.events = slices.Grow(in.held.events, rebuildBatch)
	for len(in.held.events) < rebuildBatch && in.held.at.Position < to {
		messages, err := in.consumer.Fetch(ctx, fetchWait)
		if err != nil {
			return batch{}, err
		}
		if len(messages) == 0 {
			break
		}
		fits, err := in.held.take(messages)
		if err != nil && in.held.at.Position >= to {
			break // what can't be taken comes after what is asked for
		}
		if err != nil {
			return batch{}, err
		}
		if !fits {
			if err := missing(ctx, in.js, in.held.at.Position+1); err != nil {
				return batch{}, err
			}
			if err := in.reset(ctx, in.given); err != nil {
				return batch{}, err
			}
			continue
		}
		last := messages[len(messages)-1]
		_ = last.Ack() // else the server stops; the checkpoint is what counts
	}
	if err := ctx.Err(); err != nil {
		return batch{}, err
	}
	epoch := in.held.at.Epoch
	events := in.held.wholeUpTo(to)
	if len(events) == 0 {
		// Nothing came although there is more: somebody may have moved it.
		return batch{}, in.reset(ctx, in.given)
	}
	last := &events[len(events)-1]
	in.given = feed.Place{Token: config.Token{Epoch: epoch, Position: last.Position}, Hash: last.Hash}
	return batch{epoch, events}, nil
}
