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

// ErrWrongSequence means that the stream does not end where the batch begins:
// another relay published, or the stream lost something.
var ErrWrongSequence = errors.New("the stream ends elsewhere")

// Publish appends events to the stream as one atomic batch: all of them with
// their positions as sequences, or none. Nothing is tried again here; after any
// error the caller reads where the stream ends.
func Publish(ctx context.Context, js jetstream.JetStream, log config.LogID, events []config.Event) error {
	messages := make([]*nats.Msg, len(events))
	for i := range events {
		var err error
		if messages[i], err = Encode(&events[i], log); err != nil {
			return err
		}
	}
	messages[0].Header.Set(jetstream.ExpectedLastSeqHeader, strconv.FormatInt(events[0].Position-1, 10))
	var err error
	if len(messages) == 1 {
		_, err = js.PublishMsg(ctx, messages[0], jetstream.WithRetryAttempts(0))
	} else {
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
