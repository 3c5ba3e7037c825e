package readmodel_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/testkit"
)

const epoch = "0191f3a2-0000-7000-8000-000000000001"

// start is when the first event of [randomEvents] is recorded; the next come a
// second after each other.
var start = time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC)

// randomEvents returns at least n valid events in change sets of one to four,
// over two namespaces, a few names and a schema.
func randomEvents(seed uint64, n int) []config.Event {
	random := rand.New(rand.NewPCG(seed, 1))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	var events []config.Event
	states := map[[2]string]config.State{}
	for len(events) < n {
		size := 1 + random.IntN(4)
		names := []string{"a", "a.b", "a.c", "b", "b-1", "b_1", "Z", config.SchemaStream("a.*")}
		random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		namespace, actor, correlation, commit := pick("one", "two"), pick("ann", "bob"), fmt.Sprint("c", random.IntN(10)), int64(len(events)+size)
		for _, name := range names[:size] {
			key := [2]string{namespace, name}
			e := config.Event{
				Position: int64(len(events) + 1), Namespace: namespace, Name: name, Version: states[key].Version + 1,
				ID: uuid.NewString(), Type: config.ValueSet, SchemaVersion: 1, Commit: commit, CommandID: uuid.NewString(),
				Actor: actor, Reason: "why not", CorrelationID: correlation, RequestID: "r", RecordedAt: start.Add(time.Duration(len(events)) * time.Second),
			}
			old := "null"
			if states[key].Live() {
				old = string(states[key].Value)
			}
			e.Data = fmt.Appendf(nil, `{"config_name":%q,"value":{"n":%d},"old_value":%s}`, name, e.Position, old)
			if states[key].Live() && random.IntN(3) == 0 {
				e.Type, e.Data = config.ValueDeleted, fmt.Appendf(nil, `{"config_name":%q,"deleted_value":%s}`, name, old)
			}
			e.Hash = e.ChainHash(config.Hash{}, epoch)
			states[key], _ = states[key].Apply(&e)
			events = append(events, e)
		}
	}
	return events
}

// entries are the events as the history should have them.
func entries(t testing.TB, events []config.Event, keep func(readmodel.Entry) bool) []readmodel.Entry {
	t.Helper()
	var kept []readmodel.Entry
	for i := range events {
		e, err := readmodel.EntryOf(&events[i])
		if err != nil {
			t.Fatal(err)
		}
		if keep(e) {
			kept = append(kept, e)
		}
	}
	return kept
}

// fold returns the rows as of a position, deleted ones too, by namespace and name.
func fold(t testing.TB, events []config.Event, position int64) []readmodel.Row {
	t.Helper()
	last := map[[2]string]readmodel.Row{}
	for _, e := range entries(t, events[:position], func(readmodel.Entry) bool { return true }) {
		last[[2]string{e.Namespace, e.Name}] = e.Row
	}
	var rows []readmodel.Row
	for _, row := range last {
		rows = append(rows, row)
	}
	slices.SortFunc(rows, byName)
	return rows
}

func byName(a, b readmodel.Row) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// load returns all rows of the active generation.
func load(t testing.TB, store *readmodel.Store) ([]readmodel.Row, readmodel.Checkpoint) {
	t.Helper()
	var rows []readmodel.Row
	checkpoint, err := store.Load(t.Context(), func(r readmodel.Row) error {
		rows = append(rows, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(rows, byName)
	return rows, checkpoint
}

// filled returns a store to which the events were applied in batches of random
// sizes.
func filled(t testing.TB, events []config.Event) *readmodel.Store {
	t.Helper()
	store := readmodel.New(testkit.Database(t, readmodel.Schema))
	at, err := store.Checkpoint(t.Context())
	for err == nil && at.Position < int64(len(events)) {
		end := events[at.Position+rand.Int64N(min(60, int64(len(events))-at.Position))].Commit
		at, err = store.Apply(t.Context(), at, epoch, events[at.Position:end])
	}
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func equal(t testing.TB, what string, err error, want, got any) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func TestTablesAreTheFoldOfTheEvents(t *testing.T) {
	t.Parallel()
	events := randomEvents(1, 300)
	store := filled(t, events)
	rows, checkpoint := load(t, store)
	equal(t, "rows", nil, fold(t, events, int64(len(events))), rows)
	last := events[len(events)-1]
	equal(t, "checkpoint", nil, readmodel.Checkpoint{
		Generation: 1, Epoch: epoch, Position: last.Position, Hash: last.Hash, RecordedAt: last.RecordedAt,
	}, checkpoint)
	equal(t, "token", nil, config.Token{Epoch: epoch, Position: last.Position}, checkpoint.Token())
	stop := errors.New("enough")
	if _, err := store.Load(t.Context(), func(readmodel.Row) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Load returned %v instead of the function's error", err)
	}
}

func TestWhatIsRefusedChangesNothing(t *testing.T) {
	t.Parallel()
	events := randomEvents(2, 40)
	first := events[0].Commit
	store := filled(t, events[:first])
	before, at := load(t, store)
	next := events[first : first+1]
	for i := range next {
		next[i].Commit = next[i].Position
	}
	changed := func(change func(e *config.Event)) []config.Event {
		e := next[0]
		change(&e)
		return []config.Event{e}
	}
	stale := at
	stale.Position--
	tests := map[string]struct {
		from   readmodel.Checkpoint
		epoch  string
		events []config.Event
		want   error
	}{
		"nothing":           {at, epoch, nil, nil},
		"a gap":             {at, epoch, changed(func(e *config.Event) { e.Position++; e.Commit++ }), nil},
		"half a change set": {at, epoch, changed(func(e *config.Event) { e.Commit++ }), nil},
		"another log":       {at, "another", next, nil},
		"data it can't read": {at, epoch, changed(func(e *config.Event) {
			e.Data = []byte(`{`)
		}), nil},
		"a moved checkpoint":     {stale, epoch, changed(func(e *config.Event) { e.Position--; e.Commit-- }), readmodel.ErrFenced},
		"a generation not there": {readmodel.Checkpoint{Generation: 7}, epoch, events[:1], nil},
	}
	for name, test := range tests {
		_, err := store.Apply(t.Context(), test.from, test.epoch, test.events)
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: error %v, want %v", name, err, test.want)
		}
	}
	var unknown *config.UnknownEventError
	for name, change := range map[string]func(*config.Event){
		"type":    func(e *config.Event) { e.Type = "ConfigRenamed" },
		"version": func(e *config.Event) { e.SchemaVersion = 2 },
	} {
		if _, err := store.Apply(t.Context(), at, epoch, changed(change)); !errors.As(err, &unknown) {
			t.Errorf("unknown %s: error %v", name, err)
		}
	}
	after, now := load(t, store)
	equal(t, "rows", nil, before, after)
	equal(t, "checkpoint", nil, at, now)
}

// Two that apply from the same checkpoint at once: one does, the other is told.
func TestFence(t *testing.T) {
	t.Parallel()
	events := randomEvents(3, 200)
	store := readmodel.New(testkit.Database(t, readmodel.Schema))
	const workers = 4
	done := make(chan error, workers)
	for range workers {
		go func() { done <- applyAll(t.Context(), store, events) }()
	}
	for range workers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	rows, _ := load(t, store)
	equal(t, "rows", nil, fold(t, events, int64(len(events))), rows)
}

func applyAll(ctx context.Context, store *readmodel.Store, events []config.Event) error {
	for {
		at, err := store.Checkpoint(ctx)
		if err != nil || at.Position == int64(len(events)) {
			return err
		}
		end := events[min(at.Position+10, int64(len(events))-1)].Commit
		if _, err := store.Apply(ctx, at, epoch, events[at.Position:end]); err != nil && !errors.Is(err, readmodel.ErrFenced) {
			return err
		}
	}
}

func TestLogged(t *testing.T) {
	t.Parallel()
	store := readmodel.New(testkit.Database(t, readmodel.Schema))
	to := config.Token{Epoch: epoch, Position: 7}
	if err := store.SetLogged(t.Context(), config.Token{}, to); err != nil {
		t.Fatal(err)
	}
	if err := store.SetLogged(t.Context(), config.Token{}, to); !errors.Is(err, readmodel.ErrFenced) {
		t.Errorf("a second writer got %v", err)
	}
	got, err := store.Logged(t.Context())
	equal(t, "position", err, to, got)
}
