package eventlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/config-api/config-api/shared/config"
)

// Verification is what [Log.Verify] found.
type Verification struct {
	Epoch string      `json:"epoch"`
	From  int64       `json:"from"`
	To    int64       `json:"to"`
	Hash  config.Hash `json:"-"` // of the event at To, if Valid
	Valid bool        `json:"valid"`
	// FirstInvalid is the first position that does not hold, and Detail what
	// is wrong with it; zero and empty if Valid.
	FirstInvalid int64  `json:"first_invalid,omitempty"`
	Detail       string `json:"detail,omitempty"`
}

// verifyPage is how many events are read at a time, in one statement each, so
// that no snapshot is held for the whole walk.
const verifyPage = 1000

// Verify walks the chain over the positions from..to, both included; to = 0
// means the head. Every event must be there, carry the hash that its fields and
// the event before it give, and be recorded later than it. At the head, the
// last event must also be the one that log_head names, so that a cut tail is
// found. progress, if not nil, is called with the position reached.
//
// The start is trusted: the hash of event from-1 is taken as it is stored.
func (l *Log) Verify(ctx context.Context, from, to int64, progress func(position int64)) (Verification, error) {
	head, err := l.Head(ctx)
	if err != nil {
		return Verification{}, err
	}
	v := Verification{Epoch: head.Epoch, From: max(from, 1), To: head.Position}
	if to > 0 && to < head.Position {
		v.To = to
	}
	if v.From > v.To+1 {
		return Verification{}, config.Errorf(config.Invalid, "there is no event %d: the log ends at %d", v.From, head.Position)
	}
	before, err := l.before(ctx, v.From)
	if err != nil {
		return Verification{}, err
	}
	for last := v.From - 1; last < v.To; {
		page, err := l.page(ctx, last, v.To)
		if err != nil {
			return Verification{}, err
		}
		if len(page) == 0 {
			return v.invalid(last+1, "is missing"), nil
		}
		for i := range page {
			e := &page[i]
			if fault := check(&before, e, head.Origin); fault != "" {
				return v.invalid(before.Position+1, fault), nil
			}
			before = *e
		}
		last = before.Position
		if progress != nil {
			progress(last)
		}
	}
	if v.To == head.Position && before.Hash != head.Hash {
		return v.invalid(v.To, "is not the event that the head names"), nil
	}
	v.Valid, v.Hash = true, before.Hash
	return v, nil
}

func (v Verification) invalid(position int64, detail string) Verification {
	v.FirstInvalid, v.Detail = position, fmt.Sprintf("event %d %s", position, detail)
	return v
}

// check says what is wrong with e as the event after before, or "".
func check(before, e *config.Event, origin string) string {
	switch {
	case e.Position != before.Position+1:
		return "is missing"
	case e.ChainHash(before.Hash, origin) != e.Hash:
		return "does not have the hash that its content and the event before it give: it, or that one, was changed"
	case !e.RecordedAt.After(before.RecordedAt):
		return "is not recorded later than the event before it"
	}
	return ""
}

// before returns the event before a position, or one at position 0 with the
// zero hash. An event that is missing is found by the walk as a broken hash.
func (l *Log) before(ctx context.Context, position int64) (config.Event, error) {
	e, err := scanEvent(l.pool.QueryRow(ctx, `select `+eventColumns+` from eventstore.events where position = $1`, position-1))
	if errors.Is(err, pgx.ErrNoRows) {
		return config.Event{Position: position - 1}, nil
	}
	if err != nil {
		return config.Event{}, fmt.Errorf("verify: %w", err)
	}
	return e, nil
}

func (l *Log) page(ctx context.Context, after, to int64) ([]config.Event, error) {
	rows, err := l.pool.Query(ctx, `select `+eventColumns+` from eventstore.events
		where position > $1 and position <= $2 order by position limit $3`, after, to, verifyPage)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	page, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (config.Event, error) { return scanEvent(row) })
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	return page, nil
}
