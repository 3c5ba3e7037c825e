package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/testkit"
)

// fact is what the model keeps of an event.
type fact struct {
	Name, Value   string // Value is "" of a delete
	Version       int64
	Position      int64
	Actor, Reason string
	CorrelationID string
	RecordedAt    time.Time
	OldValue      string
}

// model is the slice of events of one namespace, and what follows from it.
type model []fact

// at is the state after the event at a position.
func (m model) at(position int64) map[string]fact {
	state := map[string]fact{}
	for _, f := range m {
		if f.Position <= position {
			if state[f.Name] = f; f.Value == "" {
				delete(state, f.Name)
			}
		}
	}
	return state
}

func (m model) version(name string) (version int64) {
	for _, f := range m {
		if f.Name == name {
			version = f.Version
		}
	}
	return version
}

const latest = int64(1) << 60

// machine runs random commands against a system and the model.
type machine struct {
	t      *testing.T
	system *system
	client *client.Client
	ns     *client.Namespace
	events model
	sets   int
}

func factOf(e client.Event) fact {
	f := fact{
		Name: e.Name, Value: string(e.Value), OldValue: string(e.OldValue), Version: e.Version, Position: e.Position,
		Actor: e.Actor, Reason: e.Reason, CorrelationID: e.CorrelationID, RecordedAt: e.RecordedAt,
	}
	if e.Type == config.ValueDeleted {
		f.Value = ""
	}
	if f.OldValue == "null" {
		f.OldValue = ""
	}
	return f
}

// append adds the events of an accepted change set to the model.
func (m *machine) append(changes []fact, last int64, correlationID string, at time.Time) {
	for i, f := range changes {
		f.Position = last - int64(len(changes)-1-i)
		f.RecordedAt = at.Add(-time.Duration(len(changes)-1-i) * time.Microsecond)
		f.CorrelationID, f.Actor = correlationID, "ann"
		f.Version = m.events.version(f.Name) + 1
		f.OldValue = m.events.at(latest)[f.Name].Value
		m.events = append(m.events, f)
	}
}

var modelNames = []string{"a", "a.b", "a-b", "b", "Z.z"}

// change is a random command: one change or several, some with a version that is
// expected, and is refused or not as the model says.
func (m *machine) change(rt *rapid.T) {
	now := m.events.at(latest)
	var sent []client.Change
	var facts []fact
	var refusal error
	reason := fmt.Sprint("set ", m.sets)
	m.sets++
	names := rapid.Permutation(modelNames).Draw(rt, "names")[:rapid.IntRange(1, 3).Draw(rt, "n")]
	stale := false
	for i, name := range names {
		c := client.Set(name, fmt.Sprintf("%d.%d", m.sets, i))
		f := fact{Name: name, Value: fmt.Sprintf(`"%d.%d"`, m.sets, i), Reason: reason}
		live, there := now[name]
		if rapid.IntRange(0, 3).Draw(rt, "delete") == 0 {
			c, f.Value = client.Delete(name), ""
			if !there && refusal == nil {
				refusal = client.ErrNotFound
				if m.events.version(name) > 0 {
					refusal = client.ErrGone
				}
			}
		}
		switch rapid.IntRange(0, 5).Draw(rt, "expected") {
		case 0:
			c = c.If(live.Version)
		case 1:
			c, stale = c.If(live.Version+1), true
		}
		sent, facts = append(sent, c), append(facts, f)
	}
	got, err := m.ns.Apply(m.t.Context(), sent, client.Reason(reason))
	switch {
	case stale || refusal != nil:
		// What is refused first is not promised, only that it is for one of these.
		if !(stale && errors.Is(err, client.ErrPreconditionFailed)) && (refusal == nil || !errors.Is(err, client.ErrGone) && !errors.Is(err, client.ErrNotFound)) {
			rt.Fatalf("%+v: error %v, want that it is refused (a stale version: %t, %v)", sent, err, stale, refusal)
		}
	case err != nil:
		rt.Fatalf("%+v: %v", sent, err)
	default:
		m.append(facts, got.Position, got.CorrelationID, got.RecordedAt)
	}
}

// then draws a position: of an event of the namespace, or near one.
func (m *machine) then(rt *rapid.T) int64 {
	if len(m.events) == 0 {
		return 0
	}
	f := m.events[rapid.IntRange(0, len(m.events)-1).Draw(rt, "event")]
	return f.Position - int64(rapid.IntRange(0, 1).Draw(rt, "before"))
}

func wantState(rt *rapid.T, what string, got []client.Config, want map[string]fact) {
	state := map[string]fact{}
	for _, c := range got {
		f := want[c.Name]
		state[c.Name] = fact{
			Name: c.Name, Value: string(c.Value), Version: c.Version, Position: c.Position, Actor: c.UpdatedBy, Reason: c.Reason,
			CorrelationID: c.CorrelationID, RecordedAt: c.UpdatedAt, OldValue: f.OldValue,
		}
	}
	if diff := cmp.Diff(want, state); diff != "" {
		rt.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func collect[T any](rt *rapid.T, all func(func(T, error) bool)) (items []T) {
	for item, err := range all {
		if err != nil {
			rt.Fatal(err)
		}
		items = append(items, item)
	}
	return items
}

func (m *machine) readNow(rt *rapid.T) {
	wantState(rt, "the namespace", collect(rt, m.ns.List(m.t.Context(), "")), m.events.at(latest))
	name := rapid.SampledFrom(modelNames).Draw(rt, "name")
	got, err := m.ns.Get(m.t.Context(), name)
	if want, there := m.events.at(latest)[name]; there != (err == nil) || there && (string(got.Value) != want.Value || got.Version != want.Version) {
		rt.Fatalf("%s is %+v, %v; want %+v", name, got, err, want)
	}
}

func (m *machine) readThen(rt *rapid.T) {
	position := m.then(rt)
	wantState(rt, fmt.Sprint("the namespace at ", position), collect(rt, m.ns.List(m.t.Context(), "", client.AtPosition(position))), m.events.at(position))
	name := rapid.SampledFrom(modelNames).Draw(rt, "name")
	got, err := m.ns.Get(m.t.Context(), name, client.AtPosition(position))
	if want, there := m.events.at(position)[name]; there != (err == nil) || there && (string(got.Value) != want.Value || got.Version != want.Version) {
		rt.Fatalf("%s at %d is %+v, %v; want %+v", name, position, got, err, want)
	}
	if len(m.events) == 0 {
		return
	}
	// At the time of an event its whole change set has happened.
	f := m.events[rapid.IntRange(0, len(m.events)-1).Draw(rt, "time")]
	want := model{}
	for _, e := range m.events {
		if !e.RecordedAt.After(f.RecordedAt) || e.CorrelationID == f.CorrelationID {
			want = append(want, e)
		}
	}
	wantState(rt, fmt.Sprint("the namespace at ", f.RecordedAt), collect(rt, m.ns.List(m.t.Context(), "", client.At(f.RecordedAt))), want.at(latest))
}

func (m *machine) history(rt *rapid.T) {
	name := rapid.SampledFrom(modelNames).Draw(rt, "name")
	var want, got []fact
	for _, f := range m.events {
		if f.Name == name {
			want = append(want, f)
		}
	}
	for _, e := range collect(rt, m.ns.History(m.t.Context(), name)) {
		got = append(got, factOf(e))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		rt.Fatalf("the history of %s (-want +got):\n%s", name, diff)
	}
}

func (m *machine) diff(rt *rapid.T) {
	from, to := m.then(rt), m.then(rt)
	if from > to {
		from, to = to, from
	}
	got, err := m.ns.Diff(m.t.Context(), client.Position(from), client.Position(to))
	if err != nil {
		rt.Fatal(err)
	}
	before, after := m.events.at(from), m.events.at(to)
	want := map[string][2]string{}
	for _, name := range modelNames {
		if before[name].Value != after[name].Value {
			want[name] = [2]string{before[name].Value, after[name].Value}
		}
	}
	found := map[string][2]string{}
	for _, d := range got.Changes {
		values := [2]string{string(d.OldValue), string(d.NewValue)}
		for i := range values {
			values[i] = strings.TrimPrefix(values[i], "null")
		}
		found[d.Name] = values
	}
	if diff := cmp.Diff(want, found); diff != "" {
		rt.Fatalf("from %d to %d (-want +got):\n%s", from, to, diff)
	}
}

// revert goes back to a position, after a dry run that must say the same.
func (m *machine) revert(rt *rapid.T) {
	to := m.then(rt)
	now, then := m.events.at(latest), m.events.at(to)
	want := map[string]string{}
	for _, name := range modelNames {
		if now[name].Value != then[name].Value {
			want[name] = then[name].Value
		}
	}
	reason := fmt.Sprint("revert ", len(m.events))
	dry, err := m.ns.Revert(m.t.Context(), client.Position(to), client.Rewriting{DryRun: true})
	if err != nil {
		rt.Fatal(err)
	}
	done, err := m.ns.Revert(m.t.Context(), client.Position(to), client.Rewriting{}, client.Reason(reason))
	if err != nil {
		rt.Fatal(err)
	}
	if diff := cmp.Diff(dry.Changes, done.Changes); diff != "" {
		rt.Fatalf("the dry run and the real one (-dry +real):\n%s", diff)
	}
	var facts []fact
	got := map[string]string{}
	for _, c := range done.Changes {
		f := fact{Name: c.Name, Value: string(c.Value), Reason: reason}
		if c.Op == config.Delete {
			f.Value = ""
		}
		got[c.Name], facts = f.Value, append(facts, f)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		rt.Fatalf("reverted to %d (-want +got):\n%s", to, diff)
	}
	if len(facts) == 0 {
		return
	}
	first, err := m.ns.Get(m.t.Context(), facts[0].Name, client.AtPosition(done.Position))
	at := first.UpdatedAt
	if errors.Is(err, client.ErrNotFound) { // deleted: its history knows when
		events := collect(rt, m.ns.History(m.t.Context(), facts[0].Name))
		at, err = events[len(events)-1].RecordedAt, nil
	}
	if err != nil {
		rt.Fatal(err)
	}
	m.append(facts, done.Position, done.CorrelationID, at.Add(time.Duration(len(facts)-1)*time.Microsecond))
}

// watch sees all events after a position once and in order.
func (m *machine) watch(rt *rapid.T) {
	from := m.then(rt)
	var want, got []fact
	for _, f := range m.events {
		if f.Position > from {
			want = append(want, f)
		}
	}
	if len(want) == 0 {
		return
	}
	after := client.Begin
	if from > 0 {
		after = config.Token{Epoch: m.client.Seen().Epoch, Position: from}
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), 20*time.Second)
	defer cancel()
	for e, err := range m.ns.Watch(ctx, client.WatchOptions{After: after}) {
		if err != nil {
			rt.Fatal(err)
		}
		if got = append(got, factOf(e)); len(got) == len(want) {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		rt.Fatalf("watched from %d (-want +got):\n%s", from, diff)
	}
}

// restart ends all services and starts them on the same data.
func (m *machine) restart(*rapid.T) {
	m.system.stop()
	m.system.start(m.t)
	m.connect()
}

// loseStream deletes the feed's stream, which is filled again from the log.
func (m *machine) loseStream(rt *rapid.T) {
	js, err := jetstream.New(m.system.nats.Conn(m.t))
	if err != nil {
		rt.Fatal(err)
	}
	if err := js.DeleteStream(m.t.Context(), feed.Stream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		rt.Fatal(err)
	}
}

func (m *machine) connect() {
	seen := config.Token{}
	if m.client != nil {
		seen = m.client.Seen()
	}
	m.client = newClient(m.t, m.system.url)
	m.client.Echo(seen)
	if m.ns != nil {
		m.ns = m.client.Namespace(m.ns.Name())
	}
}

// sometimes makes a command rare.
func sometimes(oneIn int, f func(*rapid.T)) func(*rapid.T) {
	return func(rt *rapid.T) {
		if rapid.IntRange(1, oneIn).Draw(rt, "rarely") == 1 {
			f(rt)
		}
	}
}

var modelChecks = flag.Int("model-checks", 10, "how many random sequences of commands TestModel runs")

// Random commands: current values, the past, diff, revert, history and watch
// agree with a slice of events, also over restarts and the loss of the stream.
func TestModel(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	if err := flag.Set("rapid.checks", fmt.Sprint(*modelChecks)); err != nil {
		t.Fatal(err)
	}
	s := startSystem(t)
	n, commands := 0, map[string]int{}
	counted := func(name string, f func(*rapid.T)) func(*rapid.T) {
		return func(rt *rapid.T) {
			commands[name]++
			f(rt)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		m := &machine{t: t, system: s}
		m.connect()
		n++
		m.ns = m.client.Namespace(fmt.Sprint("model-", n))
		actions := map[string]func(*rapid.T){
			"change": m.change, "change again": m.change, "revert": m.revert,
			"read": m.readNow, "read the past": m.readThen, "history": m.history, "diff": m.diff, "watch": m.watch,
			"restart": m.restart, "lose the stream": m.loseStream,
		}
		for name, f := range actions {
			if actions[name] = counted(name, f); name == "restart" || name == "lose the stream" {
				actions[name] = sometimes(4, actions[name])
			}
		}
		rt.Repeat(actions)
	})
	names := slices.Sorted(maps.Keys(commands))
	for _, name := range names {
		t.Logf("%d times %s", commands[name], name)
	}
}
