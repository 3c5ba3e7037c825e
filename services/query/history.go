package query

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/readmodel"
)

// change is an event as history, audit, diff and watch show it.
type change struct {
	Type          config.EventType `json:"type"`
	Namespace     string           `json:"namespace"`
	Name          string           `json:"name"`
	Version       int64            `json:"version"`
	Position      int64            `json:"position"`
	Commit        int64            `json:"commit_position"`
	Value         config.Value     `json:"value"`
	OldValue      config.Value     `json:"old_value"`
	RecordedAt    time.Time        `json:"recorded_at"`
	Actor         string           `json:"actor"`
	Reason        string           `json:"reason"`
	CorrelationID string           `json:"correlation_id"`
	RequestID     string           `json:"request_id"`
	EventID       string           `json:"event_id"`
}

func changeOf(e *readmodel.Entry) change {
	return change{
		Type: e.Type, Namespace: e.Namespace, Name: e.Name, Version: e.Version, Position: e.Position, Commit: e.Commit,
		Value: e.Value, OldValue: e.OldValue, RecordedAt: e.UpdatedAt, Actor: e.UpdatedBy, Reason: e.Reason,
		CorrelationID: e.CorrelationID, RequestID: e.RequestID, EventID: e.EventID,
	}
}

// entries answers one page of events. fetch reads one more than limit after or
// before a position, as of a state.
func (s *Service) entries(c echo.Context, kind string, fetch func(ctx context.Context, cursor, until int64, limit int) ([]readmodel.Entry, readmodel.Checkpoint, error)) error {
	r, err := s.parseRead(c)
	if err != nil {
		return err
	}
	limit, err := limitOf(c)
	if err != nil {
		return err
	}
	k, err := parseCursor(c, kind)
	if err != nil {
		return err
	}
	next := cursor{Kind: kind}
	if k != nil {
		next = *k
		if err := k.pin(&r); err != nil {
			return err
		}
	}
	var entries []readmodel.Entry
	saw, err := s.tables(c, &r, func(ctx context.Context, position int64) (checkpoint readmodel.Checkpoint, err error) {
		if position == 0 { // before the first event; to the queries it is no bound
			entries = nil
			return s.store.Checkpoint(ctx)
		}
		entries, checkpoint, err = fetch(ctx, next.Before, position, limit+1)
		return checkpoint, err
	})
	if err != nil {
		return err
	}
	answer := page[change]{Items: []change{}, Position: r.state(c, saw), Final: r.final(saw)}
	if k != nil {
		answer.Final = k.Final
	}
	for i := range entries[:min(limit, len(entries))] {
		answer.Items = append(answer.Items, changeOf(&entries[i]))
	}
	if len(entries) > limit {
		next.Epoch, next.Position, next.Final, next.Before = saw.Epoch, answer.Position, answer.Final, entries[limit-1].Position
		answer.Next = next.String()
	}
	return c.JSON(http.StatusOK, answer)
}

// history answers the events of one config.
func (s *Service) history(c echo.Context) error {
	namespace, name, order := c.Param("namespace"), c.Param("name"), c.QueryParam("order")
	if err := checkPath(namespace, name); err != nil {
		return err
	}
	if order != "" && order != "asc" && order != "desc" {
		return config.Errorf(config.Invalid, "order=%s: use asc or desc", order)
	}
	kind := "history/" + namespace + "/" + name + "/" + order
	return s.entries(c, kind, func(ctx context.Context, after, until int64, limit int) ([]readmodel.Entry, readmodel.Checkpoint, error) {
		return s.store.History(ctx, namespace, name, readmodel.HistoryQuery{After: after, Until: until, Limit: limit, Descending: order == "desc"})
	})
}

// positionOf answers which position a time stands for.
func (s *Service) positionOf(c echo.Context) error {
	r, err := s.parseRead(c)
	if err != nil {
		return err
	}
	if r.time.IsZero() || c.QueryParam("at_position") != "" {
		return config.Errorf(config.Invalid, "at is missing: use a time like 2026-11-23T08:00:00Z")
	}
	saw, err := s.tables(c, &r, func(context.Context, int64) (readmodel.Checkpoint, error) { return r.resolved, nil })
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, struct {
		At       time.Time `json:"at"`
		Epoch    string    `json:"epoch"`
		Position int64     `json:"position"`
		Final    bool      `json:"final"`
	}{r.time.UTC(), saw.Epoch, r.state(c, saw), r.final(saw)})
}

// audit answers who changed what, when and why: the log, newest first.
func (s *Service) audit(c echo.Context) error {
	q := readmodel.AuditQuery{
		Namespace: c.QueryParam("namespace"), Name: c.QueryParam("name"), Prefix: c.QueryParam("prefix"),
		Actor: c.QueryParam("actor"), CorrelationID: c.QueryParam("correlation_id"),
	}
	for name, dst := range map[string]*time.Time{"from": &q.From, "to": &q.To} {
		text := c.QueryParam(name)
		if text == "" {
			continue
		}
		t, err := parseTime(text)
		if err != nil {
			return config.Errorf(config.Invalid, "%s=%s: use RFC 3339, like 2026-11-23T08:00:00Z", name, text)
		}
		*dst = t
	}
	for name, text := range map[string]string{"namespace": q.Namespace, "name": q.Name, "prefix": q.Prefix, "actor": q.Actor, "correlation_id": q.CorrelationID} {
		if err := config.CheckText(name, text); err != nil {
			return err
		}
	}
	kind := "audit?" + q.Namespace + "&" + q.Name + "&" + q.Prefix + "&" + q.Actor + "&" + q.CorrelationID + "&" + c.QueryParam("from") + "&" + c.QueryParam("to")
	return s.entries(c, kind, func(ctx context.Context, before, until int64, limit int) ([]readmodel.Entry, readmodel.Checkpoint, error) {
		q.Before, q.Until, q.Limit = before, until, limit
		return s.store.Audit(ctx, q)
	})
}

// namespaces answers all namespaces with their counts.
func (s *Service) namespaces(c echo.Context) error {
	r, err := s.parseRead(c)
	if err != nil {
		return err
	}
	var items []readmodel.Namespace
	saw, err := s.tables(c, &r, func(ctx context.Context, position int64) (checkpoint readmodel.Checkpoint, err error) {
		items, checkpoint, err = s.store.Namespaces(ctx, position)
		return checkpoint, err
	})
	if err != nil {
		return err
	}
	if items == nil {
		items = []readmodel.Namespace{}
	}
	return c.JSON(http.StatusOK, page[readmodel.Namespace]{Items: items, Position: r.state(c, saw), Final: r.final(saw)})
}

// difference is a config that differs between two instants.
type difference struct {
	Name       string       `json:"name"`
	Change     string       `json:"change"` // added, removed or changed
	OldValue   config.Value `json:"old_value"`
	NewValue   config.Value `json:"new_value"`
	OldVersion int64        `json:"old_version"`
	NewVersion int64        `json:"new_version"`
}

// diffAnswer is what differs, and the events in between, oldest first, up to
// maxLimit of them.
type diffAnswer struct {
	Namespace string       `json:"namespace"`
	From      int64        `json:"from_position"`
	To        int64        `json:"to_position"`
	Changes   []difference `json:"changes"`
	Events    []change     `json:"events"`
	Truncated bool         `json:"events_truncated"`
	Position  int64        `json:"position"`
	Final     bool         `json:"final"`
	Parked    []string     `json:"parked,omitempty"` // names that are left out
}

// diff answers what differs in a namespace between two instants, each a time or
// a position; to is now if it is left out.
func (s *Service) diff(c echo.Context) error {
	namespace := c.Param("namespace")
	if err := config.CheckNamespace(namespace); err != nil {
		return err
	}
	to, err := s.parseRead(c)
	if err != nil {
		return err
	}
	from := read{wanted: to.wanted, wait: to.wait}
	if c.QueryParam("from") == "" {
		return config.Errorf(config.Invalid, "from is missing: use a time like 2026-11-23T08:00:00Z or a position like 42")
	}
	if err := from.parseInstant("from", c.QueryParam("from")); err != nil {
		return err
	}
	if text := c.QueryParam("to"); text != "" {
		if err := to.parseInstant("to", text); err != nil {
			return err
		}
	}
	to.wanted = config.Token{Epoch: max(from.wanted.Epoch, to.wanted.Epoch), Position: max(from.wanted.Position, to.wanted.Position)}
	var d readmodel.Diff
	saw, err := s.tables(c, &to, func(ctx context.Context, position int64) (readmodel.Checkpoint, error) {
		if checkpoint, err := s.resolve(ctx, &from); err != nil {
			return checkpoint, err
		}
		if from.position > position {
			return readmodel.Checkpoint{}, config.Errorf(config.Invalid, "from is after to")
		}
		var err error
		var checkpoint readmodel.Checkpoint
		d, checkpoint, err = s.store.Diff(ctx, namespace, from.position, position, maxLimit+1)
		return checkpoint, err
	})
	if err != nil {
		return err
	}
	answer := diffAnswer{
		Namespace: namespace, From: from.position, To: to.state(c, saw), Changes: []difference{}, Events: []change{},
		Truncated: len(d.Events) > maxLimit, Final: to.final(saw),
	}
	answer.Position = answer.To
	for _, n := range saw.Parked.In(namespace, answer.To) {
		answer.Parked = append(answer.Parked, n.Name)
	}
	slices.Sort(answer.Parked)
	answer.Final = answer.Final && answer.Parked == nil
	for _, pair := range d.Changes {
		if slices.Contains(answer.Parked, pair.After.Name) {
			continue
		}
		if one, differs := differ(pair.Before, pair.After); differs {
			answer.Changes = append(answer.Changes, one)
		}
	}
	for i := range d.Events[:min(len(d.Events), maxLimit)] {
		answer.Events = append(answer.Events, changeOf(&d.Events[i]))
	}
	return c.JSON(http.StatusOK, answer)
}

// parseInstant makes the read one of the state at a time or a position.
func (r *read) parseInstant(name, text string) error {
	if t, err := parseTime(text); err == nil {
		r.asOf = asOf{past: true, time: t}
		return nil
	}
	position, err := parsePosition(text)
	if err != nil {
		return config.Errorf(config.Invalid, "%s=%s: use a time like 2026-11-23T08:00:00Z or a position like 42", name, text)
	}
	if position.Epoch != "" && r.wanted.Epoch != "" && position.Epoch != r.wanted.Epoch {
		return errEpoch
	}
	r.asOf = asOf{past: true, position: position.Position}
	r.wanted = config.Token{Epoch: max(position.Epoch, r.wanted.Epoch), Position: max(position.Position, r.wanted.Position)}
	return nil
}

func differ(before, after readmodel.Row) (difference, bool) {
	was, is := before.Version > 0 && !before.Deleted, after.Version > 0 && !after.Deleted
	d := difference{
		Name: after.Name, OldValue: before.Value, NewValue: after.Value, OldVersion: before.Version, NewVersion: after.Version,
	}
	switch {
	case !was && is:
		d.Change = "added"
	case was && !is:
		d.Change = "removed"
	case was && is && string(before.Value) != string(after.Value):
		d.Change = "changed"
	default:
		return d, false
	}
	return d, true
}
