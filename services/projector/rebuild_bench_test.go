package projector_test

import (
	"flag"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/testkit"
)

var rebuildEvents = flag.Int("rebuild-events", 100_000, "how many events BenchmarkRebuild rebuilds from")

// BenchmarkRebuild puts a rebuild, from the request to the flip, beside the best
// that Postgres can do: the same rows copied into the same tables from memory,
// and the same indexes.
func BenchmarkRebuild(b *testing.B) {
	s := newSystem(b)
	// Only one of the two has the events in memory, where the collector would go
	// through them again and again at the other's cost.
	count := publishRandom(b, s)
	p := s.start(b, s.options())
	for at := (readmodel.Checkpoint{}); at.Position < count; time.Sleep(100 * time.Millisecond) {
		var err error
		if at, err = s.store.Checkpoint(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	var rebuilding, told, loading time.Duration
	for b.Loop() {
		runtime.GC()
		began := time.Now()
		if status, _, body := p.ask(b, http.MethodPost, rebuildPath, ""); status != http.StatusAccepted {
			b.Fatalf("answered %d %s", status, body)
		}
		// Looked at now and then, which takes from what is measured: later than it
		// ended by a hundredth at most.
		r := rebuild{}
		for ; r.FinishedAt == nil; time.Sleep(max(time.Millisecond, time.Since(began)/100)) {
			if _, r, _ = p.ask(b, http.MethodGet, rebuildPath, ""); r.State != "running" && r.State != "done" {
				b.Fatalf("%+v", r)
			}
		}
		rebuilding += time.Since(began)
		told += r.FinishedAt.Sub(r.StartedAt)

		history, current := rowsOf(b, testkit.RandomLog(b, 1, *rebuildEvents).Events)
		runtime.GC()
		began = time.Now()
		const generation = "1000000"
		load := func(table, columns string, rows [][]any) {
			if _, err := s.pool.CopyFrom(b.Context(), pgx.Identifier{"readmodel", table + "_" + generation}, strings.Fields(columns), pgx.CopyFromRows(rows)); err != nil {
				b.Fatal(err)
			}
		}
		exec := func(sql string) {
			if _, err := s.pool.Exec(b.Context(), sql); err != nil {
				b.Fatal(err)
			}
		}
		exec(`select readmodel.create_generation(` + generation + `)`)
		load("history", `namespace name value version position deleted recorded_at actor reason correlation_id
			type old_value commit_position request_id event_id command_id`, history)
		load("current", `namespace name value version position deleted updated_at updated_by reason correlation_id`, current)
		exec(`select readmodel.index_generation(` + generation + `)`)
		loading += time.Since(began)
		exec(`select readmodel.drop_generation(` + generation + `)`)
	}
	seconds := rebuilding.Seconds() / float64(b.N)
	b.ReportMetric(float64(count)/seconds, "events/s")
	b.ReportMetric(loading.Seconds()/rebuilding.Seconds(), "of-bulk-load")
	b.ReportMetric(told.Seconds()*1e3/float64(b.N), "ms-as-told") // by the service, of itself
	b.ReportMetric(0, "ns/op")
}

// publishRandom publishes a random log, and returns how long it is.
func publishRandom(b *testing.B, s *system) int64 {
	b.Helper()
	events := testkit.RandomLog(b, 1, *rebuildEvents).Events
	testkit.Publish(b, s.js, events)
	return int64(len(events))
}

func rowsOf(b *testing.B, events []config.Event) (history, current [][]any) {
	b.Helper()
	last := map[[2]string][]any{}
	for i := range events {
		e, err := readmodel.EntryOf(&events[i])
		if err != nil {
			b.Fatal(err)
		}
		row := []any{e.Namespace, e.Name, []byte(e.Value), e.Version, e.Position, e.Deleted, e.UpdatedAt, e.UpdatedBy, e.Reason, e.CorrelationID}
		last[[2]string{e.Namespace, e.Name}] = row
		history = append(history, append(row[:len(row):len(row)], string(e.Type), []byte(e.OldValue), e.Commit, e.RequestID, [16]byte(uuid.MustParse(e.EventID)), [16]byte(uuid.MustParse(e.CommandID))))
	}
	for _, row := range last {
		current = append(current, row)
	}
	return history, current
}
