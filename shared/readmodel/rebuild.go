package readmodel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/failpoint"
)

// A rebuild makes the next generation of the tables from the feed, beside the
// one that is read, and then has that read instead. What is asked for is a row,
// so that any projector can take it up, and another when that one dies.

// RebuildState is how far a rebuild is.
type RebuildState string

// The states of a rebuild. The first two are not its end.
const (
	RebuildRunning    RebuildState = "running"
	RebuildCancelling RebuildState = "cancelling"
	RebuildDone       RebuildState = "done"
	RebuildCancelled  RebuildState = "cancelled"
	RebuildFailed     RebuildState = "failed"
)

// Rebuild is the one that goes on or has ended last.
type Rebuild struct {
	Generation  int64
	State       RebuildState
	Fresh       bool   // from the first event, not an old generation brought up to date
	Detail      string // why it failed
	Done, Total int64  // events
	StartedAt   time.Time
	FinishedAt  *time.Time
}

// Going reports whether it has not ended.
func (r Rebuild) Going() bool { return r.State == RebuildRunning || r.State == RebuildCancelling }

var (
	// ErrRebuilding means that a rebuild goes on already.
	ErrRebuilding = config.Errorf(config.Conflict, "a rebuild goes on already: wait for it, or cancel it with DELETE")
	// ErrNotRebuilding means that there is none to cancel.
	ErrNotRebuilding = config.Errorf(config.Conflict, "no rebuild goes on")
)

const rebuildColumns = `generation, state, fresh, detail, done, total, started_at, finished_at`

func scanRebuild(row pgx.Row) (r Rebuild, err error) {
	err = row.Scan(&r.Generation, &r.State, &r.Fresh, &r.Detail, &r.Done, &r.Total, &r.StartedAt, &r.FinishedAt)
	return r, err
}

// Rebuild returns the rebuild that goes on or has ended last; one without a
// state if there was none.
func (s *Store) Rebuild(ctx context.Context) (Rebuild, error) {
	r, err := scanRebuild(s.pool.QueryRow(ctx, `select `+rebuildColumns+` from readmodel.rebuild`))
	if errors.Is(err, pgx.ErrNoRows) {
		return Rebuild{}, nil
	}
	if err != nil {
		return Rebuild{}, fmt.Errorf("rebuild: %w", err)
	}
	return r, nil
}

// RequestRebuild asks for the next generation, or for an old one to be brought up
// to date and read again. The error is [ErrRebuilding] when one goes on.
func (s *Store) RequestRebuild(ctx context.Context, generation int64) (Rebuild, error) {
	fresh := generation == 0
	if !fresh {
		var active bool
		err := s.pool.QueryRow(ctx, `select a.generation = c.generation from readmodel.checkpoint c, readmodel.active a
			where c.generation = $1`, generation).Scan(&active)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return Rebuild{}, config.Errorf(config.NotFound, "there is no generation %d: GET /v2/projections lists those that there are", generation)
		case err != nil:
			return Rebuild{}, fmt.Errorf("rebuild: %w", err)
		case active:
			return Rebuild{}, config.Errorf(config.Conflict, "generation %d is the one that is read", generation)
		}
	}
	r, err := scanRebuild(s.pool.QueryRow(ctx, `insert into readmodel.rebuild (generation, state, fresh)
		select coalesce(nullif($1::bigint, 0), (
			-- The next one, and odd when the active one is even: each has a consumer of its own.
			select max(c.generation) + 1 + (max(c.generation) + 1 - max(a.generation) + 1) % 2
			from readmodel.checkpoint c, readmodel.active a
		)), 'running', $2
		on conflict (id) do update set generation = excluded.generation, state = 'running', fresh = excluded.fresh,
			detail = '', done = 0, total = 0, started_at = now(), finished_at = null
		where rebuild.state not in ('running', 'cancelling')
		returning `+rebuildColumns, generation, fresh))
	if errors.Is(err, pgx.ErrNoRows) {
		return Rebuild{}, ErrRebuilding
	}
	if err != nil {
		return Rebuild{}, fmt.Errorf("rebuild: %w", err)
	}
	return r, nil
}

// CancelRebuild asks for the end of the rebuild that goes on.
func (s *Store) CancelRebuild(ctx context.Context) (Rebuild, error) {
	r, err := scanRebuild(s.pool.QueryRow(ctx, `update readmodel.rebuild set state = 'cancelling'
		where state in ('running', 'cancelling') returning `+rebuildColumns))
	if errors.Is(err, pgx.ErrNoRows) {
		return Rebuild{}, ErrNotRebuilding
	}
	if err != nil {
		return Rebuild{}, fmt.Errorf("rebuild: %w", err)
	}
	return r, nil
}

// ErrCancelled means that the rebuild is to end.
var ErrCancelled = errors.New("the rebuild is cancelled")

// RebuildProgress notes how far the rebuild is. The error is [ErrCancelled] when
// it is to end.
func (s *Store) RebuildProgress(ctx context.Context, done, total int64) error {
	var state RebuildState
	err := s.pool.QueryRow(ctx, `update readmodel.rebuild set done = $1, total = $2 returning state`, done, total).Scan(&state)
	if err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	if state != RebuildRunning {
		return ErrCancelled
	}
	return nil
}

// EndRebuild notes how a rebuild has ended that did not come to be read.
func (s *Store) EndRebuild(ctx context.Context, r Rebuild, state RebuildState, detail string) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if r.Fresh {
			if _, err := tx.Exec(ctx, `select readmodel.drop_generation($1) where not exists (select from readmodel.active where generation = $1)`, r.Generation); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `update readmodel.rebuild set state = $1, detail = $2, finished_at = now() where generation = $3`, state, detail, r.Generation)
		return err
	})
	if err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	return nil
}

// CheckpointOf returns that of a generation.
func (s *Store) CheckpointOf(ctx context.Context, generation int64) (Checkpoint, error) {
	c, err := scanCheckpoint(s.pool.QueryRow(ctx, `select `+checkpointColumns+` from readmodel.checkpoint c where generation = $1`, generation))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint of generation %d: %w", generation, err)
	}
	return c, nil
}

// Generations returns the checkpoints of all that there are, oldest first.
func (s *Store) Generations(ctx context.Context) ([]Checkpoint, error) {
	rows, err := s.pool.Query(ctx, `select `+checkpointColumns+` from readmodel.checkpoint c order by generation`)
	if err != nil {
		return nil, fmt.Errorf("generations: %w", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Checkpoint, error) { return scanCheckpoint(row) })
	if err != nil {
		return nil, fmt.Errorf("generations: %w", err)
	}
	return found, nil
}

// DifferError means that two generations that should be the same are not.
type DifferError struct {
	Table    string
	Old, New string // count and digest
}

func (e *DifferError) Error() string {
	return fmt.Sprintf("the new generation differs from the one that is read in its %s (%s, %s is read): it is not taken", e.Table, e.New, e.Old)
}

// unparkedSQL leaves the names out that are parked in either of two generations: a
// new one is how they come back.
func unparkedSQL(old, fresh int64) string {
	return fmt.Sprintf(` and not exists (select from readmodel.parked p
		where p.generation in (%d, %d) and p.namespace = r.namespace and p.name = r.name)`, old, fresh)
}

// CompareHistory compares two generations up to a position that both have
// reached. The error is a [*DifferError] when they differ.
func (s *Store) CompareHistory(ctx context.Context, old, fresh, to int64) error {
	sql := `select count(*) || ' rows, ' || coalesce(sum(hash_record_extended(r, 0)), 0) from $history r where position <= $1` + unparkedSQL(old, fresh)
	var digests [2]string
	for i, generation := range []int64{old, fresh} {
		err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `set local statement_timeout = 0`); err != nil {
				return err
			}
			return tx.QueryRow(ctx, tables(generation, sql), to).Scan(&digests[i])
		})
		if err != nil {
			return fmt.Errorf("compare generations: %w", err)
		}
	}
	if digests[0] != digests[1] {
		return &DifferError{"history", digests[0], digests[1]}
	}
	return nil
}

// Flip has a generation read from now on, in one transaction in which the
// projection of the active one stands still. catchUp brings the new generation to
// exactly the position of the active one, which is not far. The error is a
// [*DifferError] when the two are not the same then, or [ErrCancelled]; nothing
// has changed.
func (s *Store) Flip(ctx context.Context, r Rebuild, catchUp func(active Checkpoint) (Checkpoint, error)) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `set local statement_timeout = 0`); err != nil {
			return err
		}
		// First the lock, then the look: a statement that waits for a lock sees
		// the other tables as they were before the wait.
		if _, err := tx.Exec(ctx, `select from readmodel.active for update`); err != nil {
			return fmt.Errorf("flip: %w", err)
		}
		active, err := scanCheckpoint(tx.QueryRow(ctx, activeSQL))
		if err != nil {
			return fmt.Errorf("flip: %w", err)
		}
		fresh, err := catchUp(active)
		if err != nil {
			return err
		}
		if fresh.Token() != active.Token() || fresh.Hash != active.Hash {
			return &DifferError{"checkpoint", fmt.Sprintf("%s %x", active.Token(), active.Hash[:8]), fmt.Sprintf("%s %x", fresh.Token(), fresh.Hash[:8])}
		}
		var digests [2]string
		for i, generation := range []int64{active.Generation, fresh.Generation} {
			sql := `select count(*) || ' rows, ' || coalesce(sum(hash_record_extended(r, 0)), 0) from $current r where true` + unparkedSQL(active.Generation, fresh.Generation)
			if err := tx.QueryRow(ctx, tables(generation, sql)).Scan(&digests[i]); err != nil {
				return fmt.Errorf("flip: %w", err)
			}
		}
		if digests[0] != digests[1] {
			return &DifferError{"current values", digests[0], digests[1]}
		}
		if _, err := tx.Exec(ctx, `update readmodel.active set generation = $1`, fresh.Generation); err != nil {
			return fmt.Errorf("flip: %w", err)
		}
		return finish(ctx, tx, r, fresh)
	})
}

// finish notes that a rebuild is done.
func finish(ctx context.Context, tx pgx.Tx, r Rebuild, at Checkpoint) error {
	ended, err := tx.Exec(ctx, `update readmodel.rebuild set state = 'done', done = $1, total = $1, finished_at = clock_timestamp()
		where generation = $2 and state = 'running'`, at.Position, r.Generation)
	if err != nil {
		return fmt.Errorf("flip: %w", err)
	}
	if ended.RowsAffected() == 0 {
		return ErrCancelled
	}
	failpoint.Hit("flip-before-commit")
	return nil
}

// FlipTo is Flip to a generation that is of another log than the active one, so
// that there is nothing to compare it with. The change log goes on with the
// events that the other log did not have. The error can be [ErrCancelled].
func (s *Store) FlipTo(ctx context.Context, r Rebuild, fresh Checkpoint, epoch string) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `set local statement_timeout = 0`); err != nil {
			return fmt.Errorf("flip: %w", err)
		}
		var old int64
		if err := tx.QueryRow(ctx, `select generation from readmodel.active for update`).Scan(&old); err != nil {
			return fmt.Errorf("flip: %w", err)
		}
		const sql = `update readmodel.changelog set epoch = $1, position = least(position, coalesce(
			(select min(position) - 1 from $history h where not exists (
				select from readmodel.history_%d o where o.position = h.position and o.event_id = h.event_id)), $2))`
		if _, err := tx.Exec(ctx, fmt.Sprintf(tables(fresh.Generation, sql), old), epoch, fresh.Position); err != nil {
			return fmt.Errorf("flip: %w", err)
		}
		if _, err := tx.Exec(ctx, `update readmodel.active set generation = $1`, fresh.Generation); err != nil {
			return fmt.Errorf("flip: %w", err)
		}
		return finish(ctx, tx, r, fresh)
	})
}
