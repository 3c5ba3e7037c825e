package query

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/readmodel"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
	defaultWait  = 2 * time.Second
	maxWait      = 30 * time.Second
)

// asOf is which state a read is about.
type asOf struct {
	past     bool
	time     time.Time // zero if a position was given
	position int64     // of the past; if time is given, known after resolve
	// resolved is when time became a position.
	resolved readmodel.Checkpoint
}

// read is what all v2 reads have in common.
type read struct {
	asOf
	wanted config.Token // the state must have reached it; zero wants nothing
	wait   time.Duration
}

// parseRead reads min_position, wait, consistency, at and at_position.
func (s *Service) parseRead(c echo.Context) (read, error) {
	r := read{wait: defaultWait}
	var err error
	if text := c.QueryParam("wait"); text != "" {
		if r.wait, err = time.ParseDuration(text); err != nil || r.wait < 0 || r.wait > maxWait {
			return r, config.Errorf(config.Invalid, "wait=%s: use a duration up to %s, like 500ms or 2s", text, maxWait)
		}
	}
	minimum := c.QueryParam("min_position")
	if minimum == "" {
		minimum = c.Request().Header.Get("Config-Min-Position")
	}
	if minimum != "" {
		if r.wanted, err = config.ParseToken(minimum); err != nil {
			return r, err
		}
	}
	switch consistency := c.QueryParam("consistency"); consistency {
	case "", "eventual":
	case "strong":
		ctx, cancel := context.WithTimeout(c.Request().Context(), max(r.wait, time.Second))
		defer cancel()
		head, err := feed.RequestHead(ctx, s.nc)
		if err != nil {
			return r, config.Errorf(config.Unavailable, "the log's head can't be asked for, so a strong read is not possible now: try again, or read without consistency=strong")
		}
		if r.wanted.Epoch != "" && r.wanted.Epoch != head.Epoch {
			return r, errEpoch
		}
		r.wanted = config.Token{Epoch: head.Epoch, Position: max(r.wanted.Position, head.Position)}
	default:
		return r, config.Errorf(config.Invalid, "consistency=%s: use strong, or leave it out", consistency)
	}
	err = r.parseAsOf(c)
	return r, err
}

func (r *read) parseAsOf(c echo.Context) error {
	at, position := c.QueryParam("at"), c.QueryParam("at_position")
	switch {
	case at != "" && position != "":
		return config.Errorf(config.Invalid, "use at or at_position, not both")
	case at != "":
		t, err := parseTime(at)
		if err != nil {
			return config.Errorf(config.Invalid, "at=%s: use RFC 3339, like 2026-11-23T08:00:00Z (a + in a URL is %%2B)", at)
		}
		r.past, r.time = true, t
	case position != "":
		n, err := parsePosition(position)
		if err != nil {
			return err
		}
		r.past, r.position = true, n.Position
		if n.Epoch != "" && r.wanted.Epoch != "" && n.Epoch != r.wanted.Epoch {
			return errEpoch
		}
		// A position that is not there yet is waited for.
		r.wanted.Position = max(r.wanted.Position, n.Position)
		if r.wanted.Epoch == "" {
			r.wanted.Epoch = n.Epoch
		}
	}
	return nil
}

// parseTime reads RFC 3339 with or without fraction, in any zone.
func parseTime(s string) (time.Time, error) { return time.Parse(time.RFC3339Nano, s) }

// parsePosition reads 42 or epoch:42.
func parsePosition(s string) (config.Token, error) {
	if strings.Contains(s, ":") {
		return config.ParseToken(s)
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return config.Token{}, config.Errorf(config.Invalid, "%q is not a position: use a number like 42, or the text of a Config-Position header", s)
	}
	return config.Token{Position: n}, nil
}

var errEpoch = config.Errorf(config.EpochMismatch, "the position belongs to another log: this one was restored or made anew; read again without it")

// reached turns a state that may not be there yet into an answer: nil when it
// has what is wanted.
func (r *read) reached(c echo.Context, seen config.Token) error {
	c.Response().Header().Set("Config-Position", seen.String())
	switch {
	case r.wanted.OfOtherLog(seen):
		return errEpoch
	case seen.Position < r.wanted.Position:
		return config.Errorf(config.Unavailable, "the state has reached position %d, not %d yet: try again", seen.Position, r.wanted.Position)
	}
	return nil
}

// memory returns a state from memory that has what the read wants.
func (s *Service) memory(c echo.Context, r *read) (*state, error) {
	now, err := s.view.now()
	if err != nil || now.position < r.wanted.Position && !r.wanted.OfOtherLog(now.token()) {
		ctx, cancel := context.WithTimeout(c.Request().Context(), r.wait)
		defer cancel()
		now, err = s.view.wait(ctx, r.wanted.Position)
	}
	if err != nil {
		return nil, err
	}
	return now, r.reached(c, now.token())
}

// tables calls f until the read tables have what the read wants, and returns
// what f saw. f gets the position that the read is about; for one about the
// present that is all there is.
func (s *Service) tables(c echo.Context, r *read, f func(ctx context.Context, position int64) (readmodel.Checkpoint, error)) (readmodel.Checkpoint, error) {
	var saw readmodel.Checkpoint
	waiting, cancel := context.WithTimeout(c.Request().Context(), r.wait)
	defer cancel()
	_, err := s.readTables(waiting, r.wanted, func(context.Context) (readmodel.Checkpoint, error) {
		ctx := c.Request().Context() // the wait bounds the waiting, not the query
		var err error
		if saw, err = s.resolve(ctx, r); err != nil {
			return saw, err
		}
		saw, err = f(ctx, r.position)
		if !r.time.IsZero() {
			// The answer is as old as the state in which the time became a
			// position, and f may have seen a newer one.
			saw = r.resolved
		}
		return saw, err
	})
	if err != nil {
		return saw, err
	}
	if r.wanted.Epoch == "" { // a position without an epoch is of this log
		r.wanted.Epoch = saw.Epoch
	}
	return saw, r.reached(c, saw.Token())
}

// resolve sets the position of the read.
func (s *Service) resolve(ctx context.Context, r *read) (readmodel.Checkpoint, error) {
	switch {
	case !r.past:
		r.position = readmodel.Latest
	case !r.time.IsZero():
		var err error
		r.position, r.resolved, err = s.store.PositionAt(ctx, r.time)
		return r.resolved, err
	}
	return readmodel.Checkpoint{}, nil
}

// final reports whether no later write can change what the read answers, given
// what the read tables had. For a time that is what they had when it became a
// position: events that came between may have been recorded before it.
func (r *read) final(saw readmodel.Checkpoint) bool {
	if !r.past {
		return false
	}
	if !r.time.IsZero() {
		return !r.time.After(r.resolved.RecordedAt) // later events are recorded later than that
	}
	return r.position <= saw.Position
}

// state returns the position that the answer is about, as a token.
func (r *read) state(c echo.Context, saw readmodel.Checkpoint) int64 {
	position := saw.Position
	if r.past {
		position = min(r.position, saw.Position)
	}
	c.Response().Header().Set("Config-Position", config.Token{Epoch: saw.Epoch, Position: position}.String())
	return position
}

// limitOf reads limit.
func limitOf(c echo.Context) (int, error) {
	text := c.QueryParam("limit")
	if text == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxLimit {
		return 0, config.Errorf(config.Invalid, "limit=%s: use a whole number from 1 to %d", text, maxLimit)
	}
	return n, nil
}

func etag(version int64) string { return `"v` + strconv.FormatInt(version, 10) + `"` }

// notModified answers 304 when the client has what it asks for.
func notModified(c echo.Context, tag string) bool {
	c.Response().Header().Set("ETag", tag)
	for known := range strings.SplitSeq(c.Request().Header.Get("If-None-Match"), ",") {
		if known = strings.TrimPrefix(strings.TrimSpace(known), "W/"); known == tag || known == "*" {
			c.Response().WriteHeader(http.StatusNotModified)
			return true
		}
	}
	return false
}
