package eventlog

import (
	"slices"
	"time"

	"github.com/config-api/config-api/shared/config"
)

const (
	// recentSize is about the most bytes of values that are remembered.
	recentSize = 64 << 20
	// recentStreams is the most streams.
	recentStreams = 100_000
	// aloneAfter is after how many batches without another writer between them
	// what is remembered is counted on: else every batch would be read twice. After as
	// many without an old stream one that is not remembered is taken for new.
	aloneAfter = 3
	// clockHolds is for how long the database's clock, once read, is counted on
	// here.
	clockHolds = time.Second
)

// recent is the present state of the streams that this process has written, as of
// the log's head that it has left. It holds for as long as the head is the same:
// the row that every batch locks says so. It is of the batcher alone.
type recent struct {
	head    Head
	alone   int // batches in a row that found the head as the one before had left it
	states  map[streamKey]config.State
	schemas map[string][]config.Schema // by namespace
	size    int                        // of the values in states
	fresh   int                        // batches in a row whose streams were remembered or new
	clock   clock
}

// clock is the database's, as it was read at a time of this process. It goes on
// with this process's own, which makes it a little slow: it was read before then.
type clock struct {
	database, here time.Time
}

// holds reports whether the clock was read lately, also by the clock on the wall,
// which goes on while a machine sleeps.
func (c clock) holds() bool {
	now := time.Now()
	return now.Sub(c.here) <= clockHolds && now.Round(0).Sub(c.here.Round(0)).Abs() <= 2*clockHolds
}

func (c clock) now() time.Time { return c.database.Add(time.Since(c.here)).Truncate(time.Microsecond) }

// guess is the state of what a batch is about, if it can be told without the
// database: from what is remembered, and streams that are not are taken for new if
// such have been lately.
func (r *recent) guess(batch []*pending, enforced bool) (s *batchState, ok bool) {
	if r.alone < aloneAfter || !r.clock.holds() {
		return nil, false
	}
	s = newBatchState(batch, enforced)
	absent, streams := split(s.streams, r.states)
	missing, namespaces := split(s.namespaces, r.schemas)
	if len(missing) > 0 || len(absent) > 0 && r.fresh < aloneAfter {
		return nil, false
	}
	for _, p := range batch {
		if p.cmd.Since != nil {
			return nil, false
		}
	}
	s.head = r.head
	if now := r.clock.now(); now.After(s.head.RecordedAt) {
		s.head.RecordedAt = now
	}
	s.recall(r, streams, namespaces)
	return s, true
}

// holds reports whether the head is as it was left, and forgets all if it is not.
func (r *recent) holds(head *Head) bool {
	if r.head.LogID == head.LogID && r.head.Position == head.Position && r.head.Hash == head.Hash {
		r.alone++
		return true
	}
	*r = recent{clock: r.clock, fresh: r.fresh}
	return false
}

// recall takes from what is remembered.
func (s *batchState) recall(r *recent, streams []streamKey, namespaces []string) {
	for _, key := range streams {
		s.states[key] = r.states[key]
	}
	for _, namespace := range namespaces {
		s.schemas[namespace] = slices.Clone(r.schemas[namespace])
	}
}

// keep remembers what a batch has left behind when it was committed.
func (r *recent) keep(s *batchState) {
	r.head = s.head
	if r.states == nil {
		r.states, r.schemas = map[streamKey]config.State{}, map[string][]config.Schema{}
	}
	for key, state := range s.states {
		if s.unknown[key] == nil {
			r.size += len(state.Value) - len(r.states[key].Value)
			r.states[key] = state
		}
	}
	for _, namespace := range s.namespaces {
		if s.unknown[streamKey{namespace: namespace}] == nil {
			r.schemas[namespace] = s.schemas[namespace]
		}
	}
	for key, state := range r.states { // in no order: any will do
		if r.size <= recentSize && len(r.states) <= recentStreams {
			break
		}
		r.size -= len(state.Value)
		delete(r.states, key)
	}
	if len(r.schemas) > recentStreams {
		r.schemas = map[string][]config.Schema{}
	}
}
