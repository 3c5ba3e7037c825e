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
	// requestFor is how long a request stands. It is renewed when it has ended, and
	// so is one that was lost on its way.
	requestFor = 5 * time.Second
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
// kept by the server; who keeps a checkpoint of his own uses [Durable.Reset]. It is for
// one goroutine at a time.
type Durable struct {
	js       jetstream.JetStream
	name     string
	consumer jetstream.Consumer
	standing jetstream.MessageBatch // the request, if there is one
	cancel   context.CancelFunc     // takes it back
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
// nothing it waits up to wait for the first, and may return none. Its request to the
// server stands until [Durable.Close], or until it is renewed: what comes between two
// fetches is there for the next.
func (d *Durable) Fetch(ctx context.Context, wait time.Duration) ([]Message, error) {
	patience := time.NewTimer(wait)
	defer patience.Stop()
	var messages []Message // grown as they come: most fetches bring few
	for len(messages) < fetchSize {
		if err := d.request(ctx); err != nil {
			return nil, err
		}
		msg, came, open := d.next(ctx, patience.C, messages)
		if !came {
			break
		}
		if !open {
			if err := d.ended(); err != nil {
				return nil, err
			}
			continue
		}
		event, log, err := Decode(msg.Data())
		if err != nil {
			return nil, err
		}
		event.Trace = msg.Headers().Get(HeaderTrace)
		messages = append(messages, Message{Event: event, LogID: log, msg: msg})
	}
	return messages, nil
}

// request asks for messages unless that is done already.
func (d *Durable) request(ctx context.Context) error {
	if d.standing != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestFor)
	standing, err := d.consumer.Fetch(fetchSize, jetstream.FetchContext(ctx))
	if err != nil {
		cancel()
		return fmt.Errorf("fetch: %w", err)
	}
	d.standing, d.cancel = standing, cancel
	return nil
}

// next takes the next message of the request, if one came; behind others it waits only
// for what the server had when it delivered the last of them. Open is false when the
// request has ended instead.
func (d *Durable) next(ctx context.Context, patience <-chan time.Time, before []Message) (msg jetstream.Msg, came, open bool) {
	select {
	case msg, open = <-d.standing.Messages():
		return msg, true, open
	default:
	}
	if n := len(before); n > 0 && before[n-1].Left() == 0 {
		return nil, false, true
	}
	select {
	case msg, open = <-d.standing.Messages():
		return msg, true, open
	case <-patience:
	case <-ctx.Done():
	}
	return nil, false, true
}

// ended forgets a request that has ended, and returns why, unless its time was over.
func (d *Durable) ended() error {
	err := d.standing.Error()
	d.cancel()
	d.standing = nil
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("fetch: %w", err)
	}
	return nil
}

// Close takes the request back and drops what it has brought that was not fetched: it
// would be missing for whoever fetches next. A fetch makes a new one.
func (d *Durable) Close() {
	if d.standing == nil {
		return
	}
	d.cancel()
	for range d.standing.Messages() { // until it has ended
	}
	d.standing = nil
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
	d.Close()
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
