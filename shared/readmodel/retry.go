package readmodel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/config-api/config-api/shared/config"
)

// Retried is what trying a parked name again did.
type Retried struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Applied   int64  `json:"applied"` // events
	// Position and Reason are of the event that still can't be applied; zero if
	// none is left.
	Position int64  `json:"position,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// Retry applies the events of a parked name, in order, up to the first that still
// can't be applied, in one transaction in which the projection stands still. The
// error is [config.NotFound] if the name is not parked.
func (s *Store) Retry(ctx context.Context, namespace, name string) (Retried, error) {
	done := Retried{Namespace: namespace, Name: name}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var generation int64
		if err := tx.QueryRow(ctx, `select generation from readmodel.active for share`).Scan(&generation); err != nil {
			return err
		}
		// The projector moves this row with each batch.
		if _, err := tx.Exec(ctx, `update readmodel.checkpoint set revision = revision + 1 where generation = $1`, generation); err != nil {
			return err
		}
		queue, err := queueOf(ctx, tx, generation, namespace, name)
		if err != nil {
			return err
		}
		if len(queue) == 0 {
			return config.Errorf(config.NotFound, "%s in %s is not parked", name, namespace)
		}
		for i := range queue {
			done.Reason, err = tryOne(ctx, tx, generation, &queue[i])
			if err != nil {
				return err
			}
			if done.Reason != "" {
				done.Position = queue[i].Position
				_, err := tx.Exec(ctx, `update readmodel.parked set reason = $3 where generation = $1 and position = $2`, generation, done.Position, done.Reason)
				if err != nil {
					return err
				}
				break
			}
			done.Applied++
		}
		if done.Applied == 0 {
			return nil
		}
		last := queue[done.Applied-1].Position
		if _, err := tx.Exec(ctx, `delete from readmodel.parked where generation = $1 and namespace = $2 and name = $3 and position <= $4`,
			generation, namespace, name, last); err != nil {
			return err
		}
		return forgetSnapshots(ctx, tx, generation, namespace, queue[0].Position)
	})
	var refused *config.Error
	if err != nil && !errors.As(err, &refused) {
		err = fmt.Errorf("retry %s in %s: %w", name, namespace, err)
	}
	return done, err
}

func queueOf(ctx context.Context, tx pgx.Tx, generation int64, namespace, name string) ([]config.Event, error) {
	rows, err := tx.Query(ctx, `select record from readmodel.parked
		where generation = $1 and namespace = $2 and name = $3 order by position`, generation, namespace, name)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (config.Event, error) {
		var text []byte
		if err := row.Scan(&text); err != nil {
			return config.Event{}, err
		}
		var record config.Record
		if err := json.Unmarshal(text, &record); err != nil {
			return config.Event{}, err
		}
		return record.Event()
	})
}

// tryOne applies one event, or returns the reason why it can't be.
func tryOne(ctx context.Context, tx pgx.Tx, generation int64, e *config.Event) (reason string, err error) {
	entry, err := EntryOf(e)
	if err != nil {
		return err.Error(), nil //nolint:nilerr // the error is the reason
	}
	err = applyOrNone(ctx, tx, generation, []Entry{entry})
	if reason, own := rowReason(err); own {
		return reason, nil
	}
	return "", err
}

// forgetSnapshots removes the snapshots of a namespace that lack a name's events
// from a position on, and counts anew what came after the newest that is left.
func forgetSnapshots(ctx context.Context, tx pgx.Tx, generation int64, namespace string, position int64) error {
	if _, err := tx.Exec(ctx, tables(generation, `delete from $snapshot where namespace = $1 and position >= $2`), namespace, position); err != nil {
		return err
	}
	const sql = `with newest as (
			select position, cardinality(names) as names, (select sum(length(v) + $2::bigint) from unnest("values") as v) as size
			from $snapshot where namespace = $1 order by position desc limit 1
		), since as (
			select count(*) as events, coalesce(sum(coalesce(length(value), 0) + $2::bigint), 0) as bytes
			from $history where namespace = $1 and position > coalesce((select position from newest), 0)
		)
		insert into $pending (namespace, events, bytes, names, size)
		select $1, events, bytes, coalesce((select names from newest), 0), coalesce((select size from newest), 0) from since
		on conflict (namespace) do update set
			events = excluded.events, bytes = excluded.bytes, names = excluded.names, size = excluded.size`
	_, err := tx.Exec(ctx, tables(generation, sql), namespace, int64(rowSize))
	return err
}
