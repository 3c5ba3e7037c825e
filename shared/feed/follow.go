package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/shared/config"
)

const (
	// followBuffer is how much is asked for ahead, in messages and bytes. A
	// message can be 32 MB.
	followBuffer      = 500
	followBufferBytes = 64 << 20
	// followPause is between a failure and the next try.
	followPause = 200 * time.Millisecond
)

// Stop ends [Follow] with the error within, when the function that it calls
// returns it.
type Stop struct{ Err error }

func (s *Stop) Error() string { return s.Err.Error() }
func (s *Stop) Unwrap() error { return s.Err }

// Follow calls apply with the events after a place, in order, without gaps,
// whole change sets only, for as long as ctx lasts. Everything that can happen
// to a connection, a server or the stream is waited out: each position comes
// once. It returns when ctx ends, when apply returns a [*Stop], or when the
// feed is not the log: see [Place.Next] and [Missing].
func Follow(ctx context.Context, js jetstream.JetStream, after Place, logger *slog.Logger, apply func(epoch string, events []config.Event) error) error {
	f := follower{js: js, last: after, apply: apply}
	for {
		err := f.consume(ctx)
		var stop *Stop
		if errors.As(err, &stop) {
			return stop.Err
		}
		if gap := (*gapError)(nil); errors.As(err, &gap) {
			err = errors.Join(err, Missing(ctx, js, gap.want))
		}
		if broken(err) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		logger.Warn("following the feed, trying again", "position", f.last.Position, "error", err)
		select {
		case <-time.After(followPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// gapError says that something is between the last message and this one.
type gapError struct{ got, want int64 }

func (e *gapError) Error() string {
	return fmt.Sprintf("position %d came where %d was expected", e.got, e.want)
}

type follower struct {
	js    jetstream.JetStream
	last  Place // applied
	apply func(epoch string, events []config.Event) error
	set   []config.Event // the change set that is not whole yet
	at    Place          // the end of set
}

// consume follows with one ordered consumer until that fails.
func (f *follower) consume(ctx context.Context) error {
	f.set, f.at = nil, f.last
	consumer, err := f.js.OrderedConsumer(ctx, Stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   uint64(f.last.Position + 1),
		// By default it tries for ever, and hears of no context: the end of a
		// program whose stream is gone would never come.
		MaxResetAttempts: 1,
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return ErrNoStream
	}
	if err != nil {
		return fmt.Errorf("ordered consumer: %w", err)
	}
	messages, err := consumer.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(followBuffer, followBufferBytes),
		jetstream.PullHeartbeat(2*time.Second), jetstream.PullExpiry(10*time.Second))
	if err != nil {
		return fmt.Errorf("ordered consumer: %w", err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("next message: %w", err)
		}
		event, log, err := Decode(msg.Data())
		if err != nil {
			return err
		}
		event.Trace = msg.Headers().Get(HeaderTrace)
		if err := f.take(event, log); err != nil {
			return err
		}
	}
}

func (f *follower) take(e config.Event, log config.LogID) error {
	switch next := f.at.Position + 1; {
	case e.Position < next:
		return nil // had it
	case e.Position > next:
		return &gapError{got: e.Position, want: next}
	}
	if err := f.at.Next(&e, log); err != nil {
		return err
	}
	f.set = append(f.set, e)
	if e.Position != e.Commit {
		return nil
	}
	if err := f.apply(log.Epoch, f.set); err != nil {
		return err
	}
	f.last, f.set = f.at, nil
	return nil
}
