package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// Subjects of core NATS, beside the stream. What is said there is lost for who
// is not listening; everybody can do without.
const (
	// AppliedSubject carries [Applied].
	AppliedSubject = "config.applied"
	// ServedSubject carries [Served].
	ServedSubject = "config.served"
	// HeadSubject is asked for a [Head].
	HeadSubject = "config.head"
)

// Applied says how far the projector has applied the feed to the read tables.
type Applied struct {
	Epoch    string `json:"epoch"`
	Position int64  `json:"position"`
	// Generation of the read tables; another one than before was made anew.
	Generation int64 `json:"generation,omitempty"`
	// Revision of the generation's set of parked names; another one than before
	// is another set.
	Revision int64 `json:"revision,omitempty"`
}

// Served says how far a query service is, after each change and every second.
type Served struct {
	Instance string `json:"instance"`
	Epoch    string `json:"epoch"`
	Position int64  `json:"position"`
	// Applied is what the service has heard that the projector applied, 0 if
	// nothing: its reads of the tables wait for that.
	Applied int64 `json:"applied,omitempty"`
	Leaving bool  `json:"leaving,omitempty"` // the service is going away
}

// Announce publishes an [Applied] or a [Served] on its subject.
func Announce(nc *nats.Conn, subject string, what any) error {
	body, err := json.Marshal(what)
	if err != nil {
		return err
	}
	return nc.Publish(subject, body)
}

// Listen calls f with what is announced on a subject, one at a time, until the
// connection closes. What can't be read is passed over.
func Listen[T Applied | Served](nc *nats.Conn, subject string, f func(T)) error {
	_, err := nc.Subscribe(subject, func(msg *nats.Msg) {
		var said T
		if json.Unmarshal(msg.Data, &said) == nil {
			f(said)
		}
	})
	if err != nil {
		return fmt.Errorf("listen to %s: %w", subject, err)
	}
	return nil
}

// Head is the end of the log, as a command service answers it to others.
type Head struct {
	Epoch      string    `json:"epoch"`
	Position   int64     `json:"position"`
	RecordedAt time.Time `json:"recorded_at"`
	Error      string    `json:"error,omitempty"` // why it can't be told, or what is wrong with the relay
}

// ServeHead answers who asks for the head. Of several services one answers.
func ServeHead(nc *nats.Conn, head func() Head) error {
	_, err := nc.QueueSubscribe(HeadSubject, "command", func(msg *nats.Msg) {
		go func() { // f asks the database
			body, err := json.Marshal(head())
			if err == nil {
				_ = msg.Respond(body) // who asks has a timeout
			}
		}()
	})
	if err != nil {
		return fmt.Errorf("listen to %s: %w", HeadSubject, err)
	}
	return nil
}

// RequestHead asks a command service for the head.
func RequestHead(ctx context.Context, nc *nats.Conn) (Head, error) {
	msg, err := nc.RequestWithContext(ctx, HeadSubject, nil)
	if err != nil {
		return Head{}, fmt.Errorf("no command service answers: %w", err)
	}
	var head Head
	if err := json.Unmarshal(msg.Data, &head); err != nil {
		return Head{}, fmt.Errorf("head: %w", err)
	}
	if head.Error != "" {
		return head, errors.New(head.Error)
	}
	return head, nil
}
