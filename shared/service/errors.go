package service

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/pg"
)

// statuses is the one table from error codes to HTTP statuses.
var statuses = map[config.Code]int{
	config.Invalid:            http.StatusBadRequest,
	config.TooLarge:           http.StatusRequestEntityTooLarge,
	config.NotFound:           http.StatusNotFound,
	config.Gone:               http.StatusGone,
	config.Conflict:           http.StatusConflict,
	config.Parked:             http.StatusConflict,
	config.PreconditionFailed: http.StatusPreconditionFailed,
	config.EpochMismatch:      http.StatusPreconditionFailed,
	config.KeyReused:          http.StatusUnprocessableEntity,
	config.SchemaViolation:    http.StatusUnprocessableEntity,
	config.TooManyRequests:    http.StatusTooManyRequests,
	config.Unavailable:        http.StatusServiceUnavailable,
	config.Internal:           http.StatusInternalServerError,
}

// retryAfter is what a client that met an unavailable service is told, in
// seconds.
const retryAfter = "1"

// Problem is an RFC 9457 problem document.
type Problem struct {
	Type      string                   `json:"type"`
	Title     string                   `json:"title"`
	Status    int                      `json:"status"`
	Detail    string                   `json:"detail"`
	RequestID string                   `json:"request_id,omitempty"`
	Errors    []config.Fault           `json:"errors,omitempty"`
	Conflicts []config.VersionConflict `json:"conflicts,omitempty"`
}

// problemType is the stable URI of an error code.
func problemType(code config.Code) string { return "urn:config-api:problem:" + string(code) }

// refusal turns any error into the one that the client is told, and says
// whether it is our own fault and must be logged.
func refusal(err error) (told *config.Error, ours bool) {
	var known *config.Error
	var http *echo.HTTPError
	switch {
	case errors.As(err, &known):
		return known, known.Code == config.Internal
	case errors.As(err, &http) && http.Code < 500: // of the router: no such route or method
		return config.Errorf(config.NotFound, "Not Found"), false
	case pg.IsUnavailable(err), errors.Is(err, context.DeadlineExceeded):
		return config.Errorf(config.Unavailable, "the database is not available: try again"), true
	case errors.Is(err, context.Canceled): // the client is gone
		return config.Errorf(config.Unavailable, "the request was cancelled"), false
	default:
		return config.Errorf(config.Internal, "internal error: the log has it under this request id"), true
	}
}

// handleError answers an error: in v2 as a problem document, else as plain
// text, as the system that v1 replaces did.
func handleError(logger *slog.Logger, requests *requests) echo.HTTPErrorHandler {
	return func(err error, c echo.Context) {
		told, ours := refusal(err)
		requests.refuse(told.Code)
		status := statuses[told.Code]
		if ours {
			logger.Error("request failed", "request_id", RequestID(c), "method", c.Request().Method, "route", c.Path(), "status", status, "error", err)
		}
		if c.Response().Committed {
			return
		}
		h := c.Response().Header()
		if told.Code == config.Unavailable && h.Get("Retry-After") == "" {
			h.Set("Retry-After", retryAfter)
		}
		if err := writeError(c, status, told); err != nil {
			logger.Debug("the answer could not be written", "request_id", RequestID(c), "error", err)
		}
	}
}

func writeError(c echo.Context, status int, told *config.Error) error {
	if !strings.HasPrefix(c.Request().URL.Path, "/v2/") {
		return Text(c, status, []byte(plainText(told)))
	}
	problem := Problem{
		Type: problemType(told.Code), Title: http.StatusText(status), Status: status, Detail: told.Detail,
		RequestID: RequestID(c), Errors: told.Faults, Conflicts: told.Conflicts,
	}
	text, err := json.Marshal(problem)
	if err != nil {
		return err
	}
	return c.Blob(status, "application/problem+json", text)
}

// plainText is the v1 form: 404 and 410 are one fixed word, the others say what
// is wrong.
func plainText(told *config.Error) string {
	switch told.Code {
	case config.NotFound:
		return "Not Found"
	case config.Gone:
		return "Gone"
	default:
		return told.Detail
	}
}

// BodyError turns an error of reading a request's body into a refusal.
func BodyError(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return config.Errorf(config.TooLarge, "the body is larger than %d bytes", tooLarge.Limit)
	}
	return config.Errorf(config.Invalid, "the body could not be read")
}
