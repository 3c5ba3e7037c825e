package readmodel_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/testkit"
)

// travelNames is how many names the namespace has whose past is read.
const travelNames = 1000

var travelStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// travelled returns tables in which each of the names was set the same number of
// times, in turn, a second after each other, with values of 100 bytes.
func travelled(t testing.TB, versions int) (*readmodel.Store, *pgxpool.Pool) {
	t.Helper()
	pool := testkit.Database(t, readmodel.Schema)
	store := readmodel.New(pool)
	at, err := store.Checkpoint(t.Context())
	batch := make([]config.Event, travelNames)
	for version := int64(1); err == nil && version <= int64(versions); version++ {
		for i := range batch {
			position := (version-1)*travelNames + int64(i) + 1
			batch[i] = config.Event{
				Position: position, Commit: position, Namespace: "ns", Name: fmt.Sprintf("name-%06d", i), Version: version,
				ID: "0191f3a2-0000-7000-8000-000000000001", CommandID: "0191f3a2-0000-7000-8000-000000000002",
				Type: config.ValueSet, SchemaVersion: 1, Actor: "ann", Reason: "why not", CorrelationID: "c",
				RecordedAt: travelStart.Add(time.Duration(position) * time.Second),
				Data:       fmt.Appendf(nil, `{"config_name":"name-%06d","value":"%098d","old_value":null}`, i, position),
			}
		}
		at, err = store.Apply(t.Context(), at, epoch, batch)
	}
	if err == nil {
		_, err = pool.Exec(t.Context(), `analyze`)
	}
	if err != nil {
		t.Fatal(err)
	}
	return store, pool
}

// BenchmarkTimeTravel reads a name, and a namespace of 1000 names, at random
// instants of a log of 10 thousand and of one of a million events, in turn. The
// ratio of the two, 1M/10k, should stay under 1.5.
func BenchmarkTimeTravel(b *testing.B) {
	logs := []int{10, 1000} // thousand events
	stores := map[int]*readmodel.Store{}
	for _, versions := range logs {
		stores[versions], _ = travelled(b, versions)
	}
	random := rand.New(rand.NewPCG(1, 1))
	name := func(b *testing.B, store *readmodel.Store, at time.Time) {
		position, _, err := store.PositionAt(b.Context(), at)
		if err != nil {
			b.Fatal(err)
		}
		if row, _, err := store.Get(b.Context(), "ns", fmt.Sprintf("name-%06d", random.IntN(travelNames)), position); err != nil || row.Version == 0 {
			b.Fatalf("%+v, %v", row, err)
		}
	}
	namespace := func(b *testing.B, store *readmodel.Store, at time.Time) {
		position, _, err := store.PositionAt(b.Context(), at)
		if err != nil {
			b.Fatal(err)
		}
		if rows, _, err := store.List(b.Context(), "ns", "", "", travelNames, position); err != nil || len(rows) != travelNames {
			b.Fatalf("%d rows, %v", len(rows), err)
		}
	}
	for what, read := range map[string]func(*testing.B, *readmodel.Store, time.Time){"name": name, "namespace": namespace} {
		b.Run(what, func(b *testing.B) {
			took := map[int]time.Duration{}
			for b.Loop() {
				for _, versions := range logs {
					// From the moment on when there were all names.
					at := travelStart.Add(time.Duration(travelNames+random.IntN(travelNames*(versions-1))) * time.Second)
					began := time.Now()
					read(b, stores[versions], at)
					took[versions] += time.Since(began)
				}
			}
			for _, versions := range logs {
				b.ReportMetric(float64(took[versions].Nanoseconds())/float64(b.N), fmt.Sprintf("ns/%dk", versions))
			}
			b.ReportMetric(float64(took[1000])/float64(took[10]), "ratio")
		})
	}
}

// The plans behind it: every table that grows with the log is read by an index,
// and no more of it than the answer needs.
func TestPlansOfThePast(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	filledStore, pool := travelled(t, 12)
	quiet := config.Event{
		Namespace: "quiet", Name: "n", Version: 1, Position: 12*travelNames + 1, Commit: 12*travelNames + 1, SchemaVersion: 1,
		ID: "0191f3a2-0000-7000-8000-000000000001", CommandID: "0191f3a2-0000-7000-8000-000000000002",
		Type: config.ValueSet, RecordedAt: travelStart.Add(time.Hour * 24), Data: []byte(`{"value":1}`),
	}
	at, err := filledStore.Checkpoint(t.Context())
	if err == nil {
		_, err = filledStore.Apply(t.Context(), at, epoch, []config.Event{quiet})
	}
	if err != nil {
		t.Fatal(err)
	}
	asked := new(recorder)
	traced := pool.Config()
	traced.ConnConfig.Tracer = asked
	tracedPool, err := pgxpool.NewWithConfig(t.Context(), traced)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tracedPool.Close)
	store := readmodel.New(tracedPool)
	for _, read := range []struct {
		what string
		most float64 // rows of the history that it may read
		do   func() error
	}{
		{"a position at a time", 1, func() error {
			_, _, err := store.PositionAt(t.Context(), travelStart.Add(5000*time.Second))
			return err
		}},
		{"a name", 1, func() error { _, _, err := store.Get(t.Context(), "ns", "name-000500", 7_345); return err }},
		{"a namespace", travelNames, func() error { _, _, err := store.List(t.Context(), "ns", "", "", 1000, 7_345); return err }},
		{"a namespace that others outgrew", 2, func() error { _, _, err := store.List(t.Context(), "quiet", "", "", 1000, 12_001); return err }},
		{"a page of a namespace", 10, func() error { _, _, err := store.List(t.Context(), "ns", "", "", 10, 7_345); return err }},
		{"a page of a name's events", 10, func() error {
			_, _, err := store.History(t.Context(), "ns", "name-000500", readmodel.HistoryQuery{Until: readmodel.Latest, Limit: 10})
			return err
		}},
		{"a page of a namespace's events", 10, func() error { _, _, err := store.Between(t.Context(), "ns", 5000, 10_000, 10); return err }},
		{"a page of the audit", 10 + 1, func() error { // the last event is of another namespace
			_, _, err := store.Audit(t.Context(), readmodel.AuditQuery{Namespace: "ns", Actor: "ann", Until: readmodel.Latest, Limit: 10})
			return err
		}},
	} {
		asked.queries = nil
		if err := read.do(); err != nil {
			t.Fatal(err)
		}
		var rows float64
		for _, query := range asked.queries {
			rows += query.historyRows(t, pool)
		}
		if rows == 0 || rows > read.most {
			t.Errorf("%s reads %v rows of the history, the most should be %v", read.what, rows, read.most)
		}
	}
}

// recorder keeps the statements that are about the history.
type recorder struct{ queries []query }

type query struct {
	sql  string
	args []any
}

func (r *recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if strings.Contains(q.SQL, "history_1") {
		r.queries = append(r.queries, query{q.SQL, q.Args})
	}
	return ctx
}

func (r *recorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// planNode is what EXPLAIN says of a step.
type planNode struct {
	Type     string  `json:"Node Type"`
	Relation string  `json:"Relation Name"`
	Rows     float64 `json:"Actual Rows"`
	Loops    float64 `json:"Actual Loops"`
	Removed  float64 `json:"Rows Removed by Filter"`
	Plans    []planNode
}

// historyRows runs the statement and returns how many rows of the history were
// visited. A scan from end to end fails the test.
func (q query) historyRows(t *testing.T, pool *pgxpool.Pool) float64 {
	t.Helper()
	var text []byte
	if err := pool.QueryRow(t.Context(), "explain (analyze, format json) "+q.sql, q.args...).Scan(&text); err != nil {
		t.Fatal(err)
	}
	var plans []struct{ Plan planNode }
	if err := json.Unmarshal(text, &plans); err != nil {
		t.Fatal(err)
	}
	var rows float64
	var visit func(n planNode)
	visit = func(n planNode) {
		if n.Relation == "history_1" {
			rows += (n.Rows + n.Removed) * n.Loops
			if n.Type == "Seq Scan" {
				t.Errorf("the history is read from end to end by %s:\n%s", q.sql, text)
			}
		}
		for _, child := range n.Plans {
			visit(child)
		}
	}
	for _, p := range plans {
		visit(p.Plan)
	}
	return rows
}
