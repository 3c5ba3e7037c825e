package readmodel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/config-api/config-api/shared/config"
)

// Latest stands for the present: it is a position that no event has yet.
const Latest = int64(1) << 62

// All reads of the past are walks of an index that stop when they have what
// they need: what they cost does not depend on how much history there is.

const currentColumns = `namespace, name, value, version, position, deleted, updated_at, updated_by, reason, correlation_id`

// pastColumns are those of a Row, from the history.
const pastColumns = `namespace, name, value, version, position, deleted, recorded_at, actor, reason, correlation_id`

const entryColumns = pastColumns + `, type, old_value, commit_position, request_id, event_id::text, command_id::text`

func (r *Row) fields() []any {
	return []any{
		&r.Namespace, &r.Name, (*[]byte)(&r.Value), &r.Version, &r.Position, &r.Deleted,
		&r.UpdatedAt, &r.UpdatedBy, &r.Reason, &r.CorrelationID,
	}
}

func scanRow(row pgx.CollectableRow) (Row, error) {
	var r Row
	err := row.Scan(r.fields()...)
	r.UpdatedAt = r.UpdatedAt.UTC()
	return r, err
}

func scanEntry(row pgx.CollectableRow) (Entry, error) {
	var e Entry
	err := row.Scan(append(e.fields(), &e.Type, (*[]byte)(&e.OldValue), &e.Commit, &e.RequestID, &e.EventID, &e.CommandID)...)
	e.UpdatedAt = e.UpdatedAt.UTC()
	return e, err
}

func collectRows(rows pgx.Rows, err error) ([]Row, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanRow)
}

func collectEntries(rows pgx.Rows, err error) ([]Entry, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanEntry)
}

// Load calls f with every row of the active generation, deleted ones and the
// streams of schemas too, as of one checkpoint.
func (s *Store) Load(ctx context.Context, f func(Row) error) (Checkpoint, error) {
	return s.snapshot(ctx, "load", func(v snapshot) error {
		if _, err := v.tx.Exec(ctx, `set local statement_timeout = 0`); err != nil {
			return err
		}
		rows, err := v.query(`select ` + currentColumns + ` from $current`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			row, err := scanRow(rows)
			if err != nil {
				return err
			}
			if err := f(row); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// getSQL walks the history's key backwards and stops at the first row.
const getSQL = `select ` + pastColumns + ` from $history
	where namespace = $1 and name = $2 and position <= $3 order by position desc limit 1`

// Get returns a config, or the stream of a schema, as of a position: its
// Version is 0 if it was not there yet. The error is [config.Parked] if it is not
// known what it was, because an event up to there can't be applied.
func (s *Store) Get(ctx context.Context, namespace, name string, position int64) (Row, Checkpoint, error) {
	row := Row{Namespace: namespace, Name: name}
	checkpoint, err := s.snapshot(ctx, "get", func(v snapshot) (err error) {
		if parked := v.parked.Find(namespace, name, position); parked != nil {
			return parked.Error()
		}
		row, err = v.get(namespace, name, position)
		return err
	})
	return row, checkpoint, err
}

func (v snapshot) get(namespace, name string, position int64) (Row, error) {
	rows, err := v.query(getSQL, namespace, name, position)
	if err != nil {
		return Row{}, err
	}
	row, err := pgx.CollectExactlyOneRow(rows, scanRow)
	if errors.Is(err, pgx.ErrNoRows) {
		return Row{Namespace: namespace, Name: name}, nil
	}
	return row, err
}

// walkSQL takes the names from the current table, which has all that ever were,
// and of each the last row of the history up to the position. In the order of
// the names' own index the walk ends at the limit.
const walkSQL = `select h.namespace, h.name, h.value, h.version, h.position, h.deleted, h.recorded_at, h.actor, h.reason, h.correlation_id
	from $current as c
	cross join lateral (
		select ` + pastColumns + ` from $history
		where namespace = c.namespace and name = c.name and position <= $5
		order by position desc limit 1
	) as h
	where c.namespace = $1 and c.name > $2 and c.name >= $3 and c.name < $4 and not h.deleted
	order by c.name limit $6`

// List returns the live configs of a namespace as of a position, by name: those
// whose names have the prefix and come after a name.
func (s *Store) List(ctx context.Context, namespace, prefix, after string, limit int, position int64) ([]Row, Checkpoint, error) {
	return s.list(ctx, namespace, max(prefix, "-"), prefix+"\x7f", after, limit, position)
}

// Schemas returns the live schemas of a namespace as of a position, by pattern.
func (s *Store) Schemas(ctx context.Context, namespace string, position int64) ([]Row, Checkpoint, error) {
	prefix := config.SchemaStream("")
	return s.list(ctx, namespace, prefix, prefix+"\x7f", "", maxSchemas, position)
}

// maxSchemas is the most schemas of a namespace that are listed.
const maxSchemas = 10_000

func (s *Store) list(ctx context.Context, namespace, from, to, after string, limit int, position int64) ([]Row, Checkpoint, error) {
	var found []Row
	checkpoint, err := s.snapshot(ctx, "list", func(v snapshot) (err error) {
		found, err = v.past(namespace, after, from, to, limit, position)
		return err
	})
	return found, checkpoint, err
}

// HistoryQuery says which events of a config.
type HistoryQuery struct {
	After      int64 // continue after this event, in the order; 0 begins
	Until      int64 // none after this position; [Latest] is no bound
	Limit      int
	Descending bool // newest first
}

// History returns the events of a config in order. The error can be
// [config.Parked], as that of Get.
func (s *Store) History(ctx context.Context, namespace, name string, q HistoryQuery) ([]Entry, Checkpoint, error) {
	sql := `select ` + entryColumns + ` from $history where namespace = $1 and name = $2 and position > $3 and position <= $4
		order by position limit $5`
	low, high := q.After, q.Until
	if q.Descending {
		sql = `select ` + entryColumns + ` from $history where namespace = $1 and name = $2 and position > $3 and position <= $4
			order by position desc limit $5`
		low = 0
		if q.After > 0 {
			high = min(q.After-1, q.Until)
		}
	}
	var found []Entry
	checkpoint, err := s.snapshot(ctx, "history", func(v snapshot) (err error) {
		if parked := v.parked.Find(namespace, name, q.Until); parked != nil {
			return parked.Error()
		}
		found, err = collectEntries(v.query(sql, namespace, name, low, high, q.Limit))
		return err
	})
	return found, checkpoint, err
}

// Between returns the events of a namespace after one position up to another,
// oldest first.
func (s *Store) Between(ctx context.Context, namespace string, after, to int64, limit int) ([]Entry, Checkpoint, error) {
	var found []Entry
	checkpoint, err := s.snapshot(ctx, "events", func(v snapshot) (err error) {
		found, err = v.between(namespace, after, to, limit)
		return err
	})
	return found, checkpoint, err
}

func (v snapshot) between(namespace string, after, to int64, limit int) ([]Entry, error) {
	return collectEntries(v.query(`select `+entryColumns+` from $history
		where namespace = $1 and position > $2 and position <= $3 order by position limit $4`, namespace, after, to, limit))
}

// Diff is what happened in a namespace between two positions.
type Diff struct {
	Changes []Change // of each config with events in between, by name
	Events  []Entry  // oldest first
}

// Change is a config before and after; a Version of 0 means that there was none.
type Change struct{ Before, After Row }

// diffSQL takes the names with events in between, and of each the last row up to
// either position. The first is missing if the config was not there yet.
const diffSQL = `select h.namespace, h.name, h.value, h.version, h.position, h.deleted, h.recorded_at, h.actor, h.reason, h.correlation_id
	from (select distinct name from $history
		where namespace = $1 and position > $2 and position <= $3 and name >= '-') as n
	cross join lateral (
		(select ` + pastColumns + ` from $history
			where namespace = $1 and name = n.name and position <= $2 order by position desc limit 1)
		union all
		(select ` + pastColumns + ` from $history
			where namespace = $1 and name = n.name and position <= $3 order by position desc limit 1)
	) as h
	order by h.name, h.position`

// Diff returns what happened in a namespace after one position up to another,
// with at most limit of the events.
func (s *Store) Diff(ctx context.Context, namespace string, from, to int64, limit int) (Diff, Checkpoint, error) {
	var d Diff
	checkpoint, err := s.snapshot(ctx, "diff", func(v snapshot) error {
		rows, err := collectRows(v.query(diffSQL, namespace, from, to))
		if err != nil {
			return err
		}
		d = Diff{}
		var before Row
		for _, row := range rows {
			if row.Position <= from {
				before = row
				continue
			}
			if before.Name != row.Name {
				before = Row{Namespace: namespace, Name: row.Name}
			}
			d.Changes = append(d.Changes, Change{Before: before, After: row})
		}
		d.Events, err = v.between(namespace, from, to, limit)
		return err
	})
	return d, checkpoint, err
}

// PositionAt returns the position that a time stands for: that of the last change
// set that had begun to be recorded, 0 if there is none. The events of a set have
// times a microsecond apart, and no time shows a part of one.
func (s *Store) PositionAt(ctx context.Context, t time.Time) (int64, Checkpoint, error) {
	var position int64
	checkpoint, err := s.snapshot(ctx, "position at a time", func(v snapshot) error {
		sql := `select commit_position from $history where recorded_at <= $1 order by recorded_at desc limit 1`
		if v.parked != nil { // what waits has its time, too
			sql = fmt.Sprintf(`select commit_position from ((%s) union all
				(select commit_position from readmodel.parked where generation = %d and recorded_at <= $1 order by position desc limit 1)) as last
				order by commit_position desc limit 1`, sql, v.generation)
		}
		rows, err := v.query(sql, t)
		if err != nil {
			return err
		}
		position, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[int64])
		if errors.Is(err, pgx.ErrNoRows) {
			position, err = 0, nil
		}
		return err
	})
	return position, checkpoint, err
}

// Namespace is a namespace that has, or had, configs.
type Namespace struct {
	Name      string    `json:"namespace"`
	Configs   int64     `json:"configs"` // live ones
	Position  int64     `json:"position"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Namespaces returns all namespaces with their counts, as of a position, by
// name. It visits every config.
func (s *Store) Namespaces(ctx context.Context, position int64) ([]Namespace, Checkpoint, error) {
	var found []Namespace
	checkpoint, err := s.snapshot(ctx, "namespaces", func(v snapshot) error {
		rows, err := v.query(`select c.namespace, count(*) filter (where not h.deleted and c.name >= '-'), max(h.position), max(h.recorded_at)
			from $current c
			cross join lateral (
				select deleted, position, recorded_at from $history
				where namespace = c.namespace and name = c.name and position <= $1
				order by position desc limit 1
			) as h
			group by c.namespace order by c.namespace`, position)
		if err != nil {
			return err
		}
		found, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (Namespace, error) {
			var n Namespace
			err := row.Scan(&n.Name, &n.Configs, &n.Position, &n.UpdatedAt)
			n.UpdatedAt = n.UpdatedAt.UTC()
			return n, err
		})
		return err
	})
	return found, checkpoint, err
}
