package readmodel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/pg"
)

// An event that can't be applied for a reason of its own (its data can't be read,
// or Postgres refuses the row) parks its name: it and all later events of the
// name wait in a table, in order, until somebody has them tried again. Nothing is
// skipped, and the other names go on.

// Parked is a name that is parked.
type Parked struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Position  int64     `json:"position"` // of the event that can't be applied
	Events    int64     `json:"events"`   // that wait: it and those behind it
	Reason    string    `json:"reason"`
	Since     time.Time `json:"since"` // when that event was recorded
}

// Error is what a read of the name is answered.
func (p *Parked) Error() error {
	return config.Errorf(config.Parked, "%s in %s is parked: event %d can't be applied (%s), and %d more wait behind it: see \"A name is parked\" in docs/operations.md",
		p.Name, p.Namespace, p.Position, p.Reason, p.Events-1)
}

// ParkedNames are the names that are parked. The nil one has none.
type ParkedNames struct{ names map[streamKey]*Parked }

type streamKey struct{ namespace, name string }

// Find returns the name if it is parked, and was at a position.
func (n *ParkedNames) Find(namespace, name string, position int64) *Parked {
	if n == nil {
		return nil
	}
	if p := n.names[streamKey{namespace, name}]; p != nil && p.Position <= position {
		return p
	}
	return nil
}

// In returns the names of a namespace that were parked at a position.
func (n *ParkedNames) In(namespace string, position int64) []*Parked {
	var found []*Parked
	if n != nil {
		for key, p := range n.names {
			if key.namespace == namespace && p.Position <= position {
				found = append(found, p)
			}
		}
	}
	return found
}

// With returns the names and one more; n itself stays as it is.
func (n *ParkedNames) With(p Parked) *ParkedNames {
	more := &ParkedNames{names: map[streamKey]*Parked{{p.Namespace, p.Name}: &p}}
	if n != nil {
		for key, old := range n.names {
			more.names[key] = old
		}
	}
	return more
}

const parkedSQL = `select namespace, name, min(position), count(*),
		coalesce((array_agg(reason order by position))[1], ''), min(recorded_at)
	from readmodel.parked where generation = $1 group by namespace, name order by namespace, name`

func scanParked(row pgx.CollectableRow) (Parked, error) {
	var p Parked
	err := row.Scan(&p.Namespace, &p.Name, &p.Position, &p.Events, &p.Reason, &p.Since)
	p.Since = p.Since.UTC()
	return p, err
}

// Parked returns the names of the active generation that are parked, by name.
func (s *Store) Parked(ctx context.Context) ([]Parked, error) {
	rows, err := s.pool.Query(ctx, strings.Replace(parkedSQL, "$1", "(select generation from readmodel.active)", 1))
	if err != nil {
		return nil, fmt.Errorf("parked names: %w", err)
	}
	found, err := pgx.CollectRows(rows, scanParked)
	if err != nil {
		return nil, fmt.Errorf("parked names: %w", err)
	}
	return found, nil
}

// querier is a pool, a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// parkedNames returns those of a checkpoint; it asks only if there ever were any.
func parkedNames(ctx context.Context, q querier, c Checkpoint) (*ParkedNames, error) {
	if c.Revision == 0 {
		return nil, nil
	}
	rows, err := q.Query(ctx, parkedSQL, c.Generation)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, scanParked)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	names := &ParkedNames{names: make(map[streamKey]*Parked, len(found))}
	for i := range found {
		names.names[streamKey{found[i].Namespace, found[i].Name}] = &found[i]
	}
	return names, nil
}

// waiting is an event that is not applied.
type waiting struct {
	event  *config.Event
	reason string // "" if it only waits behind another
}

// sort tells the events that can be applied from those that wait, given what is
// parked and which positions are known to be refused. fresh is how many names
// were not parked before. The error is a [*config.UnknownEventError].
func sortEvents(events []config.Event, parked *ParkedNames, refused map[int64]string) (entries []Entry, wait []waiting, fresh int, err error) {
	entries = make([]Entry, 0, len(events))
	newly := map[streamKey]bool{}
	for i := range events {
		e := &events[i]
		key := streamKey{e.Namespace, e.Name}
		if newly[key] || parked.Find(e.Namespace, e.Name, e.Position) != nil {
			wait = append(wait, waiting{e, ""})
			continue
		}
		entry, err := EntryOf(e)
		var unknown *config.UnknownEventError
		if errors.As(err, &unknown) {
			return nil, nil, 0, err
		}
		reason := refused[e.Position]
		if err != nil {
			reason = err.Error()
		}
		if reason != "" {
			newly[key] = true
			wait = append(wait, waiting{e, reason})
			continue
		}
		entries = append(entries, entry)
	}
	return entries, wait, len(newly), nil
}

const parkSQL = `insert into readmodel.parked (generation, position, namespace, name, recorded_at, commit_position, reason, record)
	select $1, * from unnest($2::bigint[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[], $7::text[], $8::bytea[])`

// queueWaiting adds the insertion of events that wait to a batch.
func queueWaiting(batch *pgx.Batch, generation int64, wait []waiting) error {
	if len(wait) == 0 {
		return nil
	}
	var (
		positions, commits         []int64
		namespaces, names, reasons []string
		times                      []time.Time
		records                    [][]byte
	)
	for _, w := range wait {
		var record bytes.Buffer
		encoder := json.NewEncoder(&record)
		encoder.SetEscapeHTML(false) // the data stays what it is
		if err := encoder.Encode(config.RecordOf(w.event)); err != nil {
			return fmt.Errorf("park event %d: %w", w.event.Position, err)
		}
		e := w.event
		positions, commits = append(positions, e.Position), append(commits, e.Commit)
		namespaces, names, reasons = append(namespaces, e.Namespace), append(names, e.Name), append(reasons, w.reason)
		times, records = append(times, e.RecordedAt), append(records, record.Bytes())
	}
	batch.Queue(parkSQL, generation, positions, namespaces, names, times, commits, reasons, records)
	return nil
}

// rowReason returns why Postgres refuses a row for a reason that is the row's: it
// would refuse it again. What passes by itself is not one.
func rowReason(err error) (string, bool) {
	code := pg.Code(err)
	if pgerrcode.IsDataException(code) || pgerrcode.IsProgramLimitExceeded(code) ||
		code == pgerrcode.CheckViolation || code == pgerrcode.NotNullViolation {
		return "Postgres refuses the row: " + pg.Message(err), true
	}
	return "", false
}

// refusals returns the entries that Postgres refuses, with the reason. It looks for
// them in a transaction that is taken back: a part that is refused is halved, down to
// one entry, so that a few among a thousand are found in some tens of statements.
func (s *Store) refusals(ctx context.Context, generation int64, entries []Entry) (map[int64]string, error) {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	refused := map[int64]string{}
	return refused, refusedOf(ctx, tx, generation, entries, refused)
}

func refusedOf(ctx context.Context, tx pgx.Tx, generation int64, entries []Entry, refused map[int64]string) error {
	err := applyOrNone(ctx, tx, generation, entries)
	reason, own := rowReason(err)
	switch {
	case err == nil || !own:
		return err
	case len(entries) == 1:
		refused[entries[0].Position] = reason
		return nil
	}
	half := len(entries) / 2
	if err := refusedOf(ctx, tx, generation, entries[:half], refused); err != nil {
		return err
	}
	return refusedOf(ctx, tx, generation, entries[half:], refused)
}

// applyOrNone writes the rows of all entries, or nothing.
func applyOrNone(ctx context.Context, tx pgx.Tx, generation int64, entries []Entry) error {
	return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { // a savepoint
		var pipeline pgx.Batch
		pipeline.Queue(tables(generation, insertHistorySQL), historyArrays(entries)...)
		pipeline.Queue(tables(generation, upsertCurrentSQL), currentArrays(latestOf(entries))...)
		return tx.SendBatch(ctx, &pipeline).Close()
	})
}
