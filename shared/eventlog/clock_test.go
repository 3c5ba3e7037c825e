package eventlog_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/testkit"
)

// The database's clock an hour back: times still rise, by a microsecond, and one
// warning says so. (The head is set forward instead, which is the same to who
// compares the two.)
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t, eventlog.Schema)
	var ahead time.Time
	if err := pool.QueryRow(t.Context(), `update eventstore.log_head set recorded_at = clock_timestamp() + interval '1 hour' returning recorded_at`).Scan(&ahead); err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	log := eventlog.Open(pool, eventlog.Options{Logger: slog.New(slog.NewTextHandler(&lines, nil))})
	for i := range 3 {
		want := ahead.Add(time.Duration(i+1) * time.Microsecond)
		if out := mustAppend(t, log, set("n", `1`)); !out.RecordedAt.Equal(want) {
			t.Errorf("event %d was recorded at %v, want %v", i+1, out.RecordedAt, want)
		}
	}
	// Once the clock has caught up it counts again.
	if _, err := pool.Exec(t.Context(), `update eventstore.log_head set recorded_at = recorded_at - interval '2 hours'`); err != nil {
		t.Fatal(err)
	}
	if out := mustAppend(t, log, set("n", `1`)); time.Since(out.RecordedAt).Abs() > time.Minute {
		t.Errorf("an event was recorded at %v, the clock is right again", out.RecordedAt)
	}
	log.Close()
	if got := lines.String(); strings.Count(got, "clock was set back") != 1 || strings.Count(got, "caught up") != 1 {
		t.Errorf("the log should warn once, and say once that it is over:\n%s", got)
	}
}
