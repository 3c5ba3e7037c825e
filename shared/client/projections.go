package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Projection is how far read tables are.
type Projection struct {
	Name        string  `json:"name"`
	State       string  `json:"state"` // running, standby or halted
	Detail      string  `json:"detail"`
	Generation  int64   `json:"generation"`
	Generations []int64 `json:"generations"`
	Epoch       string  `json:"epoch"`
	Position    int64   `json:"position"`
	Feed        int64   `json:"feed_position"`
	Lag         int64   `json:"lag"`
	Consumer    string  `json:"consumer"`
	// Parked are the first names with an event that can't be applied, and
	// ParkedNames is how many there are.
	ParkedNames int      `json:"parked_names"`
	Parked      []Parked `json:"parked"`
}

// Parked is a name whose events wait, since one of them can't be applied.
type Parked struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Position  int64     `json:"position"` // of that event
	Events    int64     `json:"events"`   // that wait: it and those behind it
	Reason    string    `json:"reason"`
	Since     time.Time `json:"since"`
}

// Retried is what trying a parked name again did.
type Retried struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Applied   int64  `json:"applied"`  // events
	Position  int64  `json:"position"` // of the event that still can't be applied; 0 if none
	Reason    string `json:"reason"`
}

// RetryParked tries the events of a parked name again, or with two empty texts
// those of all.
func (c *Client) RetryParked(ctx context.Context, namespace, name string) ([]Retried, error) {
	members := map[string]any{}
	if namespace != "" || name != "" {
		members["namespace"], members["name"] = namespace, name
	}
	var answer struct{ Items []Retried }
	err := c.write(ctx, http.MethodPost, "/v2/projections/current/parked/retry", members, nil, &answer)
	return answer.Items, err
}

// Projections reads how far the read tables are.
func (c *Client) Projections(ctx context.Context) ([]Projection, error) {
	var answer struct{ Items []Projection }
	err := c.read(ctx, "/v2/projections", nil, nil, &answer)
	return answer.Items, err
}

// Rebuild is how far a rebuild of the read tables is.
type Rebuild struct {
	State       string     `json:"state"` // running, cancelling, done, cancelled or failed
	Detail      string     `json:"detail"`
	Generation  int64      `json:"generation"`
	Done        int64      `json:"done"`
	Total       int64      `json:"total"`
	Rate        float64    `json:"rate"`         // events a second
	SecondsLeft *float64   `json:"seconds_left"` // nil when it can't be told
	StartedAt   time.Time  `json:"started_at"`
	FinishedAt  *time.Time `json:"finished_at"`
}

// Ended reports whether it does not go on.
func (r Rebuild) Ended() bool { return r.FinishedAt != nil }

const rebuildPath = "/v2/projections/current/rebuild"

// StartRebuild begins to make the read tables anew, or with a generation to have
// that one read again. The error is [ErrConflict] when a rebuild goes on.
func (c *Client) StartRebuild(ctx context.Context, generation int64) (Rebuild, error) {
	members := map[string]any{}
	if generation > 0 {
		members["generation"] = generation
	}
	var answer Rebuild
	err := c.write(ctx, http.MethodPost, rebuildPath, members, nil, &answer)
	return answer, err
}

// Rebuild reads how far the rebuild is that goes on or has ended last.
func (c *Client) Rebuild(ctx context.Context) (Rebuild, error) {
	var answer Rebuild
	err := c.read(ctx, rebuildPath, nil, nil, &answer)
	return answer, err
}

// CancelRebuild asks for the end of the rebuild that goes on.
func (c *Client) CancelRebuild(ctx context.Context) (Rebuild, error) {
	var answer Rebuild
	err := c.write(ctx, http.MethodDelete, rebuildPath, map[string]any{}, nil, &answer)
	return answer, err
}

// rebuildPoll is how often a rebuild that is waited for is looked at.
const rebuildPoll = 200 * time.Millisecond

// AwaitRebuild returns when the rebuild has ended; an error unless it is done.
// progress, if not nil, is called now and then.
func (c *Client) AwaitRebuild(ctx context.Context, progress func(Rebuild)) (Rebuild, error) {
	for {
		r, err := c.Rebuild(ctx)
		if err != nil {
			return r, err
		}
		if progress != nil {
			progress(r)
		}
		switch {
		case r.State == "failed":
			return r, errors.New("the rebuild failed: " + r.Detail)
		case r.Ended() && r.State != "done":
			return r, fmt.Errorf("the rebuild of generation %s was %s", strconv.FormatInt(r.Generation, 10), r.State)
		case r.Ended():
			return r, nil
		}
		select {
		case <-time.After(rebuildPoll):
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
}
