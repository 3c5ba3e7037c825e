package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/shared/config"
)

const (
	// fetchSize is the most messages of one fetch.
	fetchSize = 1000
	// ackWait is after how long the server delivers again what was not
	// acknowledged.
	ackWait = 30 * time.Second
	// resetTimeout bounds one try at a reset: the server sometimes never
	// answers.
	resetTimeout = 2 * time.Second
)

// Message is an event of the feed as a durable consumer receives it.
type Message struct {
	config.Event
	config.LogID
	msg jetstream.Msg
}

// Durable is a durable pull consumer of all events. Its place in the stream is
// kept by the server; who keeps a checkpoint of his own uses [Durable.Reset].
type Durable struct {
	js       jetstream.JetStream
	name     string
	consumer jetstream.Consumer
}

// OpenDurable creates the consumer if it is missing. The error is [ErrNoStream]
// when there is no stream.
func OpenDurable(ctx context.Context, js jetstream.JetStream, name string) (*Durable, error) {
	consumer, err := js.CreateOrUpdateConsumer(ctx, Stream, jetstream.ConsumerConfig{
		Durable:       name,
		DeliverPolicy: jetstream.DeliverAllPolicy, // one made with another can't be reset
		AckPolicy:     jetstream.AckAllPolicy,
		AckWait:       ackWait,
		MaxDeliver:    -1,
		MaxAckPending: 4 * fetchSize, // a change set can be spread over two fetches
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, ErrNoStream
	}
	if err != nil {
		return nil, fmt.Errorf("consumer %s: %w", name, err)
	}
	return &Durable{js: js, name: name, consumer: consumer}, nil
}

// Fetch returns what is there, up to 1000 messages in order; if there is
// nothing it waits up to wait for the first, and may return none.
func (d *Durable) Fetch(ctx context.Context, wait time.Duration) ([]Message, error) {
	messages, err := collect(d.consumer.FetchNoWait(fetchSize))
	if err != nil || len(messages) > 0 || wait <= 0 {
		return messages, err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	messages, err = collect(d.consumer.Fetch(1, jetstream.FetchContext(ctx)))
	if err != nil || len(messages) == 0 {
		return messages, err
	}
	more, err := collect(d.consumer.FetchNoWait(fetchSize - 1))
	return append(messages, more...), err
}

func collect(batch jetstream.MessageBatch, err error) ([]Message, error) {
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	var messages []Message // grown as they come: most fetches bring few
	for msg := range batch.Messages() {
		event, log, err := Decode(msg.Data())
		if err != nil {
			return nil, err
		}
		event.Trace = msg.Headers().Get(HeaderTrace)
		messages = append(messages, Message{Event: event, LogID: log, msg: msg})
	}
	err = batch.Error()
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) && !errors.Is(err, jetstream.ErrNoMessages) {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	return messages, nil
}

// Ack acknowledges the message and all before it. It is a hint, for the
// server's own figures and for how much it delivers again.
func (m *Message) Ack() error { return m.msg.Ack() }

// Left returns how many messages of the feed come after this one, as far as was
// known when it was delivered.
func (m *Message) Left() int64 {
	about, err := m.msg.Metadata()
	if err != nil { // it was not delivered by a consumer
		return 0
	}
	return int64(about.NumPending)
}

// AckSync is Ack with the server's confirmation.
func (m *Message) AckSync(ctx context.Context) error { return m.msg.DoubleAck(ctx) }

// ErrBeyondEnd means that a consumer can't be reset to a position because the
// stream ends before it. The server would accept it in silence.
var ErrBeyondEnd = errors.New("the stream ends before that position")

// Reset makes the consumer deliver from a position on. It may be repeated, and
// nothing may be fetched meanwhile: acknowledgements of what was delivered
// before would still count.
func (d *Durable) Reset(ctx context.Context, position int64) error {
	last, err := LastPosition(ctx, d.js)
	if err != nil {
		return err
	}
	if position > last+1 {
		return ErrBeyondEnd
	}
	// The reset of a consumer that does not exist is never answered.
	fresh, err := OpenDurable(ctx, d.js, d.name)
	if err != nil {
		return err
	}
	d.consumer = fresh.consumer
	ctx, cancel := context.WithTimeout(ctx, resetTimeout)
	defer cancel()
	if _, err := d.js.ResetConsumerToSequence(ctx, Stream, d.name, uint64(max(position, 1))); err != nil {
		return fmt.Errorf("reset consumer %s to %d: %w", d.name, position, err)
	}
	return nil
}

// Delivered returns the sequence up to which the consumer has delivered, and
// how many messages are left. The error is [jetstream.ErrConsumerNotFound] when
// someone deleted it.
func (d *Durable) Delivered(ctx context.Context) (delivered, pending int64, err error) {
	info, err := d.consumer.Info(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("consumer %s: %w", d.name, err)
	}
	return int64(info.Delivered.Stream), int64(info.NumPending), nil
}
