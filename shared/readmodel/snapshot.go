package readmodel

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A namespace as of a position is its newest snapshot up to there, with what
// came after that in the namespace's history. Both are bounded by the size of
// the answer, so it costs the same however long the log is. (Walking the history
// of each name costs the same number of steps, but in a long log each step is on
// another page.)

const (
	// defaultSnapshotEvery is the least number of events of a namespace
	// between two snapshots.
	defaultSnapshotEvery = 1000
	// maxSnapshotSize is the most bytes of values of a snapshot: the arrays of
	// a row have a limit of 1 GB. A larger namespace is read by walks.
	maxSnapshotSize = 64 << 20
	// rowSize is about what a row takes beside its value, in bytes.
	rowSize = 200
)

// countPendingSQL counts what a batch adds, and returns the namespaces whose
// snapshot is due: when enough has come in to make it worth the space. What all
// snapshots take is so at most about what the history takes.
const countPendingSQL = `with counted as (
		insert into $pending as p (namespace, events, bytes)
		select * from unnest($1::text[], $2::bigint[], $3::bigint[])
		on conflict (namespace) do update set events = p.events + excluded.events, bytes = p.bytes + excluded.bytes
		returning *
	)
	select namespace from counted where events >= greatest(names, $4) and bytes >= size`

func pendingArrays(entries []Entry) []any {
	var namespaces []string
	var events, bytes []int64
	at := map[string]int{}
	for i := range entries {
		e := &entries[i]
		j, seen := at[e.Namespace]
		if !seen {
			j = len(namespaces)
			at[e.Namespace] = j
			namespaces, events, bytes = append(namespaces, e.Namespace), append(events, 0), append(bytes, 0)
		}
		events[j]++
		bytes[j] += rowSize + int64(len(e.Value))
	}
	return []any{namespaces, events, bytes}
}

const takeSnapshotSQL = `with live as (
		select name, value, version, position, updated_at, updated_by, reason, correlation_id
		from $current where namespace = $1 and not deleted
	), measured as (
		select count(*) as names, coalesce(sum(length(value) + $3::bigint), 0) as size from live
	), taken as (
		insert into $snapshot (namespace, position, names, "values", versions, positions, updated_at, updated_by, reasons, correlation_ids)
		select $1, $2, array_agg(name), array_agg(value), array_agg(version), array_agg(position),
			array_agg(updated_at), array_agg(updated_by), array_agg(reason), array_agg(correlation_id)
		from live where (select size from measured) <= $4
	)
	update $pending set events = 0, bytes = 0, names = measured.names, size = measured.size
	from measured where namespace = $1`

// takeSnapshots writes the snapshots of namespaces as of the checkpoint.
func takeSnapshots(ctx context.Context, tx pgx.Tx, at Checkpoint, namespaces []string) error {
	if len(namespaces) == 0 {
		return nil
	}
	var pipeline pgx.Batch
	for _, namespace := range namespaces {
		pipeline.Queue(tables(at.Generation, takeSnapshotSQL), namespace, at.Position, rowSize, maxSnapshotSize)
	}
	if err := tx.SendBatch(ctx, &pipeline).Close(); err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	return nil
}

// baseSQL finds the newest snapshot up to a position. Names is null if there is
// one that would have been too large.
const baseSQL = `select position, cardinality(names) from $snapshot
	where namespace = $1 and position <= $2 order by position desc limit 1`

// sinceSQL takes the last of each name from a snapshot and what came after it.
// (A sort of both, since the planner can't know how many rows an array has, and
// joins them row by row. And positions first, which the index of namespaces and
// positions has alone: with one condition on the rows it reads all that came since
// by the index of positions, and throws away what is of other namespaces, as it takes
// those of one namespace to lie scattered.)
const sinceSQL = `select ` + pastColumns + ` from (
		select distinct on (name) * from (
			select ` + pastColumns + ` from $history
			where namespace = $1 and name > $2 and name >= $3 and name < $4 and position = any (array(
				select position from $history where namespace = $1 and position > $7 and position <= $5))
			union all
			select s.namespace, u.name collate "C", value, version, u.position, false, recorded_at, actor, reason, correlation_id from $snapshot s
			cross join unnest(names, "values", versions, positions, updated_at, updated_by, reasons, correlation_ids)
				as u (name, value, version, position, recorded_at, actor, reason, correlation_id)
			where s.namespace = $1 and s.position = $7
				and u.name collate "C" > $2 and u.name collate "C" >= $3 and u.name collate "C" < $4
		) as rows
		order by name, position desc
	) as latest
	where not deleted order by name limit $6`

// walkFrom is how many times larger than what is asked for a namespace must be,
// to be read by a walk from name to name rather than from a snapshot.
const walkFrom = 4

// past returns the live configs of a namespace as of a position, by name: those
// with names after one, from another on, and before a third.
func (v snapshot) past(namespace, after, from, to string, limit int, position int64) ([]Row, error) {
	rows, err := v.query(baseSQL, namespace, position)
	if err != nil {
		return nil, err
	}
	var base int64
	var names *int64
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (bool, error) { return true, row.Scan(&base, &names) })
	if err != nil {
		return nil, err
	}
	switch {
	case len(found) == 0: // all that there was is less than a snapshot
		return collectRows(v.query(sinceSQL, namespace, after, from, to, position, limit, 0))
	case names == nil || *names > int64(walkFrom*limit):
		return collectRows(v.query(walkSQL, namespace, after, from, to, position, limit))
	default:
		return collectRows(v.query(sinceSQL, namespace, after, from, to, position, limit, base))
	}
}
