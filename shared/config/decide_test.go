package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/config-api/config-api/shared/config"
)

var states = map[string]config.State{
	"live":    {Version: 3, Position: 30, Value: config.Value(`"old"`)},
	"deleted": {Version: 4, Position: 40, Deleted: true},
}

func state(name string) config.State { return states[name] }

func set(name, value string, expected ...int64) config.Change {
	c := config.Change{Op: config.Set, Name: name, Value: config.Value(value)}
	if expected != nil {
		c.Expected = &expected[0]
	}
	return c
}

func remove(name string, expected ...int64) config.Change {
	c := config.Change{Op: config.Delete, Name: name}
	if expected != nil {
		c.Expected = &expected[0]
	}
	return c
}

func TestDecide(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		changes []config.Change
		want    string // type, version and data of each event
		code    config.Code
	}{
		"first set":     {changes: []config.Change{set("new", `1`)}, want: `ConfigValueSet 1 {"config_name":"new","value":1,"old_value":null}`},
		"set again":     {changes: []config.Change{set("live", `"old"`)}, want: `ConfigValueSet 4 {"config_name":"live","value":"old","old_value":"old"}`},
		"set a deleted": {changes: []config.Change{set("deleted", `"x"`)}, want: `ConfigValueSet 5 {"config_name":"deleted","value":"x","old_value":null}`},
		"delete":        {changes: []config.Change{remove("live")}, want: `ConfigValueDeleted 4 {"config_name":"live","deleted_value":"old"}`},
		"delete none":   {changes: []config.Change{remove("new")}, code: config.NotFound},
		"delete twice":  {changes: []config.Change{remove("deleted")}, code: config.Gone},
		"all or nothing": {
			changes: []config.Change{set("new", `1`), remove("other")}, code: config.NotFound,
		},
		"several": {
			changes: []config.Change{set("new", `1`), remove("live")},
			want: `ConfigValueSet 1 {"config_name":"new","value":1,"old_value":null}` + "\n" +
				`ConfigValueDeleted 4 {"config_name":"live","deleted_value":"old"}`,
		},
		"expected version holds":           {changes: []config.Change{set("live", `1`, 3)}, want: `ConfigValueSet 4 {"config_name":"live","value":1,"old_value":"old"}`},
		"expected version is another":      {changes: []config.Change{set("live", `1`, 2)}, code: config.PreconditionFailed},
		"expected none, new":               {changes: []config.Change{set("new", `1`, 0)}, want: `ConfigValueSet 1 {"config_name":"new","value":1,"old_value":null}`},
		"expected none, deleted":           {changes: []config.Change{set("deleted", `1`, 0)}, want: `ConfigValueSet 5 {"config_name":"deleted","value":1,"old_value":null}`},
		"expected none, live":              {changes: []config.Change{set("live", `1`, 0)}, code: config.PreconditionFailed},
		"expected any, live":               {changes: []config.Change{remove("live", config.AnyVersion)}, want: `ConfigValueDeleted 4 {"config_name":"live","deleted_value":"old"}`},
		"expected any, deleted":            {changes: []config.Change{set("deleted", `1`, config.AnyVersion)}, code: config.PreconditionFailed},
		"expected version of a deleted":    {changes: []config.Change{set("deleted", `1`, 4)}, want: `ConfigValueSet 5 {"config_name":"deleted","value":1,"old_value":null}`},
		"precondition comes before 'gone'": {changes: []config.Change{remove("deleted", 3)}, code: config.PreconditionFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cs := config.ChangeSet{Namespace: "ns", Changes: test.changes}
			if err := cs.Check(); err != nil {
				t.Fatal(err)
			}
			events, err := config.Decide(&cs, config.Present{State: state})
			if test.code != "" {
				if config.CodeOf(err) != test.code || events != nil {
					t.Fatalf("got %v and %d events, want %s and none", err, len(events), test.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range events {
				got = append(got, string(e.Type)+" "+string(rune('0'+e.Version))+" "+string(e.Data))
			}
			if diff := cmp.Diff(test.want, strings.Join(got, "\n")); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFailedPreconditionSaysWhatIsThere(t *testing.T) {
	t.Parallel()
	cs := config.ChangeSet{Namespace: "ns", Changes: []config.Change{set("new", `1`), set("live", `1`, 9)}}
	_, err := config.Decide(&cs, config.Present{State: state})
	var e *config.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	nine := int64(9)
	want := []config.VersionConflict{{Name: "live", Expected: &nine, Version: 3, Position: 30, Value: config.Value(`"old"`)}}
	if diff := cmp.Diff(want, e.Conflicts); diff != "" {
		t.Errorf("conflicts (-want +got):\n%s", diff)
	}
}

func TestCheckNamesEveryFault(t *testing.T) {
	t.Parallel()
	below := int64(-2)
	cs := config.ChangeSet{Namespace: "ns", Changes: []config.Change{
		{Op: "put", Name: "a", Value: config.Value(`1`)},
		{Op: config.Set, Name: "b.", Value: config.Value(`1`)},
		{Op: config.Set, Name: "a"},
		{Op: config.Delete, Name: "c", Value: config.Value(`1`), Expected: &below},
	}}
	var e *config.Error
	if err := cs.Check(); !errors.As(err, &e) || e.Code != config.Invalid {
		t.Fatalf("Check = %v", err)
	}
	var got []string
	for _, f := range e.Faults {
		got = append(got, f.Pointer)
	}
	want := []string{"/changes/0/op", "/changes/1/name", "/changes/2/name", "/changes/2/value", "/changes/3/value", "/changes/3/expected_version"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pointers (-want +got):\n%s", diff)
	}
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	one := []config.Change{set("a", `1`)}
	for name, cs := range map[string]config.ChangeSet{
		"namespace":   {Namespace: "NS", Changes: one},
		"no changes":  {Namespace: "ns"},
		"too many":    {Namespace: "ns", Changes: make([]config.Change, config.MaxChanges+1)},
		"actor":       {Namespace: "ns", Changes: one, Actor: "a\x00"},
		"reason":      {Namespace: "ns", Changes: one, Reason: strings.Repeat("x", config.MaxTextLength+1)},
		"correlation": {Namespace: "ns", Changes: one, CorrelationID: "\xff"},
	} {
		if err := cs.Check(); config.CodeOf(err) != config.Invalid {
			t.Errorf("%s: Check = %v", name, err)
		}
	}
}

func TestSetSizeLimit(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes long: make test-all runs it")
	}
	big := config.Value(`"` + strings.Repeat("x", config.MaxStringLength) + `"`)
	var changes []config.Change
	for i := range config.MaxSetSize/config.MaxStringLength + 1 {
		changes = append(changes, config.Change{Op: config.Set, Name: "n" + string(rune('A'+i)), Value: big})
	}
	cs := config.ChangeSet{Namespace: "ns", Changes: changes}
	if _, err := config.Decide(&cs, config.Present{State: state}); config.CodeOf(err) != config.TooLarge {
		t.Errorf("Decide = %v", err)
	}
}

func TestDecideSchemas(t *testing.T) {
	t.Parallel()
	cs := config.ChangeSet{Namespace: "ns", Changes: []config.Change{
		{Op: config.SetSchema, Name: config.SchemaStream("db.*"), Value: config.Value(`{"type":"number"}`)},
	}}
	if err := cs.Check(); err != nil {
		t.Fatal(err)
	}
	events, err := config.Decide(&cs, config.Present{State: state})
	if err != nil || len(events) != 1 || events[0].Type != config.SchemaSet || events[0].Name != "$schema.db.*" {
		t.Errorf("Decide = %+v, %v", events, err)
	}
	for _, name := range []string{"db", config.SchemaStream("a*"), config.SchemaStream("*.b"), config.SchemaStream("")} {
		cs.Changes[0].Name = name
		if err := cs.Check(); config.CodeOf(err) != config.Invalid {
			t.Errorf("schema stream %q: %v", name, err)
		}
	}
}

func TestDecideChecksValuesBySchema(t *testing.T) {
	t.Parallel()
	cs := config.ChangeSet{Namespace: "ns", Changes: []config.Change{set("good", `1`), set("bad", `{"a":2}`), remove("live")}}
	_, err := config.Decide(&cs, config.Present{State: state, Check: func(name string, _ config.Value) []config.Fault {
		if name == "bad" {
			return []config.Fault{{Pointer: "/a", Detail: "is too small"}}
		}
		return nil
	}})
	var e *config.Error
	if !errors.As(err, &e) || e.Code != config.SchemaViolation {
		t.Fatalf("Decide = %v", err)
	}
	if diff := cmp.Diff([]config.Fault{{Pointer: "/changes/1/value/a", Detail: "is too small"}}, e.Faults); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a.b", true},
		{"db.*", "db.pool", true},
		{"db.*", "db.pool.size", true},
		{"db.*", "db", false},
		{"db.*", "dbx", false},
		{"db", "db", true},
		{"db", "db.x", false},
	} {
		if err := config.CheckPattern(test.pattern); err != nil {
			t.Errorf("CheckPattern(%q) = %v", test.pattern, err)
		}
		if got := config.MatchPattern(test.pattern, test.name); got != test.want {
			t.Errorf("MatchPattern(%q, %q) = %v", test.pattern, test.name, got)
		}
	}
}
