package command

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/service"
)

// schemaWritten answers a write of a schema, dry or real. Violations are the
// values that it does not allow: of a dry run also past ones.
type schemaWritten struct {
	Namespace  string      `json:"namespace"`
	Pattern    string      `json:"pattern"`
	DryRun     bool        `json:"dry_run"`
	Version    int64       `json:"version"`
	Position   int64       `json:"position"`
	UpdatedAt  *time.Time  `json:"updated_at,omitempty"`
	Violations []violation `json:"violations"`
}

// violation is a stored value that breaks a schema.
type violation struct {
	Name     string         `json:"name"`
	Version  int64          `json:"version"`
	Position int64          `json:"position"`
	Current  bool           `json:"current"` // the value is in force now
	Faults   []config.Fault `json:"faults"`
}

// maxViolations bounds how many are listed.
const maxViolations = 100

// putSchema sets the schema of a pattern. Current values that break it are a
// 409 with the list unless force; a dry run lists past ones too.
func (s *Service) putSchema(c echo.Context) error {
	r, err := readRequest(c, c.Param("namespace"))
	if err != nil {
		return err
	}
	var body struct {
		Schema config.Value `json:"schema"`
		Reason string       `json:"reason"`
		Force  bool         `json:"force"`
		DryRun bool         `json:"dry_run"`
	}
	if err := service.DecodeJSON(r.body, &body); err != nil {
		return err
	}
	text, err := parseMember("schema", body.Schema)
	if err != nil {
		return err
	}
	pattern := c.Param("pattern")
	cmd := r.command
	cmd.Set.Reason = body.Reason
	cmd.Set.Changes = []config.Change{{Op: config.SetSchema, Name: config.SchemaStream(pattern), Value: text, Expected: r.expected}}
	if err := cmd.Set.Check(); err != nil {
		return ofOne(err)
	}
	schema, err := s.schemas.compile(text)
	if err != nil {
		return err
	}
	check := func(value config.Value) []config.Fault { return s.schemas.faults(schema, value) }
	if body.DryRun {
		return s.drySchema(c, cmd, pattern, check)
	}
	out, known, err := s.log.Known(c.Request().Context(), cmd)
	for range planTries {
		if known || err != nil && config.CodeOf(err) != config.Conflict {
			break
		}
		// The namespace must not change between the look at its values and
		// the event: Since makes sure of it under the head's lock.
		var found []violation
		var head eventlog.Head
		if head, found, err = s.violations(c.Request().Context(), cmd.Set.Namespace, pattern, false, check); err != nil {
			return err
		}
		if len(found) > 0 && !body.Force {
			return brokenBy(found)
		}
		if !body.Force {
			cmd.Since = &head.Position
		}
		out, err = s.append(c.Request().Context(), cmd)
		known = err == nil
	}
	if err != nil {
		return ofOne(err)
	}
	return answerSchema(c, cmd, pattern, out)
}

func answerSchema(c echo.Context, cmd eventlog.Command, pattern string, out eventlog.Outcome) error {
	answer(c, out)
	done := out.Changes[0]
	status := http.StatusOK
	if done.Created {
		status = http.StatusCreated
	}
	if !done.Deleted {
		c.Response().Header().Set("ETag", etag(done.Version))
	}
	return c.JSON(status, schemaWritten{
		Namespace: cmd.Set.Namespace, Pattern: pattern, Version: done.Version, Position: done.Position,
		UpdatedAt: &out.RecordedAt, Violations: []violation{},
	})
}

func (s *Service) drySchema(c echo.Context, cmd eventlog.Command, pattern string, check func(config.Value) []config.Fault) error {
	ctx := c.Request().Context()
	head, found, err := s.violations(ctx, cmd.Set.Namespace, pattern, true, check)
	if err != nil {
		return err
	}
	position := head.Position
	stream := cmd.Set.Changes[0].Name
	now, err := s.log.States(ctx, cmd.Set.Namespace, []string{stream}, position)
	if err != nil {
		return err
	}
	c.Response().Header().Set("Config-Position", head.Token().String())
	return c.JSON(http.StatusOK, schemaWritten{
		Namespace: cmd.Set.Namespace, Pattern: pattern, DryRun: true, Version: now[stream].Version + 1, Position: position, Violations: found,
	})
}

// deleteSchema deletes the schema of a pattern.
func (s *Service) deleteSchema(c echo.Context) error {
	r, err := readRequest(c, c.Param("namespace"))
	if err != nil {
		return err
	}
	if r.command.Set.Reason, err = optionalReason(c, r.body); err != nil {
		return err
	}
	pattern := c.Param("pattern")
	r.command.Set.Changes = []config.Change{{Op: config.DeleteSchema, Name: config.SchemaStream(pattern), Expected: r.expected}}
	out, err := s.append(c.Request().Context(), r.command)
	if err != nil {
		return ofOne(err)
	}
	return answerSchema(c, r.command, pattern, out)
}

// violations looks at the values that names matching the pattern have, and with
// past also at those that they had, as of the returned head.
func (s *Service) violations(ctx context.Context, namespace, pattern string, past bool, check func(config.Value) []config.Fault) (eventlog.Head, []violation, error) {
	head, err := s.log.Head(ctx)
	if err != nil {
		return head, nil, err
	}
	found := []violation{}
	err = s.log.Values(ctx, namespace, pattern, head.Position, past, func(e *config.Event, current bool) error {
		p, err := e.Payload()
		if err != nil || p.Deleted || len(found) >= maxViolations {
			return err
		}
		if faults := check(p.Value); faults != nil {
			found = append(found, violation{Name: e.Name, Version: e.Version, Position: e.Position, Current: current, Faults: faults})
		}
		return nil
	})
	return head, found, err
}

func brokenBy(found []violation) error {
	refusal := config.Errorf(config.Conflict, "%d current values break this schema: mend them first, or use force", len(found))
	for _, v := range found {
		refusal.Conflicts = append(refusal.Conflicts, config.VersionConflict{Name: v.Name, Version: v.Version, Position: v.Position, Faults: v.Faults})
	}
	return refusal
}
