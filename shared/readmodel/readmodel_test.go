package readmodel_test

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/testkit"
)

const epoch = testkit.Epoch

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
	store.SetSnapshotEvery(7)
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
	events := testkit.RandomLog(t, 1, 300).Events
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
	events := testkit.RandomLog(t, 2, 40).Events
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
	events := testkit.RandomLog(t, 3, 200).Events
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

// A standby ends a read that is in the way of what it replays, with the code of a
// serialization failure. It is tried once more, and no more.
func TestReadThatAStandbyEnds(t *testing.T) {
	t.Parallel()
	store := readmodel.New(testkit.Database(t, readmodel.Schema))
	for failures, want := range map[int]string{0: "", 1: "", 2: "40001"} {
		tries := 0
		err := store.Read(t.Context(), func() string {
			if tries++; tries <= failures {
				return `do $$ begin raise 'canceling statement due to conflict with recovery' using errcode = '40001'; end $$`
			}
			return `select 1`
		})
		if pg.Code(err) != want || tries != min(failures+1, 2) {
			t.Errorf("after %d failures: %v after %d tries", failures, err, tries)
		}
	}
}
