package command

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/service"
)

// written answers a write of one config.
type written struct {
	Namespace     string    `json:"namespace"`
	Name          string    `json:"name"`
	Version       int64     `json:"version"`
	Position      int64     `json:"position"`
	Deleted       bool      `json:"deleted,omitempty"`
	UpdatedAt     time.Time `json:"updated_at"`
	CorrelationID string    `json:"correlation_id"`
}

// put sets a config: 201 if there was no value, 200 if there was.
func (s *Service) put(c echo.Context) error {
	r, err := readRequest(c, c.Param("namespace"))
	if err != nil {
		return err
	}
	var body struct {
		Value  config.Value `json:"value"`
		Reason string       `json:"reason"`
	}
	if err := service.DecodeJSON(r.body, &body); err != nil {
		return err
	}
	change := config.Change{Op: config.Set, Name: c.Param("name"), Expected: r.expected}
	if change.Value, err = parseMember("value", body.Value); err != nil {
		return err
	}
	r.command.Set.Reason = body.Reason
	return s.writeOne(c, r.command, change)
}

// delete deletes a config: 200, 404 if it never was, 410 if it is deleted
// already. The reason comes in an optional body or as a query parameter.
func (s *Service) delete(c echo.Context) error {
	r, err := readRequest(c, c.Param("namespace"))
	if err != nil {
		return err
	}
	if r.command.Set.Reason, err = optionalReason(c, r.body); err != nil {
		return err
	}
	return s.writeOne(c, r.command, config.Change{Op: config.Delete, Name: c.Param("name"), Expected: r.expected})
}

func optionalReason(c echo.Context, body []byte) (string, error) {
	if len(body) == 0 {
		return c.QueryParam("reason"), nil
	}
	var b struct {
		Reason string `json:"reason"`
	}
	err := service.DecodeJSON(body, &b)
	return b.Reason, err
}

func (s *Service) writeOne(c echo.Context, cmd eventlog.Command, change config.Change) error {
	cmd.Set.Changes = []config.Change{change}
	out, err := s.append(c.Request().Context(), cmd)
	if err != nil {
		return ofOne(err)
	}
	answer(c, out)
	done := out.Changes[0]
	h := c.Response().Header()
	status := http.StatusOK
	if !done.Deleted {
		h.Set("ETag", etag(done.Version))
	}
	if done.Created {
		status = http.StatusCreated
		h.Set("Location", "/v2/namespaces/"+cmd.Set.Namespace+"/configs/"+url.PathEscape(done.Name))
	}
	return c.JSON(status, written{
		Namespace: cmd.Set.Namespace, Name: done.Name, Version: done.Version, Position: done.Position, Deleted: done.Deleted,
		UpdatedAt: out.RecordedAt, CorrelationID: out.CorrelationID,
	})
}

// changeSet answers an accepted change set.
type changeSet struct {
	Namespace     string             `json:"namespace"`
	Position      int64              `json:"position"`
	RecordedAt    time.Time          `json:"recorded_at"`
	CorrelationID string             `json:"correlation_id"`
	Changes       []eventlog.Changed `json:"changes"`
}

// postChanges applies a change set, all or nothing.
func (s *Service) postChanges(c echo.Context) error {
	r, err := readRequest(c, c.Param("namespace"))
	if err != nil {
		return err
	}
	if r.expected != nil {
		return config.Errorf(config.Invalid, "a change set has no ETag: use expected_version in its changes")
	}
	var body struct {
		Reason  string            `json:"reason"`
		Changes []json.RawMessage `json:"changes"`
	}
	if err := service.DecodeJSON(r.body, &body); err != nil {
		return err
	}
	r.command.Set.Reason = body.Reason
	for i, raw := range body.Changes {
		at := "/changes/" + strconv.Itoa(i)
		var change struct {
			Op       config.Op    `json:"op"`
			Name     string       `json:"name"`
			Value    config.Value `json:"value"`
			Expected *int64       `json:"expected_version"`
		}
		// Each on its own: encoding/json does not say in which a fault is.
		if err := service.DecodeJSON(raw, &change); err != nil {
			return within(at, err)
		}
		if change.Op != config.Set && change.Op != config.Delete {
			return fault(at+"/op", "use \"set\" or \"delete\"")
		}
		if change.Value != nil {
			if change.Value, err = parseMember(at[1:]+"/value", change.Value); err != nil {
				return err
			}
		}
		r.command.Set.Changes = append(r.command.Set.Changes, config.Change(change))
	}
	out, err := s.append(c.Request().Context(), r.command)
	if err != nil {
		return err
	}
	answer(c, out)
	return c.JSON(http.StatusOK, changeSet{
		Namespace: r.command.Set.Namespace, Position: out.Position, RecordedAt: out.RecordedAt,
		CorrelationID: out.CorrelationID, Changes: out.Changes,
	})
}

// parseMember checks the value in a member of the body; member is its pointer
// without the leading slash.
func parseMember(member string, raw config.Value) (config.Value, error) {
	if raw == nil {
		return nil, fault("/"+member, "is missing: any JSON value will do")
	}
	value, err := config.ParseValue(raw)
	if err != nil {
		code := config.CodeOf(err)
		return nil, &config.Error{Code: code, Detail: err.Error(), Faults: []config.Fault{{Pointer: "/" + member, Detail: err.Error()}}}
	}
	return value, nil
}

// fault refuses a body for one member.
func fault(pointer, detail string) error {
	return &config.Error{Code: config.Invalid, Detail: pointer[1:] + " " + detail, Faults: []config.Fault{{Pointer: pointer, Detail: detail}}}
}

// within turns pointers into a part of the body to pointers into the whole.
func within(at string, err error) error {
	refusal := config.Errorf(config.CodeOf(err), "%s: %s", at[1:], err)
	var inner *config.Error
	if errors.As(err, &inner) {
		for _, f := range inner.Faults {
			refusal.Faults = append(refusal.Faults, config.Fault{Pointer: at + f.Pointer, Detail: f.Detail})
		}
	}
	if refusal.Faults == nil {
		refusal.Faults = []config.Fault{{Pointer: at, Detail: err.Error()}}
	}
	return refusal
}

// ofOne turns the pointers of a change set of one into those of its own body.
func ofOne(err error) error {
	refusal, ok := err.(*config.Error) //nolint:errorlint // Append returns it unwrapped
	if !ok || refusal.Faults == nil {
		return err
	}
	one := *refusal
	one.Faults = nil
	for _, f := range refusal.Faults {
		f.Pointer = f.Pointer[len("/changes/0"):]
		one.Faults = append(one.Faults, f)
	}
	return &one
}
