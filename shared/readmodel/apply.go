package readmodel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/failpoint"
)

// Apply brings the active generation from a checkpoint to the last of the events,
// in one transaction with the rows, and returns the new checkpoint. The events
// follow the checkpoint without a gap and end with a whole change set.
//
// Moving the checkpoint is also the fence against a second projector: when the
// checkpoint in the tables is not from, or another generation has become the
// active one, nothing changes and the error is [ErrFenced]. An event that this
// program does not understand is a [*config.UnknownEventError], and nothing
// changes either. One that can't be applied for another reason of its own parks
// its name.
func (s *Store) Apply(ctx context.Context, from Checkpoint, epoch string, events []config.Event) (Checkpoint, error) {
	return s.apply(ctx, from, epoch, events, true)
}

// ApplyIdle is Apply to a generation that is not read.
func (s *Store) ApplyIdle(ctx context.Context, from Checkpoint, epoch string, events []config.Event) (Checkpoint, error) {
	return s.apply(ctx, from, epoch, events, false)
}

func (s *Store) apply(ctx context.Context, from Checkpoint, epoch string, events []config.Event, active bool) (Checkpoint, error) {
	if err := follows(from, epoch, events); err != nil {
		return from, err
	}
	parked, err := parkedNames(ctx, s.pool, from)
	if err != nil {
		return from, fmt.Errorf("parked names: %w", err)
	}
	last := &events[len(events)-1]
	var refused map[int64]string
	for {
		entries, wait, fresh, err := sortEvents(events, parked, refused)
		if err != nil {
			return from, err
		}
		to := Checkpoint{Generation: from.Generation, Epoch: epoch, Position: last.Position, Hash: last.Hash, RecordedAt: last.RecordedAt, Revision: from.Revision}
		if fresh > 0 {
			to.Revision++
		}
		err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			due, err := apply(ctx, tx, from, to, entries, wait, s.snapshotEvery, active)
			if err != nil {
				return err
			}
			err = takeSnapshots(ctx, tx, to, due)
			failpoint.Hit("apply-before-commit")
			return err
		})
		switch _, own := rowReason(err); {
		case err == nil:
			return to, nil
		case errors.Is(err, ErrFenced):
			return from, ErrFenced
		case own && refused == nil:
			if refused, err = s.refusals(ctx, from.Generation, entries); err == nil && len(refused) > 0 {
				continue
			}
		}
		return from, fmt.Errorf("apply events %d to %d: %w", events[0].Position, last.Position, err)
	}
}

func follows(from Checkpoint, epoch string, events []config.Event) error {
	switch {
	case len(events) == 0:
		return errors.New("no events to apply")
	case from.Position > 0 && from.Epoch != epoch:
		return fmt.Errorf("events of log %s can't follow a checkpoint of log %s", epoch, from.Epoch)
	}
	for i := range events {
		if want := from.Position + int64(i) + 1; events[i].Position != want {
			return fmt.Errorf("event %d came where %d was expected", events[i].Position, want)
		}
	}
	if last := &events[len(events)-1]; last.Position != last.Commit {
		return fmt.Errorf("event %d is not the last of its change set, which ends at %d", last.Position, last.Commit)
	}
	return nil
}

// apply moves the checkpoint and writes the rows, and returns the namespaces
// whose next snapshot is due.
func apply(ctx context.Context, tx pgx.Tx, from, to Checkpoint, entries []Entry, wait []waiting, snapshotEvery int64, active bool) (due []string, err error) {
	fenced := false
	var pipeline pgx.Batch
	if active { // and stays so until the transaction ends: see Flip
		pipeline.Queue(`select generation from readmodel.active for share`).QueryRow(func(row pgx.Row) error {
			var generation int64
			err := row.Scan(&generation)
			if fenced = err == nil && generation != from.Generation; fenced {
				return ErrFenced
			}
			return err
		})
	}
	pipeline.Queue(`update readmodel.checkpoint set epoch = $3, position = $4, hash = $5, recorded_at = $6, revision = $8
		where generation = $1 and position = $2 and epoch = $7 and revision = $9`,
		from.Generation, from.Position, to.Epoch, to.Position, to.Hash[:], to.RecordedAt, from.Epoch, to.Revision, from.Revision,
	).Exec(func(moved pgconn.CommandTag) error {
		if fenced = fenced || moved.RowsAffected() == 0; fenced {
			return ErrFenced
		}
		return nil
	})
	if err := queueWaiting(&pipeline, from.Generation, wait); err != nil {
		return nil, err
	}
	pipeline.Queue(tables(from.Generation, insertHistorySQL), historyArrays(entries)...)
	pipeline.Queue(tables(from.Generation, upsertCurrentSQL), currentArrays(latestOf(entries))...)
	pipeline.Queue(tables(from.Generation, countPendingSQL), append(pendingArrays(entries), snapshotEvery)...).Query(func(rows pgx.Rows) (err error) {
		due, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	err = tx.SendBatch(ctx, &pipeline).Close()
	if fenced {
		return nil, ErrFenced // whatever else went wrong on the wrong checkpoint
	}
	return due, err
}

// latestOf folds the entries to the last of each config.
func latestOf(entries []Entry) []Row {
	at := make(map[[2]string]int, len(entries))
	var rows []Row
	for i := range entries {
		row := entries[i].Row
		key := [2]string{row.Namespace, row.Name}
		if j, seen := at[key]; seen {
			rows[j] = row
			continue
		}
		at[key] = len(rows)
		rows = append(rows, row)
	}
	return rows
}

// Arrays are taken apart in the list of what is selected, where each row goes on as it
// comes; in from, all rows would be collected first.
const upsertCurrentSQL = `insert into $current
	(namespace, name, value, version, position, deleted, updated_at, updated_by, reason, correlation_id)
	select unnest($1::text[]), unnest($2::text[]), unnest($3::bytea[]), unnest($4::bigint[]), unnest($5::bigint[]), unnest($6::boolean[]),
	 unnest($7::timestamptz[]), unnest($8::text[]), unnest($9::text[]), unnest($10::text[])
	on conflict (namespace, name) do update set
		value = excluded.value, version = excluded.version, position = excluded.position, deleted = excluded.deleted,
		updated_at = excluded.updated_at, updated_by = excluded.updated_by, reason = excluded.reason,
		correlation_id = excluded.correlation_id`

const insertHistorySQL = `insert into $history
	(namespace, name, value, version, position, deleted, recorded_at, actor, reason, correlation_id,
	 type, old_value, commit_position, request_id, event_id, command_id)
	select unnest($1::text[]), unnest($2::text[]), unnest($3::bytea[]), unnest($4::bigint[]), unnest($5::bigint[]), unnest($6::boolean[]),
	 unnest($7::timestamptz[]), unnest($8::text[]), unnest($9::text[]), unnest($10::text[]),
	 unnest($11::text[]), unnest($12::bytea[]), unnest($13::bigint[]), unnest($14::text[]), unnest($15::uuid[]), unnest($16::uuid[])`

func currentArrays(rows []Row) []any {
	n := len(rows)
	var (
		namespaces, names, actors, reasons, correlations = make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		values                                           = make(pgtype.FlatArray[[]byte], n)
		versions, positions                              = make([]int64, n), make([]int64, n)
		deleted                                          = make(pgtype.FlatArray[bool], n)
		times                                            = make(pgtype.FlatArray[time.Time], n)
	)
	for i := range rows {
		r := &rows[i]
		namespaces[i], names[i], values[i], versions[i], positions[i] = r.Namespace, r.Name, r.Value, r.Version, r.Position
		deleted[i], times[i], actors[i], reasons[i], correlations[i] = r.Deleted, r.UpdatedAt, r.UpdatedBy, r.Reason, r.CorrelationID
	}
	return []any{namespaces, names, values, versions, positions, deleted, times, actors, reasons, correlations}
}

func historyArrays(entries []Entry) []any {
	n := len(entries)
	var (
		rows                 = make([]Row, n)
		types, requests      = make([]string, n), make([]string, n)
		old                  = make(pgtype.FlatArray[[]byte], n)
		commits              = make([]int64, n)
		eventIDs, commandIDs = make(pgtype.FlatArray[pgtype.UUID], n), make(pgtype.FlatArray[pgtype.UUID], n)
	)
	for i := range entries {
		e := &entries[i]
		rows[i], types[i], old[i], commits[i] = e.Row, string(e.Type), e.OldValue, e.Commit
		requests[i], eventIDs[i], commandIDs[i] = e.RequestID, idOf(e.EventID), idOf(e.CommandID)
	}
	return append(currentArrays(rows), types, old, commits, requests, eventIDs, commandIDs)
}

// idOf is null, which Postgres refuses, when the text is no UUID.
func idOf(text string) pgtype.UUID {
	id, err := uuid.Parse(text)
	return pgtype.UUID{Bytes: id, Valid: err == nil}
}
