package eventlog_test

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/testkit"
)

var discard = slog.New(slog.DiscardHandler)

func open(t testing.TB, pool *pgxpool.Pool) *eventlog.Log {
	t.Helper()
	log := eventlog.Open(pool, eventlog.Options{Logger: discard})
	t.Cleanup(log.Close)
	return log
}

func set(name, value string) eventlog.Command {
	return command(config.Change{Op: config.Set, Name: name, Value: config.Value(value)})
}

func command(changes ...config.Change) eventlog.Command {
	return eventlog.Command{Set: config.ChangeSet{
		Namespace: "ns", Changes: changes, Actor: "ann", Reason: "a test", CorrelationID: "c", RequestID: "r",
	}}
}

func mustAppend(t testing.TB, log *eventlog.Log, cmd eventlog.Command) eventlog.Outcome {
	t.Helper()
	out, err := log.Append(t.Context(), cmd)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return out
}

// checkLog reads the whole log and holds it against I2 and I3: gapless
// positions, a valid chain, versions from 1 in every stream.
func checkLog(t testing.TB, log *eventlog.Log) []config.Event {
	t.Helper()
	v, err := log.Verify(t.Context(), 1, 0, nil)
	if err != nil || !v.Valid {
		t.Fatalf("verify: %+v, %v", v, err)
	}
	var events []config.Event
	versions := map[string]int64{}
	for {
		page, err := log.Read(t.Context(), int64(len(events)), config.MaxChanges)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			key := e.Namespace + "/" + e.Name
			versions[key]++
			if e.Position != int64(len(events)+1) || e.Version != versions[key] {
				t.Fatalf("event %d of the log is at position %d, version %d of %s, want version %d",
					len(events)+1, e.Position, e.Version, key, versions[key])
			}
			events = append(events, e)
		}
		if len(page) == 0 {
			if int64(len(events)) != v.To {
				t.Fatalf("read %d events, the head is %d", len(events), v.To)
			}
			return events
		}
	}
}

func TestAppendThenRead(t *testing.T) {
	t.Parallel()
	log := open(t, testkit.Database(t, eventlog.Schema))
	before := time.Now().Add(-time.Second)
	mustAppend(t, log, set("a", `"one"`))
	out := mustAppend(t, log, command(
		config.Change{Op: config.Set, Name: "b", Value: config.Value(`2`)},
		config.Change{Op: config.Delete, Name: "a"},
	))
	head, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []eventlog.Changed{
		{Name: "b", Version: 1, Position: 2, Created: true},
		{Name: "a", Version: 2, Position: 3, Deleted: true},
	}
	if diff := cmp.Diff(want, out.Changes); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
	if out.Token() != head.Token() || out.Position != 3 {
		t.Errorf("outcome at %s, head at %s, want position 3", out.Token(), head.Token())
	}
	events := checkLog(t, log)
	e := events[2]
	if e.Type != config.ValueDeleted || e.Commit != 3 || events[1].Commit != 3 || events[0].Commit != 1 ||
		e.Actor != "ann" || e.Reason != "a test" || e.CorrelationID != "c" || e.RequestID != "r" ||
		string(e.Data) != `{"config_name":"a","deleted_value":"one"}` || e.RecordedAt.Before(before) || e.Hash != head.Hash {
		t.Errorf("event 3 = %+v", e)
	}
	select {
	case <-log.Appended():
	default:
		t.Error("no signal after an append")
	}
}

func TestRefusedCommandsLeaveNothing(t *testing.T) {
	t.Parallel()
	log := open(t, testkit.Database(t, eventlog.Schema))
	mustAppend(t, log, set("a", `1`))
	two := int64(2)
	for name, test := range map[string]struct {
		cmd  eventlog.Command
		code config.Code
	}{
		"invalid":      {set("a b", `1`), config.Invalid},
		"not found":    {command(config.Change{Op: config.Delete, Name: "none"}), config.NotFound},
		"precondition": {command(config.Change{Op: config.Set, Name: "a", Value: config.Value(`2`), Expected: &two}), config.PreconditionFailed},
	} {
		if _, err := log.Append(t.Context(), test.cmd); config.CodeOf(err) != test.code {
			t.Errorf("%s: %v, want %s", name, err, test.code)
		}
	}
	if n := len(checkLog(t, log)); n != 1 {
		t.Errorf("the log has %d events, want 1", n)
	}
}

// Two logs on one database are two command services.
func TestManyWritersAgainstTwoProcesses(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t, eventlog.Schema)
	logs := []*eventlog.Log{open(t, pool), open(t, pool)}
	const writers, writes = 16, 12
	var mu sync.Mutex
	acknowledged := map[int64]string{}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range writes {
				value := fmt.Sprintf(`"%d/%d"`, w, i)
				cmd := set("shared", value)
				if i%3 == 1 {
					cmd = set("own-"+strconv.Itoa(w), value)
				}
				if i%3 == 2 { // refused, among the accepted of the same batch
					if _, err := log(logs, w+i).Append(t.Context(), command(config.Change{Op: config.Delete, Name: "none"})); config.CodeOf(err) != config.NotFound {
						t.Errorf("delete of nothing: %v", err)
					}
				}
				out, err := log(logs, w+i).Append(t.Context(), cmd)
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				mu.Lock()
				if other, twice := acknowledged[out.Position]; twice {
					t.Errorf("position %d was given to %s and to %s", out.Position, other, value)
				}
				acknowledged[out.Position] = value
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	events := checkLog(t, logs[0])
	if len(events) != writers*writes {
		t.Errorf("the log has %d events, want %d", len(events), writers*writes)
	}
	for _, e := range events {
		p, err := e.Payload()
		if err != nil || string(p.Value) != acknowledged[e.Position] {
			t.Errorf("position %d holds %s (%v), acknowledged was %s", e.Position, p.Value, err, acknowledged[e.Position])
		}
	}
}

func log(logs []*eventlog.Log, i int) *eventlog.Log { return logs[i%len(logs)] }

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t, eventlog.Schema)
	cmd := set("a", `1`)
	cmd.Key, cmd.RequestHash = "key-1", config.Hash{1}

	first := mustAppend(t, open(t, pool), cmd)
	again := mustAppend(t, open(t, pool), cmd) // another process, or the same after a restart
	if !again.Replayed || first.Replayed {
		t.Errorf("replayed: first %v, again %v", first.Replayed, again.Replayed)
	}
	again.Replayed = false
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("outcome (-first +again):\n%s", diff)
	}
	other := cmd
	other.RequestHash = config.Hash{2}
	if _, err := open(t, pool).Append(t.Context(), other); config.CodeOf(err) != config.KeyReused {
		t.Errorf("another request with the key: %v", err)
	}
	if n := len(checkLog(t, open(t, pool))); n != 1 {
		t.Errorf("the log has %d events, want 1", n)
	}
}

func TestSameKeyAtOnceIsOne(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t, eventlog.Schema)
	logs := []*eventlog.Log{open(t, pool), open(t, pool)}
	cmd := set("a", `1`)
	cmd.Key = "key"
	var wg sync.WaitGroup
	positions := make([]int64, 16)
	for i := range positions {
		wg.Go(func() {
			out, err := log(logs, i).Append(t.Context(), cmd)
			if err != nil {
				t.Errorf("append: %v", err)
			}
			positions[i] = out.Position
		})
	}
	wg.Wait()
	for _, p := range positions {
		if p != 1 {
			t.Errorf("positions %v, want all 1", positions)
			break
		}
	}
	if n := len(checkLog(t, logs[0])); n != 1 {
		t.Errorf("the log has %d events, want 1", n)
	}
}

func TestReadKeepsChangeSetsWhole(t *testing.T) {
	t.Parallel()
	log := open(t, testkit.Database(t, eventlog.Schema))
	changes := make([]config.Change, 600)
	for i := range changes {
		changes[i] = config.Change{Op: config.Set, Name: "n" + strconv.Itoa(i), Value: config.Value(`1`)}
	}
	mustAppend(t, log, command(changes...))
	mustAppend(t, log, command(changes...))
	for _, test := range []struct{ after, want int64 }{{0, 600}, {600, 600}, {900, 300}, {1200, 0}} {
		events, err := log.Read(t.Context(), test.after, config.MaxChanges)
		if err != nil || int64(len(events)) != test.want {
			t.Errorf("read after %d: %d events, %v; want %d", test.after, len(events), err, test.want)
		}
	}
}

func TestReadIsBoundedInSize(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	log := open(t, testkit.Database(t, eventlog.Schema))
	big := `"` + strings.Repeat("x", 850_000) + `"`
	for i := range 5 {
		mustAppend(t, log, set("n"+strconv.Itoa(i), big))
	}
	mustAppend(t, log, set("small", `1`))
	for _, test := range []struct{ after, want int64 }{{0, 5}, {5, 1}} {
		events, err := log.Read(t.Context(), test.after, config.MaxChanges)
		if err != nil || int64(len(events)) != test.want {
			t.Errorf("read %d events after %d, %v; want %d: five pass 4 MiB", len(events), test.after, err, test.want)
		}
	}
}

// nowhere is a pool of a server that does not answer.
func nowhere(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool, err := pg.Open(t.Context(), "postgres://nobody@127.0.0.1:1/none?sslmode=disable", "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func TestDatabaseDown(t *testing.T) {
	t.Parallel()
	log := open(t, nowhere(t))
	if _, err := log.Append(t.Context(), set("a", `1`)); config.CodeOf(err) != config.Unavailable {
		t.Errorf("append without a database: %v", err)
	}
	for what, read := range map[string]func() error{
		"head":       func() error { _, err := log.Head(t.Context()); return err },
		"events":     func() error { _, err := log.Read(t.Context(), 0, config.MaxChanges); return err },
		"hash":       func() error { _, err := log.HashAt(t.Context(), 1); return err },
		"verify":     func() error { _, err := log.Verify(t.Context(), 1, 0, nil); return err },
		"position":   func() error { _, err := log.PositionAt(t.Context(), time.Now()); return err },
		"names":      func() error { _, err := log.Names(t.Context(), "ns"); return err },
		"changed":    func() error { _, err := log.ChangedSince(t.Context(), "ns", 0); return err },
		"states":     func() error { _, err := log.States(t.Context(), "ns", nil, 0); return err },
		"change set": func() error { _, err := log.ChangeSet(t.Context(), "ns", "c"); return err },
		"known":      func() error { _, _, err := log.Known(t.Context(), eventlog.Command{Key: "k"}); return err },
		"values":     func() error { return log.Values(t.Context(), "ns", "*", 0, true, nil) },
	} {
		if err := read(); !pg.IsUnavailable(err) {
			t.Errorf("%s without a database: %v", what, err)
		}
	}
}

func TestAppendAfterClose(t *testing.T) {
	t.Parallel()
	log := eventlog.Open(nowhere(t), eventlog.Options{Logger: discard})
	log.Close()
	if _, err := log.Append(t.Context(), set("a", `1`)); config.CodeOf(err) != config.Unavailable {
		t.Errorf("append after Close: %v", err)
	}
}
