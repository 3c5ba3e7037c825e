// Package eventlog is the log in Postgres: append, read, verify. It is the only
// truth of the system, and only the command service writes it.
//
// Positions are gapless and in commit order because every append locks the row
// of log_head first. That makes appends take turns, so throughput comes from
// group commit: one goroutine gathers the commands that wait into one short
// transaction (see [Log.Append]).
package eventlog

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/stats"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Schema builds the tables of the log.
var Schema = pg.Schema{Name: "eventstore", Files: sub(migrations, "migrations")}

func sub(files embed.FS, dir string) fs.FS {
	f, err := fs.Sub(files, dir)
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return f
}

// Options of a [Log].
type Options struct {
	Logger *slog.Logger
	// Check returns what is wrong with a value by the schemas that its name
	// matches, all of which are given. Without it schemas are not enforced.
	Check func(schemas []config.Schema, value config.Value) []config.Fault
}

// Log is the event log. It is safe for concurrent use, also by several
// processes on one database.
type Log struct {
	pool     *pgxpool.Pool
	logger   *slog.Logger
	check    func([]config.Schema, config.Value) []config.Fault
	queue    chan *pending
	appended chan struct{}
	stop     chan struct{}
	stopped  chan struct{}
	behind   bool // the clock is behind the log's last event; of the batcher alone
	recent   recent
	tail     tail
	stats    Stats
}

// Stats are figures of the log since it was opened here.
type Stats struct {
	Position stats.Highest   // of the log's end, as far as was seen
	Events   atomic.Int64    // appended
	Rate     stats.Rate      // of those
	Batch    stats.Sizes     // their number in a batch
	Commit   stats.Histogram // writing a batch and its COMMIT
	InDoubt  atomic.Int64    // COMMITs that were cut off
	Queries  stats.Timings   // other statements, by what they are for
}

// Stats returns figures that go on changing.
func (l *Log) Stats() *Stats { return &l.stats }

// Open starts the batcher on a pool whose database has [Schema]. It does not
// need the database to be up. Close it after the last Append.
func Open(pool *pgxpool.Pool, opts Options) *Log {
	l := &Log{
		pool:     pool,
		logger:   opts.Logger,
		check:    opts.Check,
		queue:    make(chan *pending, 2*maxBatch),
		appended: make(chan struct{}, 1),
		stop:     make(chan struct{}),
		stopped:  make(chan struct{}),
	}
	go l.run()
	return l
}

// Close finishes the batch in flight, refuses what still waits, and returns
// when the batcher has ended.
func (l *Log) Close() {
	close(l.stop)
	<-l.stopped
}

// Appended signals that this process has committed events. Signals coalesce:
// one may stand for many batches.
func (l *Log) Appended() <-chan struct{} { return l.appended }

// Head is the end of the log: its last event, or position 0 of an empty log.
type Head struct {
	config.LogID
	Position   int64
	RecordedAt time.Time
	Hash       config.Hash
}

// Token is the head's position as a token.
func (h Head) Token() config.Token { return config.Token{Epoch: h.Epoch, Position: h.Position} }

const headColumns = `epoch::text, origin::text, position, recorded_at, hash`

// Head returns the end of the log as committed.
func (l *Log) Head(ctx context.Context) (Head, error) {
	defer l.stats.Queries.Since("head", time.Now())
	row := l.pool.QueryRow(ctx, `select `+headColumns+` from eventstore.log_head`)
	head, err := scanHead(row)
	if err != nil {
		return Head{}, fmt.Errorf("read the log's head: %w", err)
	}
	l.stats.Position.See(head.Position)
	return head, nil
}

// HashAt returns the hash of the event at a position of the log.
func (l *Log) HashAt(ctx context.Context, position int64) (config.Hash, error) {
	defer l.stats.Queries.Since("hash", time.Now())
	var hash []byte
	err := l.pool.QueryRow(ctx, `select hash from eventstore.events where position = $1`, position).Scan(&hash)
	if err != nil {
		return config.Hash{}, fmt.Errorf("hash of event %d: %w", position, err)
	}
	return config.Hash(hash), nil
}

// scanHead reads a head, and what the statement has beside it.
func scanHead(row pgx.Row, more ...any) (Head, error) {
	var h Head
	var hash []byte
	if err := row.Scan(append([]any{&h.Epoch, &h.Origin, &h.Position, &h.RecordedAt, &hash}, more...)...); err != nil {
		return Head{}, err
	}
	h.RecordedAt = h.RecordedAt.UTC()
	copy(h.Hash[:], hash)
	return h, nil
}

// maxReadSize bounds the event data that one Read returns, in bytes, give or
// take one change set.
const maxReadSize = 4 << 20

const eventColumns = `position, namespace, name, version, event_id::text, type, schema_version,
	commit_position, command_id::text, actor, reason, correlation_id, request_id, recorded_at, data, hash, trace`

// Read returns events after a position, in order: at most limit of them, which
// is at least [config.MaxChanges], and about 4 MiB of data. It returns whole
// change sets only, unless the position itself lies inside one.
func (l *Log) Read(ctx context.Context, after int64, limit int) ([]config.Event, error) {
	defer l.stats.Queries.Since("read", time.Now())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := l.pool.Query(ctx, `select `+eventColumns+` from eventstore.events
		where position > $1 order by position limit $2`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read events after %d: %w", after, err)
	}
	defer rows.Close()
	var events []config.Event
	whole, size := 0, 0
	for rows.Next() {
		e, err := scanEvent(rows)
		if err != nil {
			return nil, fmt.Errorf("read events after %d: %w", after, err)
		}
		events = append(events, e)
		size += len(e.Data)
		if e.Position == e.Commit {
			whole = len(events)
			if size >= maxReadSize {
				cancel() // rather than read the rest of the rows only to drop them
				return events, nil
			}
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read events after %d: %w", after, err)
	}
	return events[:whole], nil
}

func scanEvent(row pgx.Row) (config.Event, error) {
	var e config.Event
	var hash []byte
	err := row.Scan(&e.Position, &e.Namespace, &e.Name, &e.Version, &e.ID, &e.Type, &e.SchemaVersion,
		&e.Commit, &e.CommandID, &e.Actor, &e.Reason, &e.CorrelationID, &e.RequestID, &e.RecordedAt, &e.Data, &hash, &e.Trace)
	e.RecordedAt = e.RecordedAt.UTC()
	copy(e.Hash[:], hash)
	return e, err
}
