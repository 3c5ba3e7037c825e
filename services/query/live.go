package query

import (
	"sync"
	"sync/atomic"

	"github.com/config-api/config-api/shared/config"
)

// live is the newest end of a chain of links, one for each step of the view. A
// watch holds a link and walks from it at its own pace; links that nobody holds
// are garbage. Nothing is kept for each watch, and an event is encoded once
// whatever the number of watches.
type live struct {
	newest atomic.Pointer[link]
}

// link is one step of the view: the events that made it, whole change sets.
type link struct {
	epoch    string
	from     int64 // before the events
	position int64 // after them
	events   []config.Event
	encode   sync.Once
	encoded  [][]byte // one server-sent event for each of events
	next     *link    // valid once ready is closed
	ready    chan struct{}
}

func newLive() *live {
	l := new(live)
	l.newest.Store(&link{ready: make(chan struct{})})
	return l
}

// publish appends a link for the state. It is called by the view alone. A view
// that was loaded anew has no events, and may be further than the link before.
func (l *live) publish(now *state, events []config.Event) {
	old := l.newest.Load()
	next := &link{epoch: now.epoch, from: now.position, position: now.position, events: events, ready: make(chan struct{})}
	if events != nil { // those that could be applied of all since the link before
		next.from = old.position
	}
	old.next = next
	l.newest.Store(next)
	close(old.ready)
}

// messages returns the link's events as server-sent events, in order.
func (k *link) messages() [][]byte {
	k.encode.Do(func() {
		k.encoded = make([][]byte, len(k.events))
		for i := range k.events {
			k.encoded[i] = encodeEvent(k.epoch, &k.events[i])
		}
	})
	return k.encoded
}
