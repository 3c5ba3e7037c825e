package command

import (
	"context"
	"sync"
	"time"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
)

const (
	// visibleWithin is the longest that a v1 write waits to become visible.
	visibleWithin = time.Second
	// servedFor is how long a query service counts after it was last heard.
	// They announce themselves every second.
	servedFor = 3 * time.Second
)

// visibility knows how far the readers are: the projector, which announces what
// it applied to the read tables, and every query service, which announces what
// its memory has and what it heard of the projector. A v1 write waits for all of
// them, because clients of the system that this one replaces read directly after
// they write.
type visibility struct {
	mu      sync.Mutex
	applied config.Token
	served  map[string]served // by instance
	changed chan struct{}     // closed at the next change, and replaced
}

type served struct {
	token   config.Token
	applied int64 // that it knows of
	heard   time.Time
}

func newVisibility() *visibility {
	return &visibility{served: map[string]served{}, changed: make(chan struct{})}
}

func (v *visibility) projected(a feed.Applied) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.applied = config.Token{Epoch: a.Epoch, Position: a.Position}
	v.wake()
}

func (v *visibility) remembered(s feed.Served) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s.Leaving {
		delete(v.served, s.Instance)
	} else {
		v.served[s.Instance] = served{config.Token{Epoch: s.Epoch, Position: s.Position}, s.Applied, time.Now()}
	}
	v.wake()
}

func (v *visibility) wake() {
	close(v.changed)
	v.changed = make(chan struct{})
}

// wait returns true when every reader has reached the position, and false after
// a second, or when ctx ends.
func (v *visibility) wait(ctx context.Context, position config.Token) bool {
	ctx, cancel := context.WithTimeout(ctx, visibleWithin)
	defer cancel()
	for {
		reached, changed := v.reached(position)
		if reached {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

func (v *visibility) reached(position config.Token) (bool, <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := has(v.applied, position)
	for instance, s := range v.served {
		if time.Since(s.heard) > servedFor {
			delete(v.served, instance) // it ended without saying so
			continue
		}
		all = all && has(s.token, position) && (s.applied == 0 || s.applied >= position.Position)
	}
	return all, v.changed
}

func has(reader, position config.Token) bool {
	return reader.Epoch == position.Epoch && reader.Position >= position.Position
}
