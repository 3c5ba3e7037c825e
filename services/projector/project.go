package projector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/failpoint"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/tracing"
)

const (
	// applyEvery is the least time from one transaction's end to the next fetch: what
	// comes meanwhile shares one. An event that comes alone waits for nothing. (Writes
	// of one client, one after the other, cost Postgres 2 ms of processor time each
	// without it, and 1.2 with it.)
	applyEvery = 10 * time.Millisecond
	// fetchWait is how long a fetch waits for news, and so how often the
	// position is announced when there are none.
	fetchWait = time.Second
	// silence is how long the feed may be ahead of the checkpoint without
	// anything being delivered before the consumer is reset.
	silence = 2 * time.Second
)

// consumerOf is the durable consumer of a generation: while one is live the other
// is idle, or rebuilds.
func consumerOf(generation int64) string {
	if generation%2 == 1 {
		return "projector-a"
	}
	return "projector-b"
}

// projector applies the feed to the read tables. The checkpoint in the tables
// says where it is; the consumer is only a way to get at what comes next, and
// is reset whenever it brings something else.
type projector struct {
	store  *readmodel.Store
	js     jetstream.JetStream
	nc     *nats.Conn
	logger *slog.Logger
	tracer *tracing.Tracer
	flips  chan struct{} // another generation is read now
	figures

	mu     sync.Mutex
	status status
}

type status struct {
	Leading bool
	// Halted is why nothing is applied until a person acts. It stays while
	// that is tried again, until it works.
	Halted string
}

func (p *projector) Status() status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

func (p *projector) update(change func(*status)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.status)
}

// run projects until ctx ends or something fails; it is then called again.
func (p *projector) run(ctx context.Context) error {
	p.update(func(s *status) { s.Leading = true })
	err := p.projectUntilFlip(ctx)
	for errors.Is(err, errFlipped) { // no pause: readers wait
		err = p.projectUntilFlip(ctx)
	}
	p.update(func(s *status) {
		s.Leading = false
		if halted := new(haltedError); errors.As(err, &halted) {
			s.Halted = halted.why
		}
	})
	return err
}

// standBy is called while another projects: how far behind that is, it tells itself,
// and when it gets on, what has halted here is mended.
func (p *projector) standBy(ctx context.Context) error {
	checkpoint, err := p.store.Checkpoint(ctx)
	if err != nil || p.Status().Halted != "" && p.isAt(checkpoint) {
		return err
	}
	p.at(checkpoint)
	p.feedEnds(checkpoint.Position)
	p.update(func(s *status) { s.Halted = "" })
	return nil
}

// flip has it look at once which generation is read.
func (p *projector) flip() {
	select {
	case p.flips <- struct{}{}:
	default:
	}
}

func (p *projector) projectUntilFlip(ctx context.Context) error {
	projecting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-p.flips:
			cancel(errFlipped)
		case <-projecting.Done():
		}
	}()
	err := p.project(projecting)
	if errors.Is(context.Cause(projecting), errFlipped) {
		return errFlipped
	}
	return err
}

// errFlipped means that another generation is read now.
var errFlipped = errors.New("another generation is read now")

func (p *projector) project(ctx context.Context) error {
	checkpoint, err := p.store.Checkpoint(ctx)
	if err != nil {
		return err
	}
	p.at(checkpoint)
	consumer, err := p.open(ctx, checkpoint)
	if err != nil {
		return err
	}
	defer consumer.Close()
	if checkpoint.Revision > 0 {
		p.tellParked(ctx, checkpoint.Position)
	}
	p.logger.Info("projecting", "position", checkpoint.Position, "generation", checkpoint.Generation)
	p.announce(checkpoint)
	held := held{at: placeOf(checkpoint)}
	heard, looked := time.Now(), time.Now()
	var applied time.Time
	for ctx.Err() == nil {
		pause(ctx, applyEvery-time.Since(applied))
		messages, err := consumer.Fetch(ctx, fetchWait)
		if err != nil {
			return err
		}
		p.arrived(messages)
		switch fits, err := held.take(messages); {
		case err != nil:
			return err
		case !fits:
			if err := missing(ctx, p.js, held.at.Position+1); err != nil {
				return err
			}
			p.logger.Warn("the consumer is elsewhere, resetting it", "expected", held.at.Position+1, "got", messages[0].Position)
			p.resets.Add(1)
			if err := consumer.Reset(ctx, checkpoint.Position+1); err != nil {
				return err
			}
			held.reset(checkpoint)
			continue
		}
		if events := held.whole(); events != nil {
			if checkpoint, err = p.apply(ctx, checkpoint, held.at.Epoch, events); err != nil {
				return errors.Join(err, p.flipped(ctx, checkpoint))
			}
			failpoint.Hit("apply-after-commit")
			_ = held.last.Ack() // a hint: the checkpoint is what counts
			applied = time.Now()
		}
		p.update(func(s *status) { s.Halted = "" })
		p.announce(checkpoint)
		// Without new events nothing else tells that another generation is read now.
		if time.Since(looked) > fetchWait/2 {
			looked = time.Now()
			if err := p.flipped(ctx, checkpoint); err != nil {
				return err
			}
		}
		if len(messages) > 0 {
			heard = time.Now()
			continue
		}
		if time.Since(heard) > silence {
			heard = time.Now()
			if err := p.wake(ctx, consumer, checkpoint, &held); err != nil {
				return err
			}
		}
	}
	return nil
}

// flipped returns [errFlipped] if another generation is read than that of the
// checkpoint, or parked names of it came back.
func (p *projector) flipped(ctx context.Context, checkpoint readmodel.Checkpoint) error {
	active, err := p.store.Checkpoint(ctx)
	if err == nil && (active.Generation != checkpoint.Generation || active.Revision != checkpoint.Revision) {
		return errFlipped
	}
	return err
}

// open returns the consumer, reset to what comes after the checkpoint.
func (p *projector) open(ctx context.Context, checkpoint readmodel.Checkpoint) (*feed.Durable, error) {
	if err := p.belongs(ctx, checkpoint); err != nil {
		return nil, err
	}
	consumer, err := feed.OpenDurable(ctx, p.js, consumerOf(checkpoint.Generation))
	if err != nil {
		return nil, err
	}
	err = consumer.Reset(ctx, checkpoint.Position+1)
	return consumer, err
}

// belongs makes sure that the feed is of the log that the checkpoint is of.
func (p *projector) belongs(ctx context.Context, checkpoint readmodel.Checkpoint) error {
	tail, err := feed.ReadTail(ctx, p.js)
	if err == nil {
		p.feedEnds(tail.Position)
	}
	if err != nil || tail.Position == 0 || checkpoint.Position == 0 || tail.Epoch == checkpoint.Epoch {
		return err
	}
	return &haltedError{fmt.Sprintf("the feed is of another log (epoch %s) than the read tables (%s)", tail.Epoch, checkpoint.Epoch)}
}

// wake looks why nothing comes. If the feed has more, the consumer is reset: a
// person may have moved or deleted it.
func (p *projector) wake(ctx context.Context, consumer *feed.Durable, checkpoint readmodel.Checkpoint, held *held) error {
	last, err := feed.LastPosition(ctx, p.js)
	if err != nil || last <= checkpoint.Position {
		return err
	}
	p.feedEnds(last)
	p.resets.Add(1)
	p.logger.Warn("the feed is ahead and nothing comes, resetting the consumer", "position", checkpoint.Position, "feed_position", last)
	held.reset(checkpoint)
	return consumer.Reset(ctx, checkpoint.Position+1)
}

func (p *projector) apply(ctx context.Context, from readmodel.Checkpoint, epoch string, events []config.Event) (readmodel.Checkpoint, error) {
	began, spans := time.Now(), p.tracer.Handle("project", events)
	to, err := p.store.Apply(ctx, from, epoch, events)
	spans.End(err)
	p.applying.Since(began)
	if err == nil {
		p.batch.Observe(len(events))
		p.at(to)
	}
	var unknown *config.UnknownEventError
	if errors.As(err, &unknown) {
		return from, &haltedError{fmt.Sprintf("after position %d: %v", from.Position, err)}
	}
	if err == nil && to.Revision != from.Revision {
		p.tellParked(ctx, from.Position)
	}
	return to, err
}

// tellParked counts the names that are parked, and logs those that were after a
// position.
func (p *projector) tellParked(ctx context.Context, after int64) {
	parked, err := p.store.Parked(ctx)
	if err != nil {
		p.logger.Warn("parked names can't be read", "error", err)
	}
	p.parked.Store(int64(len(parked)))
	for _, n := range parked {
		if n.Position > after {
			p.logger.Error("name parked: see \"A name is parked\" in docs/operations.md",
				"namespace", n.Namespace, "config_name", n.Name, "position", n.Position, "reason", n.Reason)
		}
	}
}

func (p *projector) announce(checkpoint readmodel.Checkpoint) {
	// Who misses it hears the next one within a second.
	_ = feed.Announce(p.nc, feed.AppliedSubject, feed.Applied{
		Epoch: checkpoint.Epoch, Position: checkpoint.Position, Generation: checkpoint.Generation, Revision: checkpoint.Revision,
	})
}

// held are events that were delivered and are not applied: at least those of a
// change set that is not whole yet.
type held struct {
	at     feed.Place // the end of the events, or of what was applied
	events []config.Event
	last   *feed.Message // that came, to be acknowledged
}

func (h *held) reset(checkpoint readmodel.Checkpoint) {
	h.at, h.events = placeOf(checkpoint), nil
}

// missing is why a position does not come: a halt if the stream has lost it.
func missing(ctx context.Context, js jetstream.JetStream, position int64) error {
	err := feed.Missing(ctx, js, position)
	if lost := (*feed.MissingError)(nil); errors.As(err, &lost) {
		return &haltedError{lost.Error()}
	}
	return err
}

func placeOf(c readmodel.Checkpoint) feed.Place { return feed.Place{Token: c.Token(), Hash: c.Hash} }

// take adds messages, dropping those that it had, and reports whether they
// follow: false means that the consumer must be reset.
func (h *held) take(messages []feed.Message) (bool, error) {
	for i := range messages {
		m := &messages[i]
		switch next := h.at.Position + 1; {
		case m.Position < next:
			continue
		case m.Position > next:
			return false, nil
		}
		if err := h.at.Next(&m.Event, m.LogID); err != nil {
			return false, &haltedError{err.Error()}
		}
		h.events, h.last = append(h.events, m.Event), m
	}
	return true, nil
}

// whole takes out what ends with a whole change set; nil if there is no whole one
// yet.
func (h *held) whole() []config.Event { return h.wholeUpTo(math.MaxInt64) }

// wholeUpTo is whole of what is not after a position.
func (h *held) wholeUpTo(position int64) []config.Event {
	for n := len(h.events); n > 0; n-- {
		if last := &h.events[n-1]; last.Position == last.Commit && last.Position <= position {
			events := h.events[:n:n]
			h.events = h.events[n:]
			return events
		}
	}
	return nil
}
