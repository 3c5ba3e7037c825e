// Package readmodel is the read tables: what the projector writes and the query
// service reads. Their checkpoint is written in the same transaction as their
// rows, so they are always the fold of the events up to it.
package readmodel

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/stats"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Schema builds the read tables, with an empty first generation.
var Schema = pg.Schema{Name: "readmodel", Files: sub(migrations, "migrations")}

func sub(files embed.FS, dir string) fs.FS {
	f, err := fs.Sub(files, dir)
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return f
}

// Store reads and writes the read tables. It is safe for concurrent use.
type Store struct {
	pool          *pgxpool.Pool
	snapshotEvery int64
	reads         stats.Timings
}

// New returns a store on a database that has [Schema].
func New(pool *pgxpool.Pool) *Store { return &Store{pool: pool, snapshotEvery: defaultSnapshotEvery} }

// Check refuses tables that a newer program has made: see [pg.Schema.Check].
func (s *Store) Check(ctx context.Context) error { return Schema.Check(ctx, s.pool) }

// Reads are how long reads took, by what was read.
func (s *Store) Reads() *stats.Timings { return &s.reads }

// Checkpoint is how far a generation of the tables is: the fold of the events
// up to Position. Of an empty one Epoch is empty and Position 0.
type Checkpoint struct {
	Generation int64
	Epoch      string
	Position   int64
	Hash       config.Hash // of the event at Position
	RecordedAt time.Time   // likewise
	Revision   int64       // of the set of parked names; 0 if there never were any
	// Parked are the names that are parked, in the checkpoint of a read.
	Parked *ParkedNames
}

// Token is the checkpoint's position as a token.
func (c Checkpoint) Token() config.Token {
	return config.Token{Epoch: c.Epoch, Position: c.Position}
}

// Row is a config as the tables have it. Version 0 means that there is none.
type Row struct {
	Namespace, Name string
	Value           config.Value // nil when deleted
	Version         int64
	Position        int64
	Deleted         bool
	UpdatedAt       time.Time
	UpdatedBy       string
	Reason          string
	CorrelationID   string
}

// Keep makes the row independent of the message that it came in, whose memory its
// texts may share: for who keeps rows for long.
func (r *Row) Keep() {
	for _, text := range []*string{&r.Namespace, &r.Name, &r.UpdatedBy, &r.Reason, &r.CorrelationID} {
		*text = strings.Clone(*text)
	}
}

// Entry is an event as the history has it; its Row is the config after it.
type Entry struct {
	Row
	Type      config.EventType
	OldValue  config.Value
	Commit    int64
	RequestID string
	EventID   string
	CommandID string
}

// EntryOf returns what the history has of an event. The error may be a
// [*config.UnknownEventError].
func EntryOf(e *config.Event) (Entry, error) {
	p, err := e.Payload()
	if err != nil {
		return Entry{}, err
	}
	return Entry{
		Row: Row{
			Namespace: e.Namespace, Name: e.Name, Value: p.Value, Version: e.Version, Position: e.Position, Deleted: p.Deleted,
			UpdatedAt: e.RecordedAt, UpdatedBy: e.Actor, Reason: e.Reason, CorrelationID: e.CorrelationID,
		},
		Type: e.Type, OldValue: p.OldValue, Commit: e.Commit, RequestID: e.RequestID, EventID: e.ID, CommandID: e.CommandID,
	}, nil
}

// RowOf returns the config after an event. The error may be a
// [*config.UnknownEventError].
func RowOf(e *config.Event) (Row, error) {
	entry, err := EntryOf(e)
	return entry.Row, err
}

const checkpointColumns = `c.generation, c.epoch, c.position, c.hash, c.recorded_at, c.revision`

func scanCheckpoint(row pgx.Row) (Checkpoint, error) {
	var c Checkpoint
	var hash []byte
	err := row.Scan(&c.Generation, &c.Epoch, &c.Position, &hash, &c.RecordedAt, &c.Revision)
	c.RecordedAt = c.RecordedAt.UTC()
	copy(c.Hash[:], hash)
	return c, err
}

// Checkpoint returns that of the active generation.
func (s *Store) Checkpoint(ctx context.Context) (Checkpoint, error) {
	c, err := scanCheckpoint(s.pool.QueryRow(ctx, activeSQL))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	return c, nil
}

const activeSQL = `select ` + checkpointColumns + ` from readmodel.active a join readmodel.checkpoint c using (generation)`

// snapshot runs f in a transaction that sees one state of the active
// generation, and returns that state's checkpoint. In the SQL that f runs,
// $current and $history stand for the generation's tables: see [snapshot.sql]. f
// may be called twice: a standby ends reads that are in the way of what it replays.
func (s *Store) snapshot(ctx context.Context, what string, f func(v snapshot) error) (Checkpoint, error) {
	defer s.reads.Since(strings.ReplaceAll(what, " ", "_"), time.Now())
	checkpoint, err := s.readOnce(ctx, f)
	if pgerrcode.IsTransactionRollback(pg.Code(err)) {
		checkpoint, err = s.readOnce(ctx, f)
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%s: %w", what, err)
	}
	return checkpoint, nil
}

func (s *Store) readOnce(ctx context.Context, f func(v snapshot) error) (Checkpoint, error) {
	var checkpoint Checkpoint
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, s.pool, options, func(tx pgx.Tx) error {
		var err error
		if checkpoint, err = scanCheckpoint(tx.QueryRow(ctx, activeSQL)); err != nil {
			return err
		}
		if checkpoint.Parked, err = parkedNames(ctx, tx, checkpoint); err != nil {
			return err
		}
		return f(snapshot{ctx, tx, checkpoint.Generation, checkpoint.Parked})
	})
	return checkpoint, err
}

type snapshot struct {
	ctx        context.Context
	tx         pgx.Tx
	generation int64
	parked     *ParkedNames
}

// tables names the tables of a generation in a statement.
func tables(generation int64, sql string) string {
	g := strconv.FormatInt(generation, 10)
	return strings.NewReplacer("$current", "readmodel.current_"+g, "$history", "readmodel.history_"+g,
		"$snapshot", "readmodel.snapshot_"+g, "$pending", "readmodel.pending_"+g).Replace(sql)
}

func (v snapshot) query(sql string, args ...any) (pgx.Rows, error) {
	return v.tx.Query(v.ctx, tables(v.generation, sql), args...)
}

// ErrFenced means that another projector moved the checkpoint: read it again.
var ErrFenced = errors.New("another projector has moved the checkpoint")
