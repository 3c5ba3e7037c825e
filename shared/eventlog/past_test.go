package eventlog_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/testkit"
)

func TestPast(t *testing.T) {
	t.Parallel()
	log := open(t, testkit.Database(t, eventlog.Schema))
	first := mustAppend(t, log, set("a", `1`))
	mustAppend(t, log, set("b", `1`))
	change := command(
		config.Change{Op: config.Set, Name: "a", Value: config.Value(`2`)},
		config.Change{Op: config.Delete, Name: "b"},
		config.Change{Op: config.Set, Name: "c", Value: config.Value(`2`)},
	)
	change.Set.CorrelationID = "release-7"
	mustAppend(t, log, change) // positions 3 to 5
	mustAppend(t, log, eventlog.Command{Set: config.ChangeSet{Namespace: "ns", Changes: []config.Change{
		{Op: config.SetSchema, Name: config.SchemaStream("*"), Value: config.Value(`true`)},
	}}})

	for at, want := range map[time.Time]int64{
		first.RecordedAt:                        1,
		first.RecordedAt.Add(-time.Microsecond): 0,
		first.RecordedAt.Add(time.Hour):         6,
	} {
		if got, err := log.PositionAt(t.Context(), at); err != nil || got != want {
			t.Errorf("PositionAt(%v) = %d, %v; want %d", at, got, err, want)
		}
	}
	names, err := log.Names(t.Context(), "ns")
	if diff := cmp.Diff([]string{"a", "b", "c"}, names); err != nil || diff != "" {
		t.Errorf("Names: %v (-want +got):\n%s", err, diff)
	}
	changed, err := log.ChangedSince(t.Context(), "ns", 4)
	if diff := cmp.Diff([]string{"c"}, changed); err != nil || diff != "" {
		t.Errorf("ChangedSince: %v (-want +got):\n%s", err, diff)
	}
	states, err := log.States(t.Context(), "ns", names, 4)
	want := map[string]config.State{
		"a": {Version: 2, Position: 3, Value: config.Value(`2`)},
		"b": {Version: 2, Position: 4, Deleted: true},
	}
	if diff := cmp.Diff(want, states); err != nil || diff != "" {
		t.Errorf("States: %v (-want +got):\n%s", err, diff)
	}
	set, err := log.ChangeSet(t.Context(), "ns", "release-7")
	if err != nil {
		t.Fatal(err)
	}
	before := map[string]config.State{
		"a": {Version: 1, Position: 1, Value: config.Value(`1`)},
		"b": {Version: 1, Position: 2, Value: config.Value(`1`)},
	}
	if diff := cmp.Diff(before, set.Before); diff != "" {
		t.Errorf("before the change set (-want +got):\n%s", diff)
	}
	if after := slices.Sorted(maps.Keys(set.After)); !slices.Equal(after, []string{"a", "b", "c"}) {
		t.Errorf("the change set has %v", after)
	}
}

// A namespace that changed after the position that a command was planned at
// refuses it, also when the change rides in the same batch.
func TestSince(t *testing.T) {
	t.Parallel()
	log := open(t, testkit.Database(t, eventlog.Schema))
	mustAppend(t, log, set("a", `1`))
	cmd := set("b", `1`)
	since := int64(1)
	cmd.Since = &since
	mustAppend(t, log, cmd) // nothing after 1
	if _, err := log.Append(t.Context(), cmd); config.CodeOf(err) != config.Conflict {
		t.Errorf("append since 1 at 2: %v", err)
	}
	cmd.Set.Namespace = "other"
	mustAppend(t, log, cmd) // another namespace did not change
}

// openEnforced opens a log in which every schema names the one value that it
// allows.
func openEnforced(t *testing.T, pool *pgxpool.Pool) *eventlog.Log {
	t.Helper()
	log := eventlog.Open(pool, eventlog.Options{
		Logger: discard,
		Check: func(schemas []config.Schema, value config.Value) []config.Fault {
			var faults []config.Fault
			for _, s := range schemas {
				if string(s.Text) != string(value) {
					faults = append(faults, config.Fault{Detail: "is not " + string(s.Text)})
				}
			}
			return faults
		},
	})
	t.Cleanup(log.Close)
	return log
}

func TestSchemasAreEnforcedFromTheirEventOn(t *testing.T) {
	t.Parallel()
	log := openEnforced(t, testkit.Database(t, eventlog.Schema))
	schema := func(op config.Op, pattern, text string) eventlog.Command {
		return command(config.Change{Op: op, Name: config.SchemaStream(pattern), Value: config.Value(text)})
	}
	mustAppend(t, log, set("a.b", `1`))
	mustAppend(t, log, schema(config.SetSchema, "a.*", `2`))
	if _, err := log.Append(t.Context(), set("a.b", `3`)); config.CodeOf(err) != config.SchemaViolation {
		t.Errorf("a value that breaks its schema: %v", err)
	}
	mustAppend(t, log, set("a.b", `2`))
	mustAppend(t, log, set("other", `3`))
	mustAppend(t, log, schema(config.SetSchema, "a.*", `4`))
	if _, err := log.Append(t.Context(), set("a.b", `2`)); config.CodeOf(err) != config.SchemaViolation {
		t.Errorf("a value that breaks the newer schema: %v", err)
	}
	remove := schema(config.DeleteSchema, "a.*", "")
	remove.Set.Changes[0].Value = nil
	mustAppend(t, log, remove)
	mustAppend(t, log, set("a.b", `5`))
}
