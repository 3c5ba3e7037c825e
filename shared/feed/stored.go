package feed

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// storedBytes is about the most that one [ReadStored] returns.
const storedBytes = 8 << 20

// Stored is a message as the stream has it.
type Stored struct {
	Sequence int64
	Subject  string
	Header   nats.Header
	Body     []byte
}

// ReadStored returns up to limit messages after a position, at least one if there
// is one and about 8 MiB at most, and where the stream ends. Nothing is decoded
// or checked: it is for those who want to know what is really there.
func ReadStored(ctx context.Context, js jetstream.JetStream, after int64, limit int) (messages []Stored, last int64, err error) {
	if last, err = LastPosition(ctx, js); err != nil || after >= last {
		return nil, last, err
	}
	batch, err := jetstreamext.GetBatch(ctx, js, Stream, limit, jetstreamext.GetBatchSeq(uint64(after+1)), jetstreamext.GetBatchMaxBytes(storedBytes))
	if err != nil {
		return nil, last, wrap("read the stream", err)
	}
	for msg, err := range batch {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			break
		}
		if err != nil {
			return nil, last, wrap("read the stream", err)
		}
		messages = append(messages, Stored{int64(msg.Sequence), msg.Subject, msg.Header, msg.Data})
	}
	return messages, last, nil
}

// Discard deletes the stream with all that is in it. The relay makes it anew from
// the log; durable consumers of subscribers are gone with it.
func Discard(ctx context.Context, js jetstream.JetStream) error {
	err := js.DeleteStream(ctx, Stream)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete the stream: %w", err)
	}
	return nil
}
