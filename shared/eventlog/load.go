package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/config-api/config-api/shared/config"
)

// load begins, locks the head and reads what the batch needs, in one round trip.
// What is remembered is read only if another process has written since, in a
// second one.
func (l *Log) load(ctx context.Context, conn *pgx.Conn, batch []*pending, doubt *inDoubtError) (*batchState, bool, error) {
	s := newBatchState(batch, l.check != nil)
	streams, knownStreams := s.streams, []streamKey(nil)
	namespaces, knownNamespaces := s.namespaces, []string(nil)
	if l.recent.alone >= aloneAfter {
		streams, knownStreams = split(s.streams, l.recent.states)
		namespaces, knownNamespaces = split(s.namespaces, l.recent.schemas)
	}
	committed := false
	var pipeline pgx.Batch
	pipeline.Queue(beginSQL)
	pipeline.Queue(genericSQL)
	pipeline.Queue(lockSQL).QueryRow(func(row pgx.Row) (err error) {
		s.head, err = scanHead(row, &s.ahead)
		return err
	})
	if doubt != nil {
		pipeline.Queue(committedSQL, doubt.first, doubt.firstID).QueryRow(func(row pgx.Row) error { return row.Scan(&committed) })
	}
	if s.keyed != nil {
		pipeline.Queue(knownSQL, s.keyed).Query(s.scanKnown)
	}
	for _, p := range batch {
		if p.cmd.Since != nil {
			pipeline.Queue(staleSQL, *p.cmd.Since, p.cmd.Set.Namespace).QueryRow(func(row pgx.Row) error { return row.Scan(&p.stale) })
		}
	}
	s.read(&pipeline, streams, namespaces)
	if err := conn.SendBatch(ctx, &pipeline).Close(); err != nil {
		return nil, false, err
	}
	l.recent.clock = clock{database: s.head.RecordedAt.Add(-max(0, s.ahead+time.Microsecond)), here: time.Now()}
	if slices.ContainsFunc(streams, func(key streamKey) bool { return s.states[key].Version > 0 }) {
		l.recent.fresh = 0
	} else if len(streams) > 0 {
		l.recent.fresh++
	}
	if l.recent.holds(&s.head) {
		s.recall(&l.recent, knownStreams, knownNamespaces)
		return s, committed, nil
	}
	var rest pgx.Batch
	if s.read(&rest, knownStreams, knownNamespaces); rest.Len() == 0 {
		return s, committed, nil
	}
	return s, committed, conn.SendBatch(ctx, &rest).Close()
}

// newBatchState says what the batch is about; nothing is read yet.
func newBatchState(batch []*pending, enforced bool) *batchState {
	s := &batchState{
		known:   map[string]knownCommand{},
		states:  map[streamKey]config.State{},
		schemas: map[string][]config.Schema{},
		changed: map[string]bool{},
		unknown: map[streamKey]*config.UnknownEventError{},
	}
	for _, p := range batch {
		if p.cmd.Key != "" {
			s.keyed = append(s.keyed, p.id)
		}
		namespace := p.cmd.Set.Namespace
		if _, seen := s.schemas[namespace]; !seen && enforced {
			s.schemas[namespace] = nil
			s.namespaces = append(s.namespaces, namespace)
		}
		for _, c := range p.cmd.Set.Changes {
			key := streamKey{namespace, c.Name}
			if _, seen := s.states[key]; !seen {
				s.states[key] = config.State{}
				s.streams = append(s.streams, key)
			}
		}
	}
	return s
}

// split returns the keys that are not in a map, and those that are.
func split[K comparable, V any](keys []K, in map[K]V) (missing, there []K) {
	for _, key := range keys {
		if _, ok := in[key]; ok {
			there = append(there, key)
		} else {
			missing = append(missing, key)
		}
	}
	return missing, there
}

// read adds what reads the state of streams, and the schemas of namespaces.
func (s *batchState) read(pipeline *pgx.Batch, streams []streamKey, namespaces []string) {
	if len(namespaces) > 0 {
		pipeline.Queue(schemasSQL, namespaces).Query(s.scanSchemas)
	}
	if len(streams) > 0 {
		of, names := make([]string, len(streams)), make([]string, len(streams))
		for i, key := range streams {
			of[i], names[i] = key.namespace, key.name
		}
		pipeline.Queue(statesSQL, of, names).Query(s.scanStates)
	}
}

func (s *batchState) scanKnown(rows pgx.Rows) error {
	var id, epoch string
	var hash, outcome []byte
	_, err := pgx.ForEachRow(rows, []any{&id, &hash, &outcome, &epoch}, func() error {
		known := knownCommand{requestHash: config.Hash(hash)}
		if err := json.Unmarshal(outcome, &known.outcome); err != nil {
			return err
		}
		known.outcome.Epoch = epoch // it may have changed since
		s.known[id] = known
		return nil
	})
	return err
}

func (s *batchState) scanStates(rows pgx.Rows) error {
	var key streamKey
	var e config.Event
	_, err := pgx.ForEachRow(rows, []any{&key.namespace, &key.name, &e.Version, &e.Position, &e.Type, &e.SchemaVersion, &e.Data}, func() error {
		state, err := config.State{}.Apply(&e)
		var unknown *config.UnknownEventError
		switch {
		case errors.As(err, &unknown):
			s.unknown[key] = unknown
		case err != nil:
			// What it was can't be read. It can be set, and then it can.
			state = config.State{Version: e.Version, Position: e.Position}
		}
		s.states[key] = state
		return nil
	})
	return err
}

func (s *batchState) scanSchemas(rows pgx.Rows) error {
	var e config.Event
	_, err := pgx.ForEachRow(rows, []any{&e.Namespace, &e.Name, &e.Version, &e.Position, &e.Type, &e.SchemaVersion, &e.Data}, func() error {
		state, err := config.State{}.Apply(&e)
		var unknown *config.UnknownEventError
		switch {
		case err == nil:
			s.putSchema(e.Namespace, e.Name, state)
		case errors.As(err, &unknown):
			s.unknown[streamKey{namespace: e.Namespace}] = unknown // values can't be checked
		}
		return nil // one that says nothing is none
	})
	return err
}
