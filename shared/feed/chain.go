package feed

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/shared/config"
)

// Place is how far a reader of the feed is: the token and the hash of the last
// event that it has, or zeros before the first.
type Place struct {
	config.Token
	Hash config.Hash
}

// PlaceAt returns the place of a reader that has kept only the token. The hash is
// what the message itself says.
func PlaceAt(ctx context.Context, js jetstream.JetStream, t config.Token) (Place, error) {
	if t.Position == 0 {
		return Place{Token: t}, nil
	}
	stream, err := js.Stream(ctx, Stream)
	if err != nil {
		return Place{}, wrap("look at the stream", err)
	}
	msg, err := stream.GetMsg(ctx, uint64(t.Position))
	if err != nil {
		return Place{}, wrap(fmt.Sprintf("read message %d", t.Position), err)
	}
	event, _, err := Decode(msg.Data)
	return Place{Token: t, Hash: event.Hash}, err
}

// OtherLogError says that an event is of another log than those before it.
type OtherLogError struct{ At config.Token }

func (e *OtherLogError) Error() string {
	return fmt.Sprintf("the feed went over to another log (epoch %s) at position %d", e.At.Epoch, e.At.Position)
}

// TamperedError says that a message of the feed is not the event that was
// appended: its hash does not follow from its content and the event before it.
type TamperedError struct{ Position int64 }

func (e *TamperedError) Error() string {
	return fmt.Sprintf("message %d of the feed does not have the hash that its content and the event before it give: it, or the log, was changed", e.Position)
}

// MissingError says that the stream has no message at a position, and has later
// ones.
type MissingError struct{ Position int64 }

func (e *MissingError) Error() string {
	return fmt.Sprintf("message %d of the feed is missing: the stream has lost it", e.Position)
}

// Missing returns a [*MissingError] if the stream does not have a message that a
// reader waits for while later ones come, and nil if it does.
func Missing(ctx context.Context, js jetstream.JetStream, position int64) error {
	last, err := LastPosition(ctx, js)
	if err != nil || last <= position {
		return err
	}
	// Looked for after the end: a stream that is made anew meanwhile, in order,
	// has it once it is longer than that.
	stream, err := js.Stream(ctx, Stream)
	if err != nil {
		return wrap("look at the stream", err)
	}
	_, err = stream.GetMsg(ctx, uint64(position))
	if !errors.Is(err, jetstream.ErrMsgNotFound) {
		return wrap(fmt.Sprintf("read message %d", position), err)
	}
	if again, err := LastPosition(ctx, js); err != nil || again < last {
		return err // it is made anew
	}
	return &MissingError{position}
}

// broken reports whether an error says that the feed is not the log: no reader can
// go on then.
func broken(err error) bool {
	var other *OtherLogError
	var tampered *TamperedError
	var missing *MissingError
	return errors.As(err, &other) || errors.As(err, &tampered) || errors.As(err, &missing)
}

// Next moves the place on to the event whose position comes next. The error is
// an [*OtherLogError] or a [*TamperedError]: a reader can't go on then.
func (p *Place) Next(e *config.Event, log config.LogID) error {
	at := config.Token{Epoch: log.Epoch, Position: e.Position}
	if p.OfOtherLog(at) {
		return &OtherLogError{at}
	}
	if e.ChainHash(p.Hash, log.Origin) != e.Hash {
		return &TamperedError{e.Position}
	}
	p.Token, p.Hash = at, e.Hash
	return nil
}
