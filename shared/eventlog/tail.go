package eventlog

import (
	"context"
	"slices"
	"sort"
	"sync"

	"github.com/config-api/config-api/shared/config"
)

const (
	// tailEvents is about the most events that are kept for the relay, and
	// tailSize about the most bytes of their data.
	tailEvents = 4000
	tailSize   = 16 << 20
)

// tail is the end of the log as this process has appended it, without a gap, so
// that the relay need not read it back.
type tail struct {
	mu     sync.Mutex
	events []config.Event
	size   int
	alone  int // additions in a row with nothing of another process between
}

// add takes what was committed, whole change sets.
func (t *tail) add(events []config.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.events); n > 0 && t.events[n-1].Position+1 != events[0].Position {
		t.events, t.size, t.alone = nil, 0, 0 // another process has appended between
	}
	t.alone++
	t.events = append(t.events, events...)
	for i := range events {
		t.size += len(events[i].Data)
	}
	for len(t.events) > tailEvents || t.size > tailSize {
		n := whole(t.events, len(t.events)/2+1, 0)
		for i := range n {
			t.size -= len(t.events[i].Data)
		}
		left := copy(t.events, t.events[n:])
		clear(t.events[left:])
		t.events = t.events[:left]
	}
}

// after returns copies of events after a position, as [Log.Read] does; none if
// they are not there.
func (t *tail) after(position int64, limit int) []config.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := sort.Search(len(t.events), func(i int) bool { return t.events[i].Position > position })
	if first == len(t.events) || t.events[first].Position != position+1 {
		return nil
	}
	events := t.events[first:]
	return slices.Clone(events[:whole(events, limit, maxReadSize)])
}

func (t *tail) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events, t.size, t.alone = nil, 0, 0
}

func (t *tail) endsAt(position int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.alone >= aloneAfter && t.events[len(t.events)-1].Position == position
}

// whole is how many of the events make whole change sets, at most limit of them,
// and, if size is not 0, the first with which their data has so many bytes; but at
// least one set.
func whole(events []config.Event, limit, size int) int {
	n, bytes := 0, 0
	for i := range events {
		if n > 0 && (i >= limit || size > 0 && bytes >= size) {
			break
		}
		bytes += len(events[i].Data)
		if events[i].Position == events[i].Commit {
			n = i + 1
		}
	}
	return n
}

// Next is [Log.Read] for who follows the log as it grows: what this process has just
// appended is not read back. Whoever begins to follow calls [Log.Forget] first.
func (l *Log) Next(ctx context.Context, after int64, limit int) ([]config.Event, error) {
	if events := l.tail.after(after, limit); events != nil {
		return events, nil
	}
	return l.Read(ctx, after, limit)
}

// EndsAt reports whether a position is the last that this process has appended, and
// no other process has appended lately: then there is nothing to read behind it.
func (l *Log) EndsAt(position int64) bool { return l.tail.endsAt(position) }

// Forget has [Log.Next] read what was appended before. The log may have lost that: a
// database that was restored, or a standby that took over.
func (l *Log) Forget() { l.tail.forget() }
