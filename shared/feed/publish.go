package feed

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/failpoint"
)

// MaxBatch is the most events that one atomic batch can have.
const MaxBatch = 1000

// few messages are sent each for itself: a server with one replica makes files of
// its own for an atomic batch and syncs them, which takes as long as some eight
// messages.
const few = 6

// ErrWrongSequence means that the stream does not end where the batch begins:
// another relay published, or the stream lost something.
var ErrWrongSequence = errors.New("the stream ends elsewhere")

// Publish appends events to the stream with their positions as sequences: many as
// one atomic batch, of few after an error perhaps only the first ones. Readers go by
// whole change sets whatever the batches are. Nothing is tried again here; after any
// error the caller reads where the stream ends.
func Publish(ctx context.Context, js jetstream.JetStream, log config.LogID, events []config.Event) error {
	messages := make([]*nats.Msg, len(events))
	for i := range events {
		var err error
		if messages[i], err = Encode(&events[i], log); err != nil {
			return err
		}
	}
	var err error
	if last := events[0].Position - 1; len(messages) <= few {
		err = publishEach(ctx, js, messages, last)
	} else {
		messages[0].Header.Set(jetstream.ExpectedLastSeqHeader, strconv.FormatInt(last, 10))
		err = publishBatch(ctx, js, messages)
	}
	if isWrongSequence(err) {
		return ErrWrongSequence
	}
	if err != nil {
		return fmt.Errorf("publish %d events from position %d: %w", len(events), events[0].Position, err)
	}
	return nil
}

// publishEach sends messages one after the other, each when the one before is
// stored: what follows a refused one must not be.
func publishEach(ctx context.Context, js jetstream.JetStream, messages []*nats.Msg, last int64) error {
	for i, m := range messages {
		m.Header.Set(jetstream.ExpectedLastSeqHeader, strconv.FormatInt(last+int64(i), 10))
		if _, err := js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0)); err != nil {
			return err
		}
		failpoint.Hit("relay-in-batch")
	}
	return nil
}

// publishBatch sends without an answer to the first message: that of the last
// says it all.
func publishBatch(ctx context.Context, js jetstream.JetStream, messages []*nats.Msg) error {
	batch, err := jetstreamext.NewBatchPublisher(js, jetstreamext.BatchFlowControl{})
	if err != nil {
		return err
	}
	last := len(messages) - 1
	for _, m := range messages[:last] {
		if err := batch.AddMsg(m); err != nil {
			return err
		}
		failpoint.Hit("relay-in-batch")
	}
	_, err = batch.CommitMsg(ctx, messages[last])
	return err
}

// isWrongSequence knows the codes of a single server and of a cluster.
func isWrongSequence(err error) bool {
	var refused jetstream.JetStreamError
	if !errors.As(err, &refused) || refused.APIError() == nil {
		return false
	}
	code := refused.APIError().ErrorCode
	return code == jetstream.JSErrCodeStreamWrongLastSequence || code == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}
