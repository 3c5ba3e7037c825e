package readmodel

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// AuditQuery says which events; an empty text or time is no filter.
type AuditQuery struct {
	Namespace, Name, Prefix, Actor, CorrelationID string
	From, To                                      time.Time // recorded at or after, at or before
	Before                                        int64     // continue before this position; 0 begins
	Until                                         int64     // none after this position; [Latest] is no bound
	Limit                                         int
}

// Audit returns events of all configs, newest first.
func (s *Store) Audit(ctx context.Context, q AuditQuery) ([]Entry, Checkpoint, error) {
	where := []string{"position <= $1"}
	args := []any{q.Until}
	filter := func(condition string, arg any) {
		args = append(args, arg)
		where = append(where, fmt.Sprintf(condition, len(args)))
	}
	texts := []struct{ condition, text string }{
		{"namespace = $%d", q.Namespace},
		{"name = $%d", q.Name},
		{"starts_with(name, $%d)", q.Prefix},
		{"actor = $%d", q.Actor},
		{"correlation_id = $%d", q.CorrelationID},
	}
	for _, t := range texts {
		if t.text != "" {
			filter(t.condition, t.text)
		}
	}
	// Time is position: a bound on the one is a bound on the other, and the walk
	// is by position.
	if !q.From.IsZero() {
		filter("position > coalesce((select position from $history where recorded_at < $%d order by recorded_at desc limit 1), 0)", q.From)
	}
	if !q.To.IsZero() {
		filter("position <= coalesce((select position from $history where recorded_at <= $%d order by recorded_at desc limit 1), 0)", q.To)
	}
	if q.Before > 0 {
		filter("position < $%d", q.Before)
	}
	args = append(args, q.Limit)
	sql := `select ` + entryColumns + ` from $history where ` + strings.Join(where, " and ") +
		fmt.Sprintf(" order by position desc limit $%d", len(args))
	var found []Entry
	checkpoint, err := s.snapshot(ctx, "audit", func(v snapshot) (err error) {
		found, err = collectEntries(v.query(sql, args...))
		return err
	})
	return found, checkpoint, err
}
