package command

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/service"
)

// putV1 sets a value of the default namespace: 200 OK.
func (s *Service) putV1(c echo.Context) error {
	change := config.Change{Op: config.Set, Name: c.Param("name")}
	r, err := readRequestV1(c, change.Name)
	if err != nil {
		return err
	}
	if change.Value, err = valueV1(r.body); err != nil {
		return err
	}
	return s.writeV1(c, r, change)
}

// deleteV1 deletes a value: 200 OK, 404 if there never was one, 410 if it is
// deleted already.
func (s *Service) deleteV1(c echo.Context) error {
	change := config.Change{Op: config.Delete, Name: c.Param("name")}
	r, err := readRequestV1(c, change.Name)
	if err != nil {
		return err
	}
	return s.writeV1(c, r, change)
}

func readRequestV1(c echo.Context, name string) (request, error) {
	if err := config.CheckNameV1(name); err != nil {
		return request{}, err
	}
	return readRequest(c, config.DefaultNamespace)
}

// writeV1 appends the change and answers when every reader has it, as clients
// of v1 expect, or after a second without.
func (s *Service) writeV1(c echo.Context, r request, change config.Change) error {
	change.Expected = r.expected
	r.command.Set.Changes = []config.Change{change}
	out, err := s.append(c.Request().Context(), r.command)
	if err != nil {
		return err
	}
	answer(c, out)
	if !s.visibility.wait(c.Request().Context(), out.Token()) {
		c.Response().Header().Set("Config-Applied", "false")
	}
	return service.Text(c, http.StatusOK, []byte("OK"))
}

// valueV1 reads {"value": string}. Other members are ignored, as they were by
// the system that this one replaces.
func valueV1(body []byte) (config.Value, error) {
	const expected = `Invalid body: expected a JSON object with a string "value", like {"value": "on"}`
	if err := config.CheckJSON(body); err != nil {
		return nil, config.Errorf(config.Invalid, expected+": %v", err)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(body, &object); err != nil || object == nil {
		return nil, config.Errorf(config.Invalid, expected)
	}
	raw := bytes.TrimSpace(object["value"])
	if len(raw) == 0 || raw[0] != '"' {
		return nil, config.Errorf(config.Invalid, expected)
	}
	return config.ParseValue(raw)
}
