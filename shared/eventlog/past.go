package eventlog

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/config-api/config-api/shared/config"
)

// PositionAt returns the position that a time stands for: that of the last change
// set that had begun to be recorded, 0 if there is none.
func (l *Log) PositionAt(ctx context.Context, t time.Time) (int64, error) {
	defer l.stats.Queries.Since("position_at", time.Now())
	var position int64
	err := l.pool.QueryRow(ctx, `select coalesce(
		(select commit_position from eventstore.events where recorded_at <= $1 order by recorded_at desc limit 1), 0)`, t).Scan(&position)
	if err != nil {
		return 0, fmt.Errorf("position at a time: %w", err)
	}
	return position, nil
}

// Names returns the names of all configs that a namespace has ever had, by
// name. It skips from name to name on the index, whatever the number of events.
func (l *Log) Names(ctx context.Context, namespace string) ([]string, error) {
	return l.names(ctx, `with recursive names as (
			(select name from eventstore.events where namespace = $1 and name >= '-' order by name limit 1)
			union all
			select (select e.name from eventstore.events e where namespace = $1 and e.name > n.name order by e.name limit 1)
			from names n where n.name is not null
		)
		select name from names where name is not null`, namespace)
}

// ChangedSince returns the names of the configs of a namespace that have events
// after a position, by name.
func (l *Log) ChangedSince(ctx context.Context, namespace string, position int64) ([]string, error) {
	return l.names(ctx, `select distinct name from eventstore.events
		where namespace = $1 and position > $2 and name >= '-' order by name`, namespace, position)
}

func (l *Log) names(ctx context.Context, sql string, args ...any) ([]string, error) {
	defer l.stats.Queries.Since("names", time.Now())
	rows, err := l.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("names: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("names: %w", err)
	}
	return names, nil
}

// States returns what each of the names was at a position; a name that was not
// there yet is left out.
func (l *Log) States(ctx context.Context, namespace string, names []string, position int64) (map[string]config.State, error) {
	positions := make([]int64, len(names))
	for i := range positions {
		positions[i] = position
	}
	return l.states(ctx, namespace, names, positions)
}

func (l *Log) states(ctx context.Context, namespace string, names []string, positions []int64) (map[string]config.State, error) {
	defer l.stats.Queries.Since("states", time.Now())
	rows, err := l.pool.Query(ctx, `select k.name, e.version, e.position, e.type, e.schema_version, e.data
		from unnest($2::text[], $3::bigint[]) as k (name, position)
		cross join lateral (
			select version, position, type, schema_version, data from eventstore.events
			where namespace = $1 and name = k.name and position <= k.position
			order by version desc limit 1
		) as e`, namespace, names, positions)
	if err != nil {
		return nil, fmt.Errorf("states: %w", err)
	}
	states := make(map[string]config.State, len(names))
	var e config.Event
	_, err = pgx.ForEachRow(rows, []any{&e.Name, &e.Version, &e.Position, &e.Type, &e.SchemaVersion, &e.Data}, func() error {
		state, err := config.State{}.Apply(&e)
		if err != nil {
			return config.Errorf(config.Conflict, "%s in %s can't be read as of version %d: %v", e.Name, namespace, e.Version, err)
		}
		states[e.Name] = state
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("states: %w", err)
	}
	return states, nil
}

// ChangeSet is what the configs of one correlation id were before its first
// change of each, and after its last.
type ChangeSet struct {
	Before, After map[string]config.State
}

// ChangeSet returns the changes with a correlation id in a namespace; both maps
// are empty if there are none.
func (l *Log) ChangeSet(ctx context.Context, namespace, correlationID string) (ChangeSet, error) {
	defer l.stats.Queries.Since("change_set", time.Now())
	rows, err := l.pool.Query(ctx, `select name, min(position) - 1, max(position) from eventstore.events
		where correlation_id = $2 and namespace = $1 and name >= '-' group by name order by name`, namespace, correlationID)
	if err != nil {
		return ChangeSet{}, fmt.Errorf("change set: %w", err)
	}
	var names []string
	var before, after []int64
	var name string
	var first, last int64
	_, err = pgx.ForEachRow(rows, []any{&name, &first, &last}, func() error {
		names, before, after = append(names, name), append(before, first), append(after, last)
		return nil
	})
	if err != nil {
		return ChangeSet{}, fmt.Errorf("change set: %w", err)
	}
	var set ChangeSet
	if set.Before, err = l.states(ctx, namespace, names, before); err != nil {
		return ChangeSet{}, err
	}
	if set.After, err = l.states(ctx, namespace, names, after); err != nil {
		return ChangeSet{}, err
	}
	return set, nil
}

// Values calls f with the events that set the values of the names matching a
// pattern, as of a position: the latest of each name, current being true, and
// with past also all earlier ones. f also sees deletions.
func (l *Log) Values(ctx context.Context, namespace, pattern string, position int64, past bool, f func(e *config.Event, current bool) error) error {
	defer l.stats.Queries.Since("values", time.Now())
	const sql = `select name, version, position, type, schema_version, data,
			version = max(version) over (partition by name) as current
		from eventstore.events
		where namespace = $1 and name >= '-' and position <= $2 and (name = $3 or $4 and starts_with(name, $3))`
	prefix, wild := strings.CutSuffix(pattern, "*")
	rows, err := l.pool.Query(ctx, `select * from (`+sql+`) as e where current or $5 order by name, version`,
		namespace, position, prefix, wild, past)
	if err != nil {
		return fmt.Errorf("values: %w", err)
	}
	e := config.Event{Namespace: namespace}
	var current bool
	_, err = pgx.ForEachRow(rows, []any{&e.Name, &e.Version, &e.Position, &e.Type, &e.SchemaVersion, &e.Data, &current}, func() error {
		return f(&e, current)
	})
	if err != nil {
		return fmt.Errorf("values: %w", err)
	}
	return nil
}

// Known returns the stored outcome of a command with this key, and whether
// there is one. The same key with another request is a [config.KeyReused].
func (l *Log) Known(ctx context.Context, cmd Command) (Outcome, bool, error) {
	if cmd.Key == "" {
		return Outcome{}, false, nil
	}
	defer l.stats.Queries.Since("known", time.Now())
	state := batchState{known: map[string]knownCommand{}}
	id := CommandID(cmd.Key)
	rows, err := l.pool.Query(ctx, knownSQL, []string{id})
	if err == nil {
		err = state.scanKnown(rows)
	}
	if err != nil {
		return Outcome{}, false, fmt.Errorf("known command: %w", err)
	}
	known, ok := state.known[id]
	if !ok {
		return Outcome{}, false, nil
	}
	out, err := known.replay(cmd)
	return out, err == nil, err
}
