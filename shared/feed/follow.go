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

// Follow calls apply with the events after a position, in order, without gaps,
// whole change sets only, for as long as ctx lasts. Everything that can happen
// to a connection, a server or the stream is waited out: each position comes
// once. It returns when ctx ends or apply returns a [*Stop].
func Follow(ctx context.Context, js jetstream.JetStream, after int64, logger *slog.Logger, apply func(epoch string, events []config.Event) error) error {
	f := follower{js: js, last: after, apply: apply}
	for {
		err := f.consume(ctx)
		var stop *Stop
		if errors.As(err, &stop) {
			return stop.Err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		logger.Warn("following the feed, trying again", "position", f.last, "error", err)
		select {
		case <-time.After(followPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type follower struct {
	js    jetstream.JetStream
	last  int64 // applied
	apply func(epoch string, events []config.Event) error
	set   []config.Event // the change set that is not whole yet
}

// consume follows with one ordered consumer until that fails.
func (f *follower) consume(ctx context.Context) error {
	f.set = nil
	consumer, err := f.js.OrderedConsumer(ctx, Stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   uint64(f.last + 1),
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
		event, epoch, err := Decode(msg.Data())
		if err != nil {
			return err
		}
		if err := f.take(epoch, event); err != nil {
			return err
		}
	}
}

func (f *follower) take(epoch string, e config.Event) error {
	next := f.last + int64(len(f.set)) + 1
	switch {
	case e.Position < next:
		return nil // had it
	case e.Position > next:
		return fmt.Errorf("position %d came where %d was expected", e.Position, next)
	}
	f.set = append(f.set, e)
	if e.Position != e.Commit {
		return nil
	}
	if err := f.apply(epoch, f.set); err != nil {
		return err
	}
	f.last, f.set = e.Position, nil
	return nil
}
