package testkit

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/config-api/config-api/shared/config"
)

// Epoch is the epoch of a [Log].
const Epoch = "0191f3a2-0000-7000-8000-000000000001"

// ID is the identity of a [Log].
var ID = config.LogID{Epoch: Epoch, Origin: Epoch}

// Began is when the first event of a [Log] was recorded; the others follow a
// second after each other.
var Began = time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC)

// Log makes up valid events in memory, as a command service would append them:
// for tests of what comes after the event log.
type Log struct {
	Events []config.Event // event p is at p-1
	states map[[2]string]config.State
}

// Append decides a change set and appends its events, which it returns too.
func (l *Log) Append(t testing.TB, set config.ChangeSet) []config.Event {
	t.Helper()
	if l.states == nil {
		l.states = map[[2]string]config.State{}
	}
	state := func(name string) config.State { return l.states[[2]string{set.Namespace, name}] }
	decided, err := config.Decide(&set, config.Present{State: state})
	if err != nil {
		t.Fatalf("testkit: %v", err)
	}
	before := len(l.Events)
	commandID, commit := uuid.NewString(), int64(before+len(decided))
	for _, e := range decided {
		e.Position, e.Commit, e.ID, e.CommandID = int64(len(l.Events)+1), commit, uuid.NewString(), commandID
		e.RecordedAt = Began.Add(time.Duration(len(l.Events)) * time.Second)
		next, err := state(e.Name).Apply(&e)
		if err != nil {
			t.Fatalf("testkit: %v", err)
		}
		l.states[[2]string{e.Namespace, e.Name}] = next
		l.Events = append(l.Events, e)
	}
	l.Chain(before)
	return l.Events[before:]
}

// Chain makes the hashes of the events after a position, anew if the test has
// changed some.
func (l *Log) Chain(after int) {
	var previous config.Hash
	if after > 0 {
		previous = l.Events[after-1].Hash
	}
	for i := range l.Events[after:] {
		e := &l.Events[after+i]
		e.Hash = e.ChainHash(previous, Epoch)
		previous = e.Hash
	}
}

// Set appends the event of one value.
func (l *Log) Set(t testing.TB, namespace, name, value string) []config.Event {
	t.Helper()
	return l.Append(t, config.ChangeSet{Namespace: namespace, Actor: "ann", Changes: []config.Change{
		{Op: config.Set, Name: name, Value: config.Value(value)},
	}})
}

// RandomLog returns a log of at least n events in change sets of one to four,
// over two namespaces, a few names and a schema.
func RandomLog(t testing.TB, seed uint64, n int) *Log {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	l := new(Log)
	for len(l.Events) < n {
		names := []string{"a", "a.b", "a.c", "b", "b-1", "b_1", "Z", config.SchemaStream("a.*")}
		random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		set := config.ChangeSet{
			Namespace: pick("one", "two"), Actor: pick("ann", "bob"), Reason: "why not",
			CorrelationID: fmt.Sprint("c", random.IntN(10)), RequestID: "r",
		}
		for _, name := range names[:1+random.IntN(4)] {
			c := config.Change{Op: config.Set, Name: name, Value: config.Value(fmt.Sprintf(`{"n":%d}`, len(l.Events)+1))}
			if l.states[[2]string{set.Namespace, name}].Live() && random.IntN(3) == 0 {
				c.Op, c.Value = config.Delete, nil
			}
			if _, schema := config.SchemaPattern(name); schema {
				c.Op += "-schema"
			}
			set.Changes = append(set.Changes, c)
		}
		l.Append(t, set)
	}
	return l
}
