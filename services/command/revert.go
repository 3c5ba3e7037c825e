package command

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/service"
)

// planTries is how often a plan that other writes overtook is made anew.
const planTries = 10

// rewrite answers a revert or a copy, dry or real, in one shape.
type rewrite struct {
	Namespace     string       `json:"namespace"`
	DryRun        bool         `json:"dry_run"`
	Position      int64        `json:"position"` // after it; of a dry run, before it
	CorrelationID string       `json:"correlation_id,omitempty"`
	Changes       []difference `json:"changes"`
}

// difference is one change of a rewrite. Version is that of the new event.
type difference struct {
	Op       config.Op    `json:"op"`
	Name     string       `json:"name"`
	Version  int64        `json:"version"`
	OldValue config.Value `json:"old_value"`
	Value    config.Value `json:"value"`
}

// postRevert brings a namespace, some names of it, or one change set back, as
// new events with their own reason.
func (s *Service) postRevert(c echo.Context) error {
	r, err := readRequest(c, c.Param("namespace"))
	if err != nil {
		return err
	}
	var body struct {
		To     instant  `json:"to"`
		Change string   `json:"change"`
		Names  []string `json:"names"`
		DryRun bool     `json:"dry_run"`
		Reason string   `json:"reason"`
	}
	if err := service.DecodeJSON(r.body, &body); err != nil {
		return err
	}
	if (body.To.text == "") == (body.Change == "") {
		return fault("/to", `say what to revert to: "to" with a time or a position, or "change" with a correlation id`)
	}
	if body.Change != "" && body.Names != nil {
		return fault("/names", "a change set is reverted whole: leave out the names")
	}
	r.command.Set.Reason = body.Reason
	namespace := r.command.Set.Namespace
	if body.Change != "" {
		return s.rewrite(c, r.command, body.DryRun, func(ctx context.Context) ([]planned, error) {
			return planUndo(ctx, s.log, namespace, body.Change)
		})
	}
	position, err := s.resolve(c.Request().Context(), body.To, "/to")
	if err != nil {
		return err
	}
	if err := checkNames(body.Names); err != nil {
		return err
	}
	return s.rewrite(c, r.command, body.DryRun, func(ctx context.Context) ([]planned, error) {
		return planRevert(ctx, s.log, namespace, body.Names, position)
	})
}

// postCopy makes names of this namespace equal to those of another, now or as
// they were.
func (s *Service) postCopy(c echo.Context) error {
	r, err := readRequest(c, c.Param("namespace"))
	if err != nil {
		return err
	}
	var body struct {
		From   string   `json:"from"`
		At     instant  `json:"at"`
		Names  []string `json:"names"`
		DryRun bool     `json:"dry_run"`
		Reason string   `json:"reason"`
	}
	if err := service.DecodeJSON(r.body, &body); err != nil {
		return err
	}
	if err := config.CheckNamespace(body.From); err != nil {
		return fault("/from", err.Error())
	}
	if err := checkNames(body.Names); err != nil {
		return err
	}
	ctx := c.Request().Context()
	var position int64
	if body.At.text == "" {
		head, err := s.log.Head(ctx)
		if err != nil {
			return err
		}
		position = head.Position
	} else if position, err = s.resolve(ctx, body.At, "/at"); err != nil {
		return err
	}
	r.command.Set.Reason = body.Reason
	return s.rewrite(c, r.command, body.DryRun, func(ctx context.Context) ([]planned, error) {
		return planCopy(ctx, s.log, body.From, r.command.Set.Namespace, body.Names, position)
	})
}

func checkNames(names []string) error {
	for i, name := range names {
		if err := config.CheckName(name); err != nil {
			return fault("/names/"+strconv.Itoa(i), err.Error())
		}
	}
	return nil
}

// rewrite makes the plan and, unless it is a dry run, appends it. Every change
// expects the version that it was planned from; when another write comes
// between, the plan is made anew.
func (s *Service) rewrite(c echo.Context, cmd eventlog.Command, dryRun bool, makePlan func(context.Context) ([]planned, error)) error {
	ctx := c.Request().Context()
	if h := c.Request().Header; h.Get("If-Match") != "" || h.Get("If-None-Match") != "" {
		return config.Errorf(config.Invalid, "a revert or copy has no ETag: leave out If-Match and If-None-Match")
	}
	if err := config.CheckNamespace(cmd.Set.Namespace); err != nil {
		return err
	}
	out, known, err := s.log.Known(ctx, cmd)
	if err != nil {
		return err
	}
	for range planTries {
		if known {
			break
		}
		var changes []planned
		if changes, err = makePlan(ctx); err != nil {
			return err
		}
		if len(changes) > config.MaxChanges {
			return config.Errorf(config.Invalid, "this takes %d changes and a change set has at most %d: name some of the configs", len(changes), config.MaxChanges)
		}
		if dryRun || len(changes) == 0 {
			return s.answerPlan(c, cmd, changes, dryRun)
		}
		cmd.Set.Changes = nil
		for _, p := range changes {
			cmd.Set.Changes = append(cmd.Set.Changes, p.change())
		}
		out, err = s.append(ctx, cmd)
		known = err == nil
		if err != nil && config.CodeOf(err) != config.PreconditionFailed {
			return err
		}
	}
	if err != nil {
		return config.Errorf(config.Conflict, "the configs change too fast to be rewritten: try again")
	}
	return s.answerRewrite(c, cmd, out)
}

// answerPlan answers a dry run, and a rewrite that has nothing to do.
func (s *Service) answerPlan(c echo.Context, cmd eventlog.Command, changes []planned, dryRun bool) error {
	if err := cmd.Set.CheckTexts(); err != nil { // as the real one would
		return err
	}
	head, err := s.log.Head(c.Request().Context())
	if err != nil {
		return err
	}
	answer := rewrite{Namespace: cmd.Set.Namespace, DryRun: dryRun, Position: head.Position, Changes: []difference{}}
	for _, p := range changes {
		change := p.change()
		answer.Changes = append(answer.Changes, difference{
			Op: change.Op, Name: p.Name, Version: p.From.Version + 1, OldValue: p.From.Value, Value: change.Value,
		})
	}
	c.Response().Header().Set("Config-Position", head.Token().String())
	return c.JSON(http.StatusOK, answer)
}

// answerRewrite answers from the events themselves, so that a replayed answer
// is the first one's.
func (s *Service) answerRewrite(c echo.Context, cmd eventlog.Command, out eventlog.Outcome) error {
	events, err := s.log.Read(c.Request().Context(), out.Changes[0].Position-1, config.MaxChanges)
	if err != nil {
		return err
	}
	result := rewrite{Namespace: cmd.Set.Namespace, Position: out.Position, CorrelationID: out.CorrelationID}
	for i := range events[:min(len(events), len(out.Changes))] {
		e := &events[i]
		p, err := e.Payload()
		if err != nil {
			return err
		}
		op := config.Set
		if p.Deleted {
			op = config.Delete
		}
		result.Changes = append(result.Changes, difference{Op: op, Name: e.Name, Version: e.Version, OldValue: p.OldValue, Value: p.Value})
	}
	answer(c, out)
	return c.JSON(http.StatusOK, result)
}

// instant is a time (RFC 3339), a position (a number), or a token.
type instant struct{ text string }

func (i *instant) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		return nil
	}
	if raw[0] != '"' {
		i.text = string(raw)
		return nil
	}
	return json.Unmarshal(raw, &i.text)
}

// resolve returns the position that an instant stands for. A position after the
// head, and one of another epoch, are refused; a time in the future is now.
func (s *Service) resolve(ctx context.Context, i instant, pointer string) (int64, error) {
	head, err := s.log.Head(ctx)
	if err != nil {
		return 0, err
	}
	if t, err := time.Parse(time.RFC3339Nano, i.text); err == nil {
		return s.log.PositionAt(ctx, t)
	}
	position, err := strconv.ParseInt(i.text, 10, 64)
	if err != nil {
		token, tokenErr := config.ParseToken(i.text)
		if tokenErr != nil {
			return 0, fault(pointer, "use a time like 2026-11-23T08:00:00Z or a position like 42")
		}
		if token.Epoch != head.Epoch {
			return 0, errEpoch
		}
		position = token.Position
	}
	if position < 0 || position > head.Position {
		return 0, fault(pointer, "the log goes from 0 to "+strconv.FormatInt(head.Position, 10))
	}
	return position, nil
}

var errEpoch error = &config.Error{Code: config.EpochMismatch, Detail: "the position belongs to another log: this one was restored or made anew; read again without it"}
