package config_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/config-api/config-api/shared/config"
)

// golden is an event as version N of this program wrote it, with what it means
// and the hash that it has in the chain. A file, once landed, is never changed:
// every later version must read it alike.
type golden struct {
	Type          config.EventType `json:"type"`
	SchemaVersion int              `json:"schema_version"`
	Data          json.RawMessage  `json:"data"`
	Value         json.RawMessage  `json:"value"`
	OldValue      json.RawMessage  `json:"old_value"`
	Deleted       bool             `json:"deleted"`
	ChainHash     string           `json:"chain_hash"`
}

func TestGoldenEvents(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/event-*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden events: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var g golden
			if err := json.Unmarshal(text, &g); err != nil {
				t.Fatal(err)
			}
			e := goldenEvent()
			e.Type, e.SchemaVersion, e.Data = g.Type, g.SchemaVersion, g.Data
			p, err := e.Payload()
			if err != nil {
				t.Fatal(err)
			}
			want := config.Payload{Value: config.Value(g.Value), OldValue: config.Value(g.OldValue), Deleted: g.Deleted}
			if diff := cmp.Diff(want, p); diff != "" {
				t.Errorf("payload (-want +got):\n%s", diff)
			}
			h := e.ChainHash(config.Hash{1, 2, 3}, "0191f3a2-0000-7000-8000-000000000000")
			if got := hex.EncodeToString(h[:]); got != g.ChainHash {
				t.Errorf("chain hash = %s, want %s", got, g.ChainHash)
			}
		})
	}
}

func goldenEvent() config.Event {
	return config.Event{
		Position: 7, Namespace: "payments", Name: "db.pool", Version: 2, ID: "0191f3a2-0000-7000-8000-000000000001",
		Type: config.ValueSet, SchemaVersion: 1, Commit: 8, CommandID: "0191f3a2-0000-7000-8000-000000000002",
		Actor: "ann", Reason: "more load", CorrelationID: "c", RequestID: "r",
		RecordedAt: time.Date(2026, 11, 23, 8, 0, 0, 123456000, time.UTC),
		Data:       []byte(`{"config_name":"db.pool","value":1,"old_value":null}`),
	}
}

// Every field is in the hash: an event with any one of them changed has another.
func TestChainHashCoversEveryField(t *testing.T) {
	t.Parallel()
	epoch := "0191f3a2-0000-7000-8000-000000000000"
	base := goldenEvent()
	seen := map[config.Hash]string{base.ChainHash(config.Hash{}, epoch): "nothing"}
	differs := func(what string, h config.Hash) {
		t.Helper()
		if other, twice := seen[h]; twice {
			t.Errorf("changing %s gives the hash of changing %s", what, other)
		}
		seen[h] = what
	}
	differs("the hash before", base.ChainHash(config.Hash{1}, epoch))
	differs("the epoch", base.ChainHash(config.Hash{}, "0191f3a2-0000-7000-8000-000000000009"))
	for what, change := range map[string]func(*config.Event){
		"Position":      func(e *config.Event) { e.Position++ },
		"Namespace":     func(e *config.Event) { e.Namespace = "payment" },
		"Name":          func(e *config.Event) { e.Name = "sdb.pool" },
		"Version":       func(e *config.Event) { e.Version++ },
		"ID":            func(e *config.Event) { e.ID = e.CommandID },
		"Type":          func(e *config.Event) { e.Type = config.ValueDeleted },
		"SchemaVersion": func(e *config.Event) { e.SchemaVersion++ },
		"Commit":        func(e *config.Event) { e.Commit++ },
		"CommandID":     func(e *config.Event) { e.CommandID = e.ID },
		"Actor":         func(e *config.Event) { e.Actor = "bob" },
		"Reason":        func(e *config.Event) { e.Reason = "" },
		"CorrelationID": func(e *config.Event) { e.CorrelationID = "d" },
		"RequestID":     func(e *config.Event) { e.RequestID = "s" },
		"RecordedAt":    func(e *config.Event) { e.RecordedAt = e.RecordedAt.Add(time.Microsecond) },
		"Data":          func(e *config.Event) { e.Data = append(e.Data, ' ') },
	} {
		e := goldenEvent()
		change(&e)
		differs(what, e.ChainHash(config.Hash{}, epoch))
	}
}

func TestUnknownEventsAreToldApart(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]config.Event{
		"newer schema": {Type: config.ValueSet, SchemaVersion: config.SchemaVersion + 1, Data: []byte(`{}`)},
		"no schema":    {Type: config.ValueSet, Data: []byte(`{}`)},
		"unknown type": {Type: "ConfigRenamed", SchemaVersion: 1, Data: []byte(`{}`)},
	} {
		var unknown *config.UnknownEventError
		if _, err := (config.State{}).Apply(&e); !errors.As(err, &unknown) {
			t.Errorf("%s: Apply = %v", name, err)
		}
	}
	var unknown *config.UnknownEventError
	for name, data := range map[string]string{"no JSON": `{`, "no value": `{}`} {
		e := config.Event{Type: config.ValueSet, SchemaVersion: 1, Data: []byte(data)}
		if _, err := e.Payload(); err == nil || errors.As(err, &unknown) {
			t.Errorf("%s: Payload = %v", name, err)
		}
	}
	for _, data := range []string{`{`, `[1]`, `"{"`, ` 5`} { // a deletion's data is an object, too
		e := config.Event{Type: config.ValueDeleted, SchemaVersion: 1, Data: []byte(data)}
		if p, err := e.Payload(); err == nil || errors.As(err, &unknown) {
			t.Errorf("a deletion with data %s: Payload = %+v, %v", data, p, err)
		}
	}
}

func TestApplyFolds(t *testing.T) {
	t.Parallel()
	var s config.State
	for i, change := range []config.Change{set("n", `1`), set("n", `{"a":2}`), remove("n"), set("n", `""`)} {
		cs := config.ChangeSet{Namespace: "ns", Changes: []config.Change{change}}
		events, err := config.Decide(&cs, config.Present{State: func(string) config.State { return s }})
		if err != nil {
			t.Fatal(err)
		}
		events[0].Position = int64(10 + i)
		if s, err = s.Apply(&events[0]); err != nil {
			t.Fatal(err)
		}
		want := config.State{Version: int64(i + 1), Position: int64(10 + i), Value: change.Value, Deleted: change.Op == config.Delete}
		if diff := cmp.Diff(want, s); diff != "" {
			t.Errorf("state after change %d (-want +got):\n%s", i, diff)
		}
	}
}
