package readmodel

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/config-api/config-api/shared/config"
)

// Builder fills the tables of a new generation in bulk: the history is copied as
// it comes, the current values are kept in memory until the end, and indexes are
// made last. Nobody reads the tables before [Store.Flip].
type Builder struct {
	store      *Store
	generation int64
	at         Checkpoint
	rows       map[string]map[string]Row // by namespace and name
	pending    map[string]*pendingSnapshot
}

// pendingSnapshot is a row of the table pending.
type pendingSnapshot struct{ events, bytes, names, size int64 }

// Build starts a generation anew: whatever there is of it is dropped, and so are
// all others but the active one.
func (s *Store) Build(ctx context.Context, generation int64) (*Builder, error) {
	err := unhurried(ctx, s.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `select readmodel.drop_generation(c.generation) from readmodel.checkpoint c
			where c.generation not in (select generation from readmodel.active)`)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `select readmodel.drop_generation($1), readmodel.create_generation($1)`, generation)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("generation %d: %w", generation, err)
	}
	return &Builder{
		store: s, generation: generation, at: Checkpoint{Generation: generation},
		rows: map[string]map[string]Row{}, pending: map[string]*pendingSnapshot{},
	}, nil
}

// unhurried runs a step of a rebuild in a transaction. It may take longer than a
// statement of a request, and need not be on disk before the last step: what that
// one commits brings to the disk what was committed before.
func unhurried(ctx context.Context, pool *pgxpool.Pool, step func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `set local statement_timeout = 0; set local synchronous_commit = off`); err != nil {
			return err
		}
		return step(tx)
	})
}

// At is how far it is.
func (b *Builder) At() Checkpoint { return b.at }

var historyColumns = strings.Fields(`namespace name value version position deleted recorded_at actor reason correlation_id
	type old_value commit_position request_id event_id command_id`)

// Add appends events, which follow without a gap and end with a whole change set.
func (b *Builder) Add(ctx context.Context, epoch string, events []config.Event) error {
	if err := follows(b.at, epoch, events); err != nil {
		return err
	}
	entries, wait, fresh, err := sortEvents(events, b.at.Parked, nil)
	if err != nil {
		return err
	}
	rows := pgx.CopyFromSlice(len(entries), func(i int) ([]any, error) {
		e := &entries[i]
		// As texts they would cost as much as all the rest.
		eventID, err := uuid.Parse(e.EventID)
		if err != nil {
			return nil, fmt.Errorf("id of event %d: %w", e.Position, err)
		}
		commandID, err := uuid.Parse(e.CommandID)
		if err != nil {
			return nil, fmt.Errorf("command id of event %d: %w", e.Position, err)
		}
		return []any{
			e.Namespace, e.Name, []byte(e.Value), e.Version, e.Position, e.Deleted, e.UpdatedAt, e.UpdatedBy, e.Reason, e.CorrelationID,
			string(e.Type), []byte(e.OldValue), e.Commit, e.RequestID, [16]byte(eventID), [16]byte(commandID),
		}, nil
	})
	// A snapshot is of a moment between change sets: that of each set's end.
	var pipeline pgx.Batch
	if err := queueWaiting(&pipeline, b.generation, wait); err != nil {
		return err
	}
	for i := range entries {
		b.fold(&entries[i])
		if e := &entries[i]; e.Position == e.Commit {
			b.takeSnapshots(&pipeline, e.Namespace, e.Position)
		}
	}
	table := pgx.Identifier{"readmodel", fmt.Sprintf("history_%d", b.generation)}
	err = unhurried(ctx, b.store.pool, func(tx pgx.Tx) error {
		if _, err := tx.CopyFrom(ctx, table, historyColumns, rows); err != nil {
			return err
		}
		return tx.SendBatch(ctx, &pipeline).Close()
	})
	if err != nil {
		return fmt.Errorf("copy events %d to %d: %w", events[0].Position, events[len(events)-1].Position, err)
	}
	last := &events[len(events)-1]
	parked := b.at.Parked
	for _, w := range wait {
		if w.reason != "" {
			parked = parked.With(Parked{Namespace: w.event.Namespace, Name: w.event.Name, Position: w.event.Position})
		}
	}
	b.at = Checkpoint{
		Generation: b.generation, Epoch: epoch, Position: last.Position, Hash: last.Hash, RecordedAt: last.RecordedAt,
		Revision: b.at.Revision + int64(fresh), Parked: parked,
	}
	return nil
}

func (b *Builder) fold(e *Entry) {
	names := b.rows[e.Namespace]
	if names == nil {
		names = map[string]Row{}
		b.rows[e.Namespace], b.pending[e.Namespace] = names, &pendingSnapshot{}
	}
	names[e.Name] = e.Row
	p := b.pending[e.Namespace]
	p.events++
	p.bytes += rowSize + int64(len(e.Value))
}

// takeSnapshots does what countPendingSQL and takeSnapshotSQL do.
func (b *Builder) takeSnapshots(batch *pgx.Batch, namespace string, position int64) {
	p := b.pending[namespace]
	if p.events < max(p.names, b.store.snapshotEvery) || p.bytes < p.size {
		return
	}
	var live []Row
	size := int64(0)
	for _, name := range slices.Sorted(maps.Keys(b.rows[namespace])) {
		if row := b.rows[namespace][name]; !row.Deleted {
			live = append(live, row)
			size += rowSize + int64(len(row.Value))
		}
	}
	args := append([]any{namespace, position}, snapshotArrays(live, size <= maxSnapshotSize)...)
	batch.Queue(tables(b.generation, `insert into $snapshot
		(namespace, position, names, "values", versions, positions, updated_at, updated_by, reasons, correlation_ids)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`), args...)
	*p = pendingSnapshot{names: int64(len(live)), size: size}
}

// snapshotArrays are nulls for what would be too large, or is nothing.
func snapshotArrays(live []Row, fits bool) []any {
	if !fits || len(live) == 0 {
		return []any{nil, nil, nil, nil, nil, nil, nil, nil}
	}
	a := currentArrays(live)
	// namespaces, names, values, versions, positions, deleted, times, actors, reasons, correlations
	return []any{a[1], a[2], a[3], a[4], a[6], a[7], a[8], a[9]}
}

var copiedColumns = strings.Fields(`namespace name value version position deleted updated_at updated_by reason correlation_id`)

// indexesAtOnce is how many indexes are made at a time. Each is made by one process
// of Postgres: together they take what Postgres by itself, with two parallel
// workers for one index after the other, leaves idle. The live projection needs
// connections too.
const indexesAtOnce = 2

// Finish writes what was kept in memory, and makes the indexes.
func (b *Builder) Finish(ctx context.Context) (Checkpoint, error) {
	if err := b.copyCurrent(ctx); err != nil {
		return Checkpoint{}, fmt.Errorf("finish generation %d: %w", b.generation, err)
	}
	if err := b.makeIndexes(ctx); err != nil {
		return Checkpoint{}, fmt.Errorf("indexes of generation %d: %w", b.generation, err)
	}
	err := pgx.BeginFunc(ctx, b.store.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select readmodel.finish_generation($1)`, b.generation); err != nil {
			return err
		}
		if b.at.Position == 0 { // finish_generation has made the checkpoint of the beginning
			return nil
		}
		_, err := tx.Exec(ctx, `update readmodel.checkpoint set epoch = $2, position = $3, hash = $4, recorded_at = $5, revision = $6 where generation = $1`,
			b.generation, b.at.Epoch, b.at.Position, b.at.Hash[:], b.at.RecordedAt, b.at.Revision)
		return err
	})
	if err != nil {
		return Checkpoint{}, fmt.Errorf("finish generation %d: %w", b.generation, err)
	}
	// Without statistics the planner may read tables from end to end.
	if _, err := b.store.pool.Exec(ctx, fmt.Sprintf(`analyze readmodel.current_%[1]d, readmodel.history_%[1]d, readmodel.snapshot_%[1]d`, b.generation)); err != nil {
		return Checkpoint{}, fmt.Errorf("finish generation %d: %w", b.generation, err)
	}
	b.at.Parked = nil // a checkpoint of a generation has none
	return b.at, nil
}

func (b *Builder) copyCurrent(ctx context.Context) error {
	var current, pending [][]any
	for _, namespace := range slices.Sorted(maps.Keys(b.rows)) {
		for _, r := range b.rows[namespace] {
			current = append(current, []any{
				r.Namespace, r.Name, []byte(r.Value), r.Version, r.Position, r.Deleted, r.UpdatedAt, r.UpdatedBy, r.Reason, r.CorrelationID,
			})
		}
		p := b.pending[namespace]
		pending = append(pending, []any{namespace, p.events, p.bytes, p.names, p.size})
	}
	table := func(name string) pgx.Identifier {
		return pgx.Identifier{"readmodel", fmt.Sprintf("%s_%d", name, b.generation)}
	}
	return unhurried(ctx, b.store.pool, func(tx pgx.Tx) error {
		if _, err := tx.CopyFrom(ctx, table("current"), copiedColumns, pgx.CopyFromRows(current)); err != nil {
			return err
		}
		_, err := tx.CopyFrom(ctx, table("pending"), []string{"namespace", "events", "bytes", "names", "size"}, pgx.CopyFromRows(pending))
		return err
	})
}

func (b *Builder) makeIndexes(ctx context.Context) error {
	rows, err := b.store.pool.Query(ctx, `select readmodel.index_statements($1)`, b.generation)
	if err != nil {
		return err
	}
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(indexesAtOnce)
	for _, statement := range statements {
		group.Go(func() error {
			return unhurried(ctx, b.store.pool, func(tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, `set local max_parallel_maintenance_workers = 0`); err != nil {
					return err
				}
				_, err := tx.Exec(ctx, statement)
				return err
			})
		})
	}
	return group.Wait()
}
