package readmodel_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/testkit"
)

// statements counts what is sent by itself, not what is sent in a batch.
type statements struct{ n atomic.Int64 }

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	s.n.Add(1)
	return ctx
}

func (s *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A few events that Postgres refuses, among many that came with them, park their
// names and nothing else, and are not looked for one by one.
func TestRefusedAmongMany(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t, readmodel.Schema)
	if _, err := pool.Exec(t.Context(), `alter table readmodel.history_1 add constraint odd check (name not in ('n7', 'n8', 'n499'))`); err != nil {
		t.Fatal(err)
	}
	const many = 500
	var log testkit.Log
	for i := range many {
		log.Append(t, config.ChangeSet{Namespace: "a", Actor: "ann", Changes: []config.Change{
			{Op: config.Set, Name: fmt.Sprint("n", i), Value: config.Value(`1`)},
		}})
	}
	log.Events[20].ID = "no UUID"
	counting := pool.Config()
	var sent statements
	counting.ConnConfig.Tracer = &sent
	counted, err := pgxpool.NewWithConfig(t.Context(), counting)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(counted.Close)
	store := readmodel.New(counted)
	at, err := store.Checkpoint(t.Context())
	if err == nil {
		at, err = store.Apply(t.Context(), at, epoch, log.Events)
	}
	equal(t, "position", err, int64(many), at.Position)
	if n := sent.n.Load(); n > 100 {
		t.Errorf("it took %d statements", n)
	}
	parked, err := store.Parked(t.Context())
	var names []string
	for _, p := range parked {
		names = append(names, fmt.Sprintf("%s from %d", p.Name, p.Position))
	}
	equal(t, "parked", err, "n20 from 21 n499 from 500 n7 from 8 n8 from 9", strings.Join(names, " "))
	rows, _ := load(t, store)
	equal(t, "rows", nil, many-4, len(rows))
}
