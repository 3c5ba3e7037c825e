package stats

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Timings are histograms by name: of queries that differ, for example. The zero
// value is ready to use.
type Timings struct{ byName sync.Map } // string → *Histogram

// Since observes under a name the time since an instant.
func (t *Timings) Since(name string, began time.Time) {
	h, ok := t.byName.Load(name)
	if !ok {
		h, _ = t.byName.LoadOrStore(name, new(Histogram))
	}
	h.(*Histogram).Since(began)
}

// Each calls f with each that there is, by name.
func (t *Timings) Each(f func(name string, h *Histogram)) {
	var names []string
	t.byName.Range(func(name, _ any) bool {
		names = append(names, name.(string))
		return true
	})
	slices.Sort(names)
	for _, name := range names {
		h, _ := t.byName.Load(name)
		f(name, h.(*Histogram))
	}
}

// rateSeconds is how far a rate looks back.
const rateSeconds = 60

// Rate is how many there were in a second, over the last minute. The zero value
// is ready to use.
type Rate struct {
	mu      sync.Mutex
	counts  [rateSeconds]int64
	seconds [rateSeconds]int64 // of which each count is
}

// Add counts n that happened now.
func (r *Rate) Add(now time.Time, n int) {
	second := now.Unix()
	i := second % rateSeconds
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seconds[i] != second {
		r.seconds[i], r.counts[i] = second, 0
	}
	r.counts[i] += int64(n)
}

// PerSecond is the mean of the minute before now.
func (r *Rate) PerSecond(now time.Time) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var sum int64
	for i, second := range r.seconds {
		if now.Unix()-second < rateSeconds {
			sum += r.counts[i]
		}
	}
	return float64(sum) / rateSeconds
}

// Highest is the largest number that it was given: of a position that several
// report, the newest. The zero value is ready to use.
type Highest struct{ n atomic.Int64 }

// See takes a number in.
func (h *Highest) See(n int64) {
	for seen := h.n.Load(); n > seen && !h.n.CompareAndSwap(seen, n); seen = h.n.Load() {
	}
}

// Load returns the largest.
func (h *Highest) Load() int64 { return h.n.Load() }

// Flag is 1 for true and 0 for false.
func Flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
