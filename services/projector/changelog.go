package projector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/readmodel"
)

// changelogName is the durable consumer of the change log.
const changelogName = "changelog"

const (
	// saveEvery and saveAfter are how often, and after how many lines, the position of
	// the change log is saved while lines are written.
	saveEvery = 100 * time.Millisecond
	saveAfter = 1000
	// saveTimeout bounds the last save of a service that ends.
	saveTimeout = time.Second
)

// changelog writes one line to the log for each change, in order. Its position
// is kept in the read tables and moved after the lines are written, some time after
// if more come: a process that is killed before writes its last lines again.
type changelog struct {
	store  *readmodel.Store
	js     jetstream.JetStream
	logger *slog.Logger
	values bool
}

func (l *changelog) run(ctx context.Context) error {
	done, err := l.store.Logged(ctx)
	if err != nil {
		return err
	}
	consumer, err := feed.OpenDurable(ctx, l.js, changelogName)
	if err != nil {
		return err
	}
	defer consumer.Close()
	if err := consumer.Reset(ctx, done.Position+1); err != nil {
		return err
	}
	at, err := feed.PlaceAt(ctx, l.js, done)
	if err != nil {
		return err
	}
	var last *feed.Message // whose line is written
	saved := time.Now()
	for {
		wait := fetchWait
		if at.Token != done {
			wait = max(0, saveEvery-time.Since(saved))
		}
		messages, failure := consumer.Fetch(ctx, wait)
		if n := len(messages); n > 0 {
			failure = l.writeAll(ctx, &at, messages)
			last = &messages[n-1]
		}
		ends := failure != nil || ctx.Err() != nil
		switch {
		case at.Token == done: // nothing has to be saved
			saved = time.Now()
			if len(messages) == 0 && !ends {
				failure = l.listen(ctx, done)
			}
		case ends, time.Since(saved) >= saveEvery, at.Position-done.Position >= saveAfter:
			failure = errors.Join(failure, l.save(ctx, done, at.Token))
			done, saved = at.Token, time.Now()
			_ = last.Ack() // a hint: the position is kept in the tables
		}
		if ends || failure != nil {
			return failure
		}
	}
}

// save moves the saved position, also when the service is about to end.
func (l *changelog) save(ctx context.Context, from, to config.Token) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	return l.store.SetLogged(ctx, from, to)
}

// writeAll writes what follows a place, and moves it on as far as it gets.
func (l *changelog) writeAll(ctx context.Context, at *feed.Place, messages []feed.Message) error {
	for i := range messages {
		m := &messages[i]
		switch next := at.Position + 1; {
		case m.Position < next:
			continue // had it
		case m.Position > next:
			return fmt.Errorf("event %d came where %d was expected", m.Position, next)
		}
		to := *at
		if err := to.Next(&m.Event, m.LogID); err != nil {
			return &haltedError{err.Error()}
		}
		if err := l.write(ctx, &m.Event); err != nil {
			return err
		}
		*at = to
	}
	return nil
}

// listen fails when nothing came although the feed has more: the consumer was
// moved or deleted, and beginning anew resets it.
func (l *changelog) listen(ctx context.Context, done config.Token) error {
	last, err := feed.LastPosition(ctx, l.js)
	if err == nil && last > done.Position {
		err = fmt.Errorf("the feed has reached %d and nothing comes after %d", last, done.Position)
	}
	return err
}

func (l *changelog) write(ctx context.Context, e *config.Event) error {
	p, err := e.Payload()
	var unknown *config.UnknownEventError
	if errors.As(err, &unknown) {
		return &haltedError{err.Error()}
	}
	attributes := []slog.Attr{
		slog.String("event_type", string(e.Type)), slog.String("namespace", e.Namespace), slog.String("config_name", e.Name),
	}
	if l.values {
		attributes = append(attributes, slog.Any("old_value", shown(p.OldValue)), slog.Any("new_value", shown(p.Value)))
	}
	attributes = append(attributes,
		slog.Int64("version", e.Version), slog.Int64("position", e.Position), slog.String("actor", e.Actor),
		slog.String("reason", e.Reason), slog.Time("timestamp", e.RecordedAt))
	if err != nil { // its name is parked
		attributes = append(attributes, slog.String("error", err.Error()))
	}
	l.logger.LogAttrs(ctx, slog.LevelInfo, "config changed", attributes...)
	return nil
}

// shown is a value as the log shows it: its text, or null.
func shown(v config.Value) any {
	if v == nil {
		return nil
	}
	return v.Text()
}
