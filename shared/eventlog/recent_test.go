package eventlog_test

import (
	"strconv"
	"testing"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/testkit"
)

// What a process remembers of the streams holds while it is the only writer. When
// another has written, it sees that: versions go on, an old value is the one that
// was there, and a schema counts from its event on.
func TestAnotherWriterIsSeen(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t, eventlog.Schema)
	mine, other := openEnforced(t, pool), openEnforced(t, pool)
	const alone = 6 // batches, after which all is remembered
	for round := range 3 {
		for i := range alone {
			mustAppend(t, mine, set("a", strconv.Itoa(i)))
		}
		mustAppend(t, other, set("a", `"other"`))
		out := mustAppend(t, mine, set("a", `"mine"`))
		if want := int64((round + 1) * (alone + 2)); out.Changes[0].Version != want {
			t.Errorf("version %d, want %d", out.Changes[0].Version, want)
		}
	}
	for range alone {
		mustAppend(t, mine, set("b.c", `1`))
	}
	mustAppend(t, other, command(config.Change{Op: config.SetSchema, Name: config.SchemaStream("b.*"), Value: config.Value(`2`)}))
	for range 2 { // read anew, then remembered
		if _, err := mine.Append(t.Context(), set("b.c", `1`)); config.CodeOf(err) != config.SchemaViolation {
			t.Errorf("a value that breaks the other's schema: %v", err)
		}
	}
	events := checkLog(t, mine)
	for i := range events[:3*(alone+2)] {
		p, err := events[i].Payload()
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			continue
		}
		before, err := events[i-1].Payload()
		if err != nil || string(p.OldValue) != string(before.Value) {
			t.Errorf("event %d replaces %s, and before it was %s, %v", i+1, p.OldValue, before.Value, err)
		}
	}
}
