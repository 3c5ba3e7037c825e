// Package check reads a Config API from outside, over HTTP, and says whether what
// must always hold does: the log, the feed, the read tables and the memory of the
// query services against each other.
package check

import (
	"context"
	"fmt"

	"github.com/config-api/config-api/shared/client"
)

// Options of [Run]; the zero value checks all that needs nothing more.
type Options struct {
	// Readers are the query services whose memory is checked; the system's own
	// address if there are none.
	Readers []*client.Client
	// Requests are the ids (X-Request-Id) of writes that were acknowledged: each
	// must have its events in the log, once.
	Requests []string
	// Progress, if not nil, is called now and then with the events checked.
	Progress func(done, total int64)
}

// maxFaults is how many faults of an invariant are kept; the others are counted.
const maxFaults = 10

// Result is what was found of one invariant.
type Result struct {
	Invariant string   `json:"invariant"` // I1 to I10, as docs/architecture.md has them
	Says      string   `json:"says"`
	Checked   string   `json:"checked"`          // what was looked at, "" if nothing
	Faults    []string `json:"faults,omitempty"` // the first of them
	Count     int      `json:"count"`            // of all faults
}

// Holds reports whether no fault was found.
func (r *Result) Holds() bool { return r.Count == 0 }

func (r *Result) fault(format string, args ...any) {
	if r.Count++; r.Count <= maxFaults {
		r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
	}
}

// Report is what was found.
type Report struct {
	Epoch    string    `json:"epoch"`
	Position int64     `json:"position"` // up to which all was checked
	Results  []*Result `json:"results"`
}

// Holds reports whether no fault was found.
func (r *Report) Holds() bool {
	for _, result := range r.Results {
		if !result.Holds() {
			return false
		}
	}
	return true
}

// Run checks the system behind c, as it is now; writes may go on meanwhile. An
// error means that it could not be checked, which says nothing about it.
func Run(ctx context.Context, c *client.Client, o Options) (*Report, error) {
	if len(o.Readers) == 0 {
		o.Readers = []*client.Client{c}
	}
	w := newWalk(c, o)
	head, err := c.Head(ctx)
	if err != nil {
		return nil, fmt.Errorf("the end of the log: %w", err)
	}
	w.head, w.until = head, head.Position
	if err := w.park(ctx); err != nil {
		return nil, err
	}
	for i, reader := range o.Readers {
		if err := w.remember(ctx, i, reader); err != nil {
			return nil, fmt.Errorf("query service %d: %w", i+1, err)
		}
	}
	if err := w.log(ctx); err != nil {
		return nil, err
	}
	if err := w.tables(ctx); err != nil {
		return nil, err
	}
	if err := w.rebuild(ctx); err != nil {
		return nil, err
	}
	if err := w.end(ctx); err != nil {
		return nil, err
	}
	w.requests(o.Requests)
	return &Report{Epoch: head.Epoch, Position: w.at, Results: w.results()}, nil
}
