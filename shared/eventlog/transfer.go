package eventlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/pg"
)

var importedColumns = strings.Fields(`position namespace name version event_id type schema_version
	commit_position command_id actor reason correlation_id request_id recorded_at data hash`)

// Import fills an empty log with the events of another, in one transaction:
// positions, times and hashes stay what they were. The log takes over the origin
// and keeps the epoch that it was made with, so that the positions of clients of
// the other log are not taken for its own.
//
// The events must be whole: from the first to one with the hash that is wanted,
// each following from the one before it. What is not is [config.Invalid]; a log
// that is not empty is a [config.Conflict]. Either way nothing is stored.
func (l *Log) Import(ctx context.Context, origin string, want config.Hash, events iter.Seq2[config.Event, error]) (Head, error) {
	var head Head
	var refused error
	err := pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `set local statement_timeout = 0`); err != nil {
			return err
		}
		var err error
		if head, err = scanHead(tx.QueryRow(ctx, `select `+headColumns+` from eventstore.log_head for update`)); err != nil {
			return err
		}
		if head.Position > 0 {
			return config.Errorf(config.Conflict, "the log has %d events: only an empty one can be imported into", head.Position)
		}
		next, stop := iter.Pull2(events)
		defer stop()
		in := importer{origin: origin, versions: map[streamKey]int64{}}
		_, err = tx.CopyFrom(ctx, pgx.Identifier{"eventstore", "events"}, importedColumns, pgx.CopyFromFunc(func() ([]any, error) {
			e, err, more := next()
			if err == nil && more {
				err = in.take(&e)
			}
			if err != nil || !more {
				refused = err // Postgres tells only of a COPY that failed
				return nil, err
			}
			id, err := uuid.Parse(e.ID) // as texts they would cost as much as all the rest
			if err != nil {
				refused = config.Errorf(config.Invalid, "event %d has the id %q, which is no UUID", e.Position, e.ID)
				return nil, refused
			}
			command, err := uuid.Parse(e.CommandID)
			if err != nil {
				refused = config.Errorf(config.Invalid, "event %d has the command id %q, which is no UUID", e.Position, e.CommandID)
				return nil, refused
			}
			return []any{
				e.Position, e.Namespace, e.Name, e.Version, [16]byte(id), string(e.Type), e.SchemaVersion, e.Commit, [16]byte(command),
				e.Actor, e.Reason, e.CorrelationID, e.RequestID, e.RecordedAt, e.Data, e.Hash[:],
			}, nil
		}))
		if err != nil {
			return errors.Join(refused, err)
		}
		last := &in.last
		if last.Hash != want || last.Position != last.Commit {
			return config.Errorf(config.Invalid, "the export is cut off after event %d", last.Position)
		}
		head.Origin, head.Position, head.Hash = origin, last.Position, last.Hash
		if last.Position == 0 { // of an empty log
			_, err = tx.Exec(ctx, `update eventstore.log_head set origin = $1`, origin)
			return err
		}
		head.RecordedAt = last.RecordedAt
		_, err = tx.Exec(ctx, `update eventstore.log_head set origin = $1, position = $2, recorded_at = $3, hash = $4`,
			origin, head.Position, head.RecordedAt, head.Hash[:])
		return err
	})
	var told *config.Error
	switch {
	case err == nil:
	case errors.As(err, &told):
		return Head{}, told
	case pg.IsUnavailable(err):
		l.logger.Warn("the event store is not available", "error", err)
		return Head{}, errDown
	default:
		return Head{}, fmt.Errorf("import: %w", err)
	}
	l.stats.Position.See(head.Position)
	select {
	case l.appended <- struct{}{}:
	default:
	}
	return head, nil
}

// importer checks that each event follows from those before it.
type importer struct {
	origin   string
	last     config.Event
	versions map[streamKey]int64
}

func (in *importer) take(e *config.Event) error {
	key := streamKey{e.Namespace, e.Name}
	if fault := check(&in.last, e, in.origin); fault != "" {
		return config.Errorf(config.Invalid, "event %d %s", in.last.Position+1, fault)
	}
	if e.Version != in.versions[key]+1 {
		return config.Errorf(config.Invalid, "event %d has version %d of %s in %s, which is at %d", e.Position, e.Version, e.Name, e.Namespace, in.versions[key])
	}
	in.versions[key] = e.Version
	in.last = *e
	return nil
}

// Recover gives the log a new epoch, which tells all who have positions of it to
// begin anew: after it was restored from a backup, or when the feed is not what
// it was. The epoch that it has is named, so that it is not done twice by
// accident; another is a [config.PreconditionFailed]. The events stay.
func (l *Log) Recover(ctx context.Context, epoch string) (Head, error) {
	head, err := scanHead(l.pool.QueryRow(ctx, `update eventstore.log_head set epoch = gen_random_uuid()
		where epoch::text = $1 returning `+headColumns, epoch))
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Head{}, config.Errorf(config.PreconditionFailed, "the log's epoch is not %s: GET /v2/log/head has it", epoch)
	case pg.IsUnavailable(err):
		l.logger.Warn("the event store is not available", "error", err)
		return Head{}, errDown
	case err != nil:
		return Head{}, fmt.Errorf("recover: %w", err)
	}
	return head, nil
}
