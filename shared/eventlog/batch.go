package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/failpoint"
)

// Each statement of the pipeline has a snapshot of its own (read committed), so
// those behind the lock see all that was committed before it was granted. One
// statement that both locks and reads would not: its snapshot is older than its
// wait.
const (
	beginSQL   = `begin isolation level read committed`
	genericSQL = `set local plan_cache_mode = force_generic_plan`
	lockSQL    = `select epoch::text, origin::text, position, greatest(recorded_at + interval '1 microsecond', clock_timestamp()), hash,
			recorded_at - clock_timestamp()
		from eventstore.log_head for update`
	knownSQL = `select command_id::text, request_hash, outcome, (select epoch::text from eventstore.log_head) from eventstore.commands
		where command_id = any($1::text[]::uuid[])`
	statesSQL = `select k.namespace, k.name, e.version, e.position, e.type, e.schema_version, e.data
		from unnest($1::text[], $2::text[]) as k (namespace, name)
		cross join lateral (
			select version, position, type, schema_version, data from eventstore.events
			where namespace = k.namespace and name = k.name
			order by version desc limit 1
		) as e`
	schemasSQL = `select distinct on (namespace, name) namespace, name, version, position, type, schema_version, data
		from eventstore.events
		where namespace = any($1::text[]) and name >= '$schema.' and name < '$schema/'
		order by namespace, name, version desc`
	staleSQL     = `select exists (select from eventstore.events where position > $1 and namespace = $2)`
	committedSQL = `select exists (select from eventstore.events where position = $1 and event_id = $2::text::uuid)`

	insertEventsSQL = `insert into eventstore.events
		(position, namespace, name, version, event_id, type, schema_version, commit_position,
		 command_id, actor, reason, correlation_id, request_id, recorded_at, data, hash, trace)
		select unnest($1::bigint[]), unnest($2::text[]), unnest($3::text[]), unnest($4::bigint[]),
		 unnest($5::uuid[]), unnest($6::text[]), unnest($7::int[]), unnest($8::bigint[]),
		 unnest($9::uuid[]), unnest($10::text[]), unnest($11::text[]), unnest($12::text[]),
		 unnest($13::text[]), unnest($14::timestamptz[]), unnest($15::bytea[]), unnest($16::bytea[]), unnest($17::text[])`
	insertCommandsSQL = `insert into eventstore.commands
		(command_id, request_hash, first_position, last_position, outcome, recorded_at)
		select * from unnest($1::text[]::uuid[], $2::bytea[], $3::bigint[], $4::bigint[], $5::text[]::jsonb[], $6::timestamptz[])`
	updateHeadSQL = `update eventstore.log_head set position = $1, recorded_at = $2, hash = $3`
	commitSQL     = `commit`

	// It locks the head, and if that is not as it was left it fails: by a cast, since SQL
	// has no other way, and with words for the server's log.
	moveHeadSQL = `with moved as (
			update eventstore.log_head set position = $1, recorded_at = $2, hash = $3
			where position = $4 and hash = $5 and epoch::text = $6 and origin::text = $7 returning position)
		select case count(*) when 1 then 1
			else ('not an error: another process has appended, rows moved: ' || count(*))::int end from moved`
	invalidText = "22P02"
	// A stream that was taken for new has a version 1 already, or an idempotency key
	// was used before.
	uniqueViolation = "23505"
)

type streamKey struct{ namespace, name string }

type knownCommand struct {
	requestHash config.Hash
	outcome     Outcome
}

// replay is the answer to a command whose key is known.
func (k knownCommand) replay(cmd Command) (Outcome, error) {
	if k.requestHash != cmd.RequestHash {
		return Outcome{}, config.Errorf(config.KeyReused, "this Idempotency-Key was used for another request: use a new key")
	}
	out := k.outcome
	out.Replayed = true
	return out, nil
}

// batchState is what a batch decides against: the log's head and the present
// state of the streams it touches, advanced command by command.
type batchState struct {
	head  Head          // RecordedAt is the earliest that the next event may have
	ahead time.Duration // of the last event, before the clock
	// What the batch is about, each once: idempotency keys, streams, and the
	// namespaces whose schemas count.
	keyed      []string
	streams    []streamKey
	namespaces []string

	known   map[string]knownCommand
	states  map[streamKey]config.State
	schemas map[string][]config.Schema // by namespace; nil when not enforced
	changed map[string]bool            // namespaces with events of this batch
	// unknown are the streams whose last event only a newer program can read; one
	// without a name is a namespace, of which a schema is such.
	unknown map[streamKey]*config.UnknownEventError
}

// tryBatch runs the batch in one transaction on a connection of its own, and
// closes that connection on any error, which also rolls back. Refusals are left
// in each command. With a doubt it first looks whether that attempt was
// committed, in which case the batch already has its answers.
func (l *Log) tryBatch(batch []*pending, doubt *inDoubtError) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	pooled, err := l.pool.Acquire(ctx)
	if err != nil {
		return l.unavailable(err)
	}
	defer pooled.Release()
	conn := pooled.Conn()
	defer func() {
		if err != nil {
			_ = conn.Close(ctx)
		}
	}()

	if doubt == nil {
		if done, err := l.tryRemembered(ctx, conn, batch); done || err != nil {
			return err
		}
	}
	began := time.Now()
	state, committed, err := l.load(ctx, conn, batch, doubt)
	if err != nil {
		return l.unavailable(err)
	}
	l.stats.Queries.Since("load", began)
	if committed {
		l.count(eventsOf(batch))
		_, err := conn.Exec(ctx, `rollback`)
		if err != nil {
			_ = conn.Close(ctx) // it held the lock for a look, nothing more
		}
		return nil
	}
	l.watchClock(state.ahead)
	events, err := state.decide(batch, l.check)
	if err != nil {
		return err
	}
	if len(events) == 0 {
		_, err := conn.Exec(ctx, `rollback`)
		if err != nil {
			_ = conn.Close(ctx)
		}
		return nil
	}
	var pipeline pgx.Batch
	last := &events[len(events)-1]
	pipeline.Queue(updateHeadSQL, last.Position, last.RecordedAt, last.Hash[:])
	refused, err := l.store(ctx, conn, &pipeline, batch, state, events)
	if refused != nil {
		return l.unavailable(refused)
	}
	return err
}

// tryRemembered does the same in one round trip, if the batch can be decided
// against what is remembered; the transaction makes sure that this still holds. It
// reports false, with nothing stored, if it can't be or if it does not.
func (l *Log) tryRemembered(ctx context.Context, conn *pgx.Conn, batch []*pending) (done bool, err error) {
	state, ok := l.recent.guess(batch, l.check != nil)
	if !ok {
		return false, nil
	}
	events, err := state.decide(batch, l.check)
	if err != nil {
		return false, err
	}
	// What was taken for new may be old, or a key have its answer: a refusal tells
	// nothing, and events that should not be are refused by the tables.
	if slices.ContainsFunc(batch, func(p *pending) bool { return p.err != nil }) || len(events) == 0 {
		return false, nil
	}
	was, last := &l.recent.head, &events[len(events)-1]
	var pipeline pgx.Batch
	pipeline.Queue(beginSQL)
	pipeline.Queue(genericSQL)
	pipeline.Queue(moveHeadSQL, last.Position, last.RecordedAt, last.Hash[:], was.Position, was.Hash[:], was.Epoch, was.Origin)
	refused, err := l.store(ctx, conn, &pipeline, batch, state, events)
	switch {
	case refused == nil:
		return err == nil, err
	case refused.Code != invalidText && refused.Code != uniqueViolation:
		return false, l.unavailable(refused)
	}
	if _, err := conn.Exec(ctx, `rollback`); err != nil {
		return false, l.unavailable(err)
	}
	return false, nil
}

// count counts what was committed.
func (l *Log) count(events []config.Event) {
	n := len(events)
	l.stats.Position.See(events[n-1].Position)
	l.stats.Events.Add(int64(n))
	l.stats.Rate.Add(time.Now(), n)
	l.stats.Batch.Observe(n)
}

func eventsOf(batch []*pending) (events []config.Event) {
	for _, p := range batch {
		events = append(events, p.events...)
	}
	return events
}

// putSchema keeps the namespace's schemas as they are after a schema's event.
func (s *batchState) putSchema(namespace, stream string, state config.State) {
	pattern, ok := config.SchemaPattern(stream)
	if !ok {
		return
	}
	schemas := slices.DeleteFunc(s.schemas[namespace], func(old config.Schema) bool { return old.Pattern == pattern })
	if state.Live() {
		schemas = append(schemas, config.Schema{Pattern: pattern, Version: state.Version, Text: state.Value})
	}
	s.schemas[namespace] = schemas
}

// present is the namespace as the next command of the batch sees it.
func (s *batchState) present(namespace string, check func([]config.Schema, config.Value) []config.Fault) config.Present {
	now := config.Present{State: func(name string) config.State { return s.states[streamKey{namespace, name}] }}
	if check != nil && len(s.schemas[namespace]) > 0 {
		now.Check = func(name string, value config.Value) []config.Fault {
			var matching []config.Schema
			for _, schema := range s.schemas[namespace] {
				if config.MatchPattern(schema.Pattern, name) {
					matching = append(matching, schema)
				}
			}
			if matching == nil {
				return nil
			}
			return check(matching, value)
		}
	}
	return now
}

// decide answers each command in order: from its stored outcome, with its
// refusal, or with its events, which the commands after it already see.
func (s *batchState) decide(batch []*pending, check func([]config.Schema, config.Value) []config.Fault) ([]config.Event, error) {
	events := make([]config.Event, 0, len(batch))
	for _, p := range batch {
		p.out, p.err, p.events = Outcome{}, nil, nil
		if known, ok := s.known[p.id]; ok {
			p.out, p.err = known.replay(p.cmd)
			continue
		}
		namespace := p.cmd.Set.Namespace
		if p.stale || p.cmd.Since != nil && s.changed[namespace] {
			p.err = config.Errorf(config.Conflict, "namespace %s has changed meanwhile: try again", namespace)
			continue
		}
		if p.err = s.readable(&p.cmd.Set); p.err != nil {
			continue
		}
		p.events, p.err = config.Decide(&p.cmd.Set, s.present(namespace, check))
		if p.err != nil {
			continue
		}
		s.changed[namespace] = true
		if err := s.record(p); err != nil {
			return nil, err
		}
		events = append(events, p.events...)
	}
	return events, nil
}

// readable refuses a change of what only a newer program can read, rather than to
// write over it.
func (s *batchState) readable(set *config.ChangeSet) error {
	if len(s.unknown) == 0 {
		return nil
	}
	keys := []streamKey{{namespace: set.Namespace}}
	for _, c := range set.Changes {
		keys = append(keys, streamKey{set.Namespace, c.Name})
	}
	for _, key := range keys {
		if unknown := s.unknown[key]; unknown != nil {
			return config.Errorf(config.Unavailable, "namespace %s can't be changed by this service: %v", set.Namespace, unknown)
		}
	}
	return nil
}

// record gives the events of p their places in the log and makes its outcome.
func (s *batchState) record(p *pending) error {
	commit := s.head.Position + int64(len(p.events))
	p.out = Outcome{Epoch: s.head.Epoch, Position: commit, CorrelationID: p.cmd.Set.CorrelationID}
	for i := range p.events {
		e := &p.events[i]
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		e.ID, e.CommandID = id.String(), p.id
		e.Position, e.Commit = s.head.Position+1, commit
		e.RecordedAt = s.head.RecordedAt
		e.Hash = e.ChainHash(s.head.Hash, s.head.Origin)
		s.head.Position, s.head.Hash = e.Position, e.Hash
		s.head.RecordedAt = e.RecordedAt.Add(time.Microsecond)

		key := streamKey{e.Namespace, e.Name}
		before := s.states[key]
		after, err := before.Apply(e)
		if err != nil {
			return err
		}
		s.states[key] = after
		s.putSchema(e.Namespace, e.Name, after)
		p.out.RecordedAt = e.RecordedAt
		p.out.Changes = append(p.out.Changes, Changed{
			Name: e.Name, Version: e.Version, Position: e.Position, Created: !before.Live(), Deleted: after.Deleted,
		})
	}
	if p.cmd.Key != "" { // for the same key later in this batch
		s.known[p.id] = knownCommand{requestHash: p.cmd.RequestHash, outcome: p.out}
	}
	return nil
}

// store adds the keyed commands and the events to a pipeline that moves the head,
// commits in one round trip, and keeps what was committed. When the server has
// refused it nothing was; a COMMIT without an answer is in doubt.
func (l *Log) store(ctx context.Context, conn *pgx.Conn, pipeline *pgx.Batch, batch []*pending, state *batchState, events []config.Event,
) (refused *pgconn.PgError, err error) {
	commands, err := commandArrays(batch)
	if err != nil {
		return nil, err
	}
	if commands != nil {
		pipeline.Queue(insertCommandsSQL, commands...)
	}
	pipeline.Queue(insertEventsSQL, eventArrays(events)...)
	pipeline.Queue(commitSQL)
	failpoint.Hit("append-before-commit")
	began := time.Now()
	err = conn.SendBatch(ctx, pipeline).Close()
	l.stats.Commit.Since(began)
	switch {
	case err == nil:
		failpoint.Hit("append-after-commit")
		l.recent.keep(state)
		l.tail.add(events)
		l.count(events)
		return nil, nil
	case errors.As(err, &refused) && refused.Severity == "ERROR":
		return refused, nil // it says that it rolled back
	case pgconn.SafeToRetry(err):
		return nil, l.unavailable(err) // nothing was sent
	default:
		return nil, &inDoubtError{first: events[0].Position, firstID: events[0].ID, cause: err}
	}
}

func eventArrays(events []config.Event) []any {
	n := len(events)
	var (
		positions, versions, commits   = make([]int64, n), make([]int64, n), make([]int64, n)
		namespaces, names, types       = make([]string, n), make([]string, n), make([]string, n)
		ids, commands                  = make(pgtype.FlatArray[pgtype.UUID], n), make(pgtype.FlatArray[pgtype.UUID], n)
		actors, reasons                = make([]string, n), make([]string, n)
		correlations, requests, traces = make([]string, n), make([]string, n), make([]string, n)
		schemaVersions                 = make([]int32, n)
		times                          = make(pgtype.FlatArray[time.Time], n)
		data, hashes                   = make(pgtype.FlatArray[[]byte], n), make(pgtype.FlatArray[[]byte], n)
	)
	for i := range events {
		e := &events[i]
		positions[i], versions[i], commits[i] = e.Position, e.Version, e.Commit
		namespaces[i], names[i], types[i] = e.Namespace, e.Name, string(e.Type)
		ids[i], commands[i] = pgtype.UUID{Bytes: uuid.MustParse(e.ID), Valid: true}, pgtype.UUID{Bytes: uuid.MustParse(e.CommandID), Valid: true}
		actors[i], reasons[i] = e.Actor, e.Reason
		correlations[i], requests[i], traces[i] = e.CorrelationID, e.RequestID, e.Trace
		schemaVersions[i], times[i] = int32(e.SchemaVersion), e.RecordedAt
		data[i], hashes[i] = e.Data, e.Hash[:]
	}
	return []any{
		positions, namespaces, names, versions, ids, types, schemaVersions, commits,
		commands, actors, reasons, correlations, requests, times, data, hashes, traces,
	}
}

// commandArrays returns nil when no accepted command of the batch has a key.
func commandArrays(batch []*pending) ([]any, error) {
	var ids, outcomes []string
	var hashes [][]byte
	var first, last []int64
	var times []time.Time
	for _, p := range batch {
		if p.cmd.Key == "" || p.err != nil || p.out.Replayed {
			continue
		}
		outcome, err := json.Marshal(p.out)
		if err != nil {
			return nil, err
		}
		ids, outcomes = append(ids, p.id), append(outcomes, string(outcome))
		hashes = append(hashes, p.cmd.RequestHash[:])
		first, last = append(first, p.events[0].Position), append(last, p.out.Position)
		times = append(times, p.out.RecordedAt)
	}
	if ids == nil {
		return nil, nil
	}
	return []any{ids, hashes, first, last, outcomes, times}, nil
}
