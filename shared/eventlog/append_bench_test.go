package eventlog_test

import (
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/testkit"
)

// BenchmarkAppend puts group commit beside one transaction per event, in one
// run on one server with synchronous_commit on: 64 callers, names of 20 bytes,
// values of 100. Run it with -benchtime=2s -count=5; the ratio is that of the
// two ns/op. make bench-go gives it a server that waits for the disk.
func BenchmarkAppend(b *testing.B) {
	value := config.Value(`"` + strings.Repeat("v", 98) + `"`)
	var counter atomic.Int64
	name := func() string { return "name-" + strconv.FormatInt(1e14+counter.Add(1)%50_000, 10) }

	b.Run("group-commit", func(b *testing.B) {
		log := open(b, testkit.Database(b, eventlog.Schema))
		b.SetParallelism(32)
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				if _, err := log.Append(b.Context(), set(name(), string(value))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
	b.Run("one-transaction-each", func(b *testing.B) {
		pool := testkit.Database(b, eventlog.Schema)
		wide, err := pgxpool.New(b.Context(), pool.Config().ConnString()+"&pool_max_conns=64")
		if err != nil {
			b.Fatal(err)
		}
		defer wide.Close()
		b.SetParallelism(32)
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				if err := appendAlone(b, wide, name(), value); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// appendAlone appends one event in a transaction of its own, with the same
// lock, version check and rows as the log, but no one to share the commit with.
func appendAlone(b *testing.B, pool *pgxpool.Pool, name string, value config.Value) error {
	return pgx.BeginFunc(b.Context(), pool, func(tx pgx.Tx) error {
		var position, version int64
		if err := tx.QueryRow(b.Context(), `select position from eventstore.log_head for update`).Scan(&position); err != nil {
			return err
		}
		if err := tx.QueryRow(b.Context(), `select coalesce(max(version), 0) from eventstore.events where namespace = 'ns' and name = $1`, name).Scan(&version); err != nil {
			return err
		}
		if _, err := tx.Exec(b.Context(), `insert into eventstore.events
			(position, namespace, name, version, event_id, type, schema_version, commit_position, command_id,
			 actor, reason, correlation_id, request_id, recorded_at, data, hash)
			values ($1, 'ns', $2, $3, gen_random_uuid(), 'ConfigValueSet', 1, $1, gen_random_uuid(), '', '', '', '', clock_timestamp(), $4, sha256($4))`,
			position+1, name, version+1, []byte(value)); err != nil {
			return err
		}
		_, err := tx.Exec(b.Context(), `update eventstore.log_head set position = $1`, position+1)
		return err
	})
}
