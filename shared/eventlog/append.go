package eventlog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/pg"
)

const (
	// maxBatch is the most commands that share a transaction. From some
	// hundreds on a larger batch gains nothing and delays its first command.
	maxBatch = 500
	// maxBatchSize is about the most bytes of new values in one transaction.
	maxBatchSize = 8 << 20
	// batchTimeout bounds one transaction. A COMMIT that takes longer is in
	// doubt and is looked up.
	batchTimeout = 20 * time.Second
	// doubtTimeout is how long a COMMIT in doubt is looked up for before its
	// callers are told that the outcome is unknown.
	doubtTimeout = 30 * time.Second
)

// Command is a change set to append.
type Command struct {
	Set config.ChangeSet
	// Key is the client's idempotency key, "" for none. The outcome of a
	// command with a key is stored with its events.
	Key string
	// RequestHash tells whether a key that comes again comes with the same
	// request.
	RequestHash config.Hash
	// Since, if not nil, expects that the namespace has no event after this
	// position, and is a [config.Conflict] otherwise.
	Since *int64
}

// Outcome is what an accepted command did.
type Outcome struct {
	Epoch         string    `json:"epoch"`
	Position      int64     `json:"position"` // of the command's last event
	RecordedAt    time.Time `json:"recorded_at"`
	CorrelationID string    `json:"correlation_id"`
	Changes       []Changed `json:"changes"`
	// Replayed says that the command had been accepted before, with the same
	// key, and that nothing was appended now.
	Replayed bool `json:"-"`
}

// Changed is one event of an accepted command.
type Changed struct {
	Name     string `json:"name"`
	Version  int64  `json:"version"`
	Position int64  `json:"position"`
	Created  bool   `json:"created"` // there was no value before
	Deleted  bool   `json:"deleted"`
}

// Token is the position of the command's last event as a token.
func (o Outcome) Token() config.Token { return config.Token{Epoch: o.Epoch, Position: o.Position} }

// pending is a command that waits for its batch, then for its answer.
type pending struct {
	ctx    context.Context
	id     string // the command id: of the key, or random
	cmd    Command
	stale  bool           // cmd.Since does not hold
	events []config.Event // once decided
	out    Outcome
	err    error
	done   chan struct{}
}

// CommandID returns the UUID that a key stands for: version 8 (custom), made of
// the key's SHA-256.
func CommandID(key string) string {
	sum := sha256.Sum256([]byte(key))
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

// Append checks the command's set, decides it against the present state and
// commits its events together with those of other callers. When it returns
// without an error the events are durable.
//
// A refusal is a [*config.Error] and leaves no event. [config.Unavailable]
// means that nothing was stored, or, when its text says so, that the outcome is
// unknown: then a retry with the same key is safe and one without is not.
func (l *Log) Append(ctx context.Context, cmd Command) (Outcome, error) {
	if err := cmd.Set.Check(); err != nil {
		return Outcome{}, err
	}
	p := &pending{ctx: ctx, cmd: cmd, done: make(chan struct{})}
	if cmd.Key == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return Outcome{}, fmt.Errorf("command id: %w", err)
		}
		p.id = id.String()
	} else {
		p.id = CommandID(cmd.Key)
	}
	if p.cmd.Set.CorrelationID == "" {
		p.cmd.Set.CorrelationID = p.id
	}
	select {
	case l.queue <- p:
	case <-l.stop:
		return Outcome{}, errStopping
	case <-ctx.Done():
		return Outcome{}, config.Errorf(config.Unavailable, "the log is busy and nothing was stored: try again")
	}
	select {
	case <-p.done:
		return p.out, p.err
	case <-ctx.Done():
		return Outcome{}, errUnknown
	case <-l.stopped:
		select {
		case <-p.done:
			return p.out, p.err
		default:
			return Outcome{}, errStopping
		}
	}
}

var (
	errStopping = config.Errorf(config.Unavailable, "the service is stopping and nothing was stored: try again")
	errUnknown  = config.Errorf(config.Unavailable,
		"the log did not answer in time and the outcome is unknown: retry with the same Idempotency-Key, or read before you write again")
	errDown = config.Errorf(config.Unavailable, "the event store is not available and nothing was stored: try again")
)

// run is the batcher. There is no linger: the commit before is the time in
// which the next batch gathers.
func (l *Log) run() {
	defer close(l.stopped)
	for {
		select {
		case p := <-l.queue:
			l.appendBatch(l.gather(p))
		case <-l.stop:
			return
		}
	}
}

// gather takes what waits behind first, without waiting for more.
func (l *Log) gather(first *pending) []*pending {
	batch := make([]*pending, 0, 64)
	size := 0
	for p := first; ; {
		if p.ctx.Err() == nil { // else nobody waits for it any more
			batch = append(batch, p)
			for _, c := range p.cmd.Set.Changes {
				size += len(c.Value)
			}
		}
		if len(batch) == maxBatch || size >= maxBatchSize {
			return batch
		}
		select {
		case p = <-l.queue:
		default:
			return batch
		}
	}
}

// appendBatch answers every command of the batch.
func (l *Log) appendBatch(batch []*pending) {
	if len(batch) == 0 {
		return
	}
	err := l.tryBatch(batch, nil)
	for doubt := (*inDoubtError)(nil); errors.As(err, &doubt); {
		l.stats.InDoubt.Add(1)
		l.logger.Warn("commit in doubt, looking it up", "first_position", doubt.first, "commands", len(batch), "error", doubt.cause)
		if err = l.resolve(batch, doubt); err == nil {
			break
		}
	}
	for _, p := range batch {
		if err != nil && p.err == nil {
			p.out, p.err = Outcome{}, err
		}
		close(p.done)
	}
	if err == nil {
		select {
		case l.appended <- struct{}{}:
		default:
		}
	}
}

// clockTolerance is how far the last event may be before the clock without a
// warning: a large batch is stamped some hundred microseconds ahead.
const clockTolerance = time.Second

// watchClock warns once when the database's clock was set back. Until it has
// caught up, events are stamped a microsecond after each other.
func (l *Log) watchClock(ahead time.Duration) {
	if behind := ahead > clockTolerance; behind != l.behind {
		l.behind = behind
		if behind {
			l.logger.Warn("the database's clock was set back: times go on from the last event", "behind", ahead.Round(time.Millisecond).String())
		} else {
			l.logger.Info("the database's clock has caught up")
		}
	}
}

// inDoubtError says that the connection broke at COMMIT: the batch whose first
// event is first with id firstID is either all there or not at all.
type inDoubtError struct {
	first   int64
	firstID string
	cause   error
}

func (e *inDoubtError) Error() string { return "commit in doubt: " + e.cause.Error() }
func (e *inDoubtError) Unwrap() error { return e.cause }

// resolve retries the batch until the database answers. Each try first looks,
// under the head's lock, whether the earlier COMMIT took effect: without the
// lock the old transaction might still be about to commit.
func (l *Log) resolve(batch []*pending, doubt *inDoubtError) error {
	deadline := time.Now().Add(doubtTimeout)
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := l.tryBatch(batch, doubt)
		var again *inDoubtError
		switch {
		case err == nil || errors.As(err, &again):
			return err // done, or a new doubt
		case !errors.Is(err, errDown):
			return err
		case time.Now().After(deadline):
			l.logger.Error("commit in doubt, giving up", "first_position", doubt.first, "commands", len(batch))
			return errUnknown
		}
		select {
		case <-time.After(wait):
		case <-l.stop:
			return errUnknown
		}
	}
}

// unavailable turns a failure before COMMIT into what the caller is told.
func (l *Log) unavailable(err error) error {
	if pg.IsUnavailable(err) || errors.Is(err, context.DeadlineExceeded) {
		l.logger.Warn("the event store is not available", "error", err)
		return errDown
	}
	return fmt.Errorf("append: %w", err)
}
