package eventlog_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/stats"
	"github.com/config-api/config-api/shared/testkit"
)

// remembering appends until the log decides from memory, and returns how many events
// that makes.
func remembering(t *testing.T, log *eventlog.Log) int64 {
	t.Helper()
	const enough = 6
	for i := range enough {
		mustAppend(t, log, set("warm", strconv.Itoa(i)))
	}
	return enough
}

// loads is how often the log has read what to decide against.
func loads(log *eventlog.Log) (n uint64) {
	log.Stats().Queries.Each(func(name string, h *stats.Histogram) {
		if name == "load" {
			n = h.Read().Count
		}
	})
	return n
}

// A process that writes alone does not ask for what it knows; it looks once a second
// what time it is for the database, whose clock stamps the events.
func TestALoneWriterRemembers(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t, eventlog.Schema)
	log := open(t, pool)
	remembering(t, log)
	const appends = 100
	before := loads(log)
	for i := range appends { // known ones and new ones
		out := mustAppend(t, log, set(fmt.Sprint("n", i/2), strconv.Itoa(i)))
		var ahead time.Duration
		if err := pool.QueryRow(t.Context(), `select $1::timestamptz - clock_timestamp()`, out.RecordedAt).Scan(&ahead); err != nil {
			t.Fatal(err)
		}
		if ahead > 0 || ahead < -time.Minute {
			t.Errorf("event %d is stamped %v ahead of the database's clock", out.Position, ahead)
		}
	}
	if n := loads(log) - before; n > appends/2 {
		t.Errorf("the present state was read %d times for %d appends", n, appends)
	}
	checkLog(t, log)
}

// What it wrote before it knew that it is alone is remembered as well: of many names
// each batch would else have one that must be read.
func TestALoneWritersFirstNames(t *testing.T) {
	t.Parallel()
	log := open(t, testkit.Database(t, eventlog.Schema))
	eachOnce := func() {
		for i := range 10 {
			mustAppend(t, log, set(fmt.Sprint("n", i), `1`))
		}
	}
	eachOnce()
	before, began := loads(log), time.Now()
	eachOnce()
	if n := loads(log) - before; n > 1+uint64(time.Since(began)/time.Second) { // the clock's
		t.Errorf("the present state was read %d times", n)
	}
	checkLog(t, log)
}

// Names that another process had written before this one began look new to it, until
// the database says that they are not.
func TestANameFromBefore(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t, eventlog.Schema)
	mustAppend(t, open(t, pool), set("old", `1`))
	log := open(t, pool)
	newNames(t, log)
	out := mustAppend(t, log, command(
		config.Change{Op: config.Set, Name: "newer", Value: config.Value(`2`)},
		config.Change{Op: config.Set, Name: "old", Value: config.Value(`2`)},
	))
	if out.Changes[0].Version != 1 || out.Changes[1].Version != 2 || out.Changes[1].Created {
		t.Errorf("%+v", out.Changes)
	}
	checkLog(t, log)
}

// newNames appends until the log takes for new what it does not remember.
func newNames(t *testing.T, log *eventlog.Log) {
	t.Helper()
	remembering(t, log)
	for i := range 4 {
		mustAppend(t, log, set(fmt.Sprint("new-", i), `1`))
	}
}

// Nor is a command refused for a name that only looks new, in a batch with others.
func TestAnOldNameAmongNew(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t, eventlog.Schema)
	const names = 20
	before := open(t, pool)
	for i := range names {
		mustAppend(t, before, set(fmt.Sprint("old-", i), `1`))
	}
	log := open(t, pool)
	newNames(t, log)
	var working sync.WaitGroup
	first := int64(1)
	for i := range names {
		working.Go(func() {
			_, err := log.Append(t.Context(), command(config.Change{Op: config.Set, Name: fmt.Sprint("old-", i), Value: config.Value(`2`), Expected: &first}))
			if err != nil {
				t.Error(err)
			}
		})
		working.Go(func() {
			if _, err := log.Append(t.Context(), set(fmt.Sprint("newer-", i), `1`)); err != nil {
				t.Error(err)
			}
		})
	}
	working.Wait()
	checkLog(t, log)
}

// A key that comes again has its first answer, also where the command would by now be
// refused, and where it would be accepted once more.
func TestKeysOfALoneWriter(t *testing.T) {
	t.Parallel()
	log := open(t, testkit.Database(t, eventlog.Schema))
	remembering(t, log)
	absent := int64(0)
	refused := command(config.Change{Op: config.Set, Name: "a", Value: config.Value(`1`), Expected: &absent})
	accepted := set("b", `1`)
	for i, cmd := range []eventlog.Command{refused, accepted} {
		cmd.Key, cmd.RequestHash = fmt.Sprint("key-", i), config.Hash{byte(i)}
		first := mustAppend(t, log, cmd)
		again := mustAppend(t, log, cmd)
		if !again.Replayed || again.Position != first.Position || first.Replayed {
			t.Errorf("first %+v, again %+v", first, again)
		}
		cmd.RequestHash = config.Hash{255}
		if _, err := log.Append(t.Context(), cmd); config.CodeOf(err) != config.KeyReused {
			t.Errorf("another request with the key: %v", err)
		}
	}
	checkLog(t, log)
}

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
