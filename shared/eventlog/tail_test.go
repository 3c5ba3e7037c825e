package eventlog_test

import (
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/testkit"
)

// What the relay is given from memory is what the log has, from every position and
// whoever appended it.
func TestNextIsRead(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t, eventlog.Schema)
	log, other := open(t, pool), open(t, pool)
	same := func() {
		t.Helper()
		head, err := log.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for after := range head.Position + 1 {
			next, err := log.Next(t.Context(), after, config.MaxChanges)
			if err != nil {
				t.Fatal(err)
			}
			read, err := log.Read(t.Context(), after, config.MaxChanges)
			if err != nil {
				t.Fatal(err)
			}
			// What another has appended behind it comes with the next call.
			if len(next) == 0 && len(read) > 0 || len(next) > len(read) || len(next) > 0 && next[len(next)-1].Position != next[len(next)-1].Commit {
				t.Fatalf("after %d it gives %d events of %d", after, len(next), len(read))
			}
			if diff := gocmp.Diff(read[:len(next)], next); diff != "" {
				t.Fatalf("after %d (-read +next): %s", after, diff)
			}
		}
	}
	mustAppend(t, log, set("a", `1`))
	mustAppend(t, log, command(config.Change{Op: config.Set, Name: "b", Value: config.Value(`{"x":[1]}`)}, config.Change{Op: config.Delete, Name: "a"}))
	same()
	mustAppend(t, other, set("c", `3`))
	same()
	mustAppend(t, log, set("d", `4`))
	mustAppend(t, log, set("d", `5`))
	same()
}

// Only who has appended alone for a while knows where the log ends.
func TestEndsAt(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t, eventlog.Schema)
	log, other := open(t, pool), open(t, pool)
	alone := remembering(t, log)
	if !log.EndsAt(alone) || log.EndsAt(alone-1) || other.EndsAt(alone) {
		t.Error("the log ends where its only writer has left it")
	}
	mustAppend(t, other, set("a", `1`))
	if out := mustAppend(t, log, set("a", `2`)); log.EndsAt(out.Position) {
		t.Error("another writes too, and may have gone on")
	}
	if end := remembering(t, log) + alone + 2; !log.EndsAt(end) {
		t.Error("alone again")
	}
	log.Forget()
	if log.EndsAt(2*alone + 2) {
		t.Error("what was known is forgotten")
	}
}
