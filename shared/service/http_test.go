package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/labstack/echo/v4"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/tracing"
)

// journal is a log that a test reads.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// lines returns those with this message.
func (j *journal) lines(t *testing.T, message string) (lines []map[string]any) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	for text := range strings.Lines(j.text.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		if line["msg"] == message {
			lines = append(lines, line)
		}
	}
	return lines
}

// send asks a service that answers GET and POST on /v2/things/:name and
// /v1/things/:name with handler.
func send(t *testing.T, handler echo.HandlerFunc, request *http.Request) (*httptest.ResponseRecorder, *journal) {
	t.Helper()
	log := new(journal)
	e := service.NewEcho(log.logger(), service.NewMetrics("demo"), &tracing.Tracer{})
	for _, route := range []string{"/v1/things/:name", "/v2/things/:name"} {
		e.GET(route, handler)
		e.POST(route, handler)
	}
	service.Health(e)
	w := httptest.NewRecorder()
	e.ServeHTTP(w, request)
	return w, log
}

func get(path string) *http.Request { return httptest.NewRequest(http.MethodGet, path, nil) }

func failing(err error) echo.HandlerFunc { return func(echo.Context) error { return err } }

func TestEachErrorHasItsStatus(t *testing.T) {
	t.Parallel()
	unavailable := &pgconn.PgError{Code: "57P01", Message: "secret: terminating connection"}
	for _, test := range []struct {
		err    error
		status int
		code   config.Code
		logged int
	}{
		{config.Errorf(config.Invalid, "told"), 400, config.Invalid, 0},
		{config.Errorf(config.TooLarge, "told"), 413, config.TooLarge, 0},
		{config.Errorf(config.NotFound, "told"), 404, config.NotFound, 0},
		{config.Errorf(config.Gone, "told"), 410, config.Gone, 0},
		{config.Errorf(config.Conflict, "told"), 409, config.Conflict, 0},
		{config.Errorf(config.PreconditionFailed, "told"), 412, config.PreconditionFailed, 0},
		{config.Errorf(config.EpochMismatch, "told"), 412, config.EpochMismatch, 0},
		{config.Errorf(config.KeyReused, "told"), 422, config.KeyReused, 0},
		{config.Errorf(config.SchemaViolation, "told"), 422, config.SchemaViolation, 0},
		{config.Errorf(config.TooManyRequests, "told"), 429, config.TooManyRequests, 0},
		{config.Errorf(config.Unavailable, "told"), 503, config.Unavailable, 0},
		{config.Errorf(config.Internal, "told"), 500, config.Internal, 1},
		{fmt.Errorf("secret context: %w", config.Errorf(config.Gone, "told")), 410, config.Gone, 0},
		{errors.New("secret cause"), 500, config.Internal, 1},
		{echo.NewHTTPError(500, "secret cause"), 500, config.Internal, 1},
		{echo.ErrMethodNotAllowed, 404, config.NotFound, 0},
		{fmt.Errorf("secret: %w", unavailable), 503, config.Unavailable, 1},
		{fmt.Errorf("secret: %w", context.DeadlineExceeded), 503, config.Unavailable, 1},
		{fmt.Errorf("secret: %w", context.Canceled), 503, config.Unavailable, 0},
	} {
		w, log := send(t, failing(test.err), get("/v2/things/a"))
		var problem service.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil {
			t.Fatalf("%v: %v in %s", test.err, err, w.Body)
		}
		if w.Code != test.status || problem.Status != test.status || problem.Type != "urn:config-api:problem:"+string(test.code) ||
			problem.Title != http.StatusText(test.status) || problem.Detail == "" {
			t.Errorf("%v: answered %d %s, want %d, %s", test.err, w.Code, w.Body, test.status, test.code)
		}
		if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("%v: Content-Type %s", test.err, got)
		}
		id := w.Header().Get("X-Request-Id")
		if problem.RequestID != id || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%v: answered %s, want the request id %s and nothing of the cause", test.err, w.Body, id)
		}
		if got := w.Header().Get("Retry-After"); (got != "") != (test.status == 503) {
			t.Errorf("%v: Retry-After %q", test.err, got)
		}
		logged := log.lines(t, "request failed")
		if len(logged) != test.logged {
			t.Fatalf("%v: logged %v, want %d lines", test.err, logged, test.logged)
		}
		if test.logged == 1 && (logged[0]["error"] != test.err.Error() || logged[0]["request_id"] != id || logged[0]["route"] != "/v2/things/:name") {
			t.Errorf("%v: logged %v, want the cause, the id and the route", test.err, logged[0])
		}

		w, _ = send(t, failing(test.err), get("/v1/things/a"))
		want := problem.Detail
		switch w.Code {
		case http.StatusNotFound:
			want = "Not Found"
		case http.StatusGone:
			want = "Gone"
		}
		if w.Code != test.status || w.Body.String() != want || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("v1, %v: answered %d %q, want %d %q as plain text", test.err, w.Code, w.Body, test.status, want)
		}
	}
}

func TestProblemNamesFaultsAndConflicts(t *testing.T) {
	t.Parallel()
	two := int64(2)
	w, _ := send(t, failing(&config.Error{
		Code: config.PreconditionFailed, Detail: "d",
		Faults:    []config.Fault{{Pointer: "/changes/1/name", Detail: "too <long>"}},
		Conflicts: []config.VersionConflict{{Name: "a", Expected: &two, Version: 3, Position: 7, Value: config.Value(`"x"`)}},
	}), get("/v2/things/a"))
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	faults, conflicts := fmt.Sprint(got["errors"]), fmt.Sprint(got["conflicts"])
	if faults != "[map[detail:too <long> pointer:/changes/1/name]]" ||
		conflicts != "[map[deleted:false expected_version:2 name:a position:7 value:x version:3]]" {
		t.Errorf("answered %s", w.Body)
	}
}

func TestRetryAfterOfTheHandlerStays(t *testing.T) {
	t.Parallel()
	w, _ := send(t, func(c echo.Context) error {
		c.Response().Header().Set("Retry-After", "7")
		return config.Errorf(config.Unavailable, "later")
	}, get("/v2/things/a"))
	if got := w.Header().Get("Retry-After"); got != "7" {
		t.Errorf("Retry-After %s, want 7", got)
	}
}

// What is answered already can't be taken back; the log still has it.
func TestErrorAfterTheAnswerBegan(t *testing.T) {
	t.Parallel()
	w, log := send(t, func(c echo.Context) error {
		if err := service.Text(c, http.StatusOK, []byte("half")); err != nil {
			return err
		}
		return errors.New("it broke")
	}, get("/v2/things/a"))
	if w.Body.String() != "half" || len(log.lines(t, "request failed")) != 1 {
		t.Errorf("answered %s, logged %v", w.Body, log.lines(t, "request failed"))
	}
}

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	for id, kept := range map[string]bool{
		"4bf92f35-x_~!":          true,
		strings.Repeat("x", 128): true,
		strings.Repeat("x", 129): false,
		"":                       false,
		"two words":              false,
		"line\nbreak":            false,
		"caf\u00e9":              false,
	} {
		request, seen := get("/v1/things/a"), ""
		request.Header.Set("X-Request-Id", id)
		w, log := send(t, func(c echo.Context) error { seen = service.RequestID(c); return c.NoContent(204) }, request)
		got := w.Header().Get("X-Request-Id")
		if (got == id) != kept || got != seen || log.lines(t, "request")[0]["request_id"] != got {
			t.Errorf("%q: answered with %q, the handler saw %q", id, got, seen)
		}
		if parsed, err := uuid.Parse(got); !kept && (err != nil || parsed.Version() != 7) {
			t.Errorf("%q became %q, want a UUIDv7", id, got)
		}
	}
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	answer := func(c echo.Context) error {
		c.Response().Header().Set("Config-Position", "e:12")
		return service.Text(c, http.StatusOK, []byte("four"))
	}
	request := get("/v1/things/secret?token=hunter2")
	request.Header.Set("X-Forwarded-For", "1.2.3.4") // anybody can claim that
	request.RemoteAddr = "192.0.2.9:1234"
	_, log := send(t, answer, request)
	lines := log.lines(t, "request")
	if len(lines) != 1 {
		t.Fatalf("%d lines, want one", len(lines))
	}
	for name, want := range map[string]any{
		"level": "INFO", "method": "GET", "route": "/v1/things/:name", "status": 200.0, "bytes": 4.0, "position": "e:12", "remote": "192.0.2.9",
	} {
		if lines[0][name] != want {
			t.Errorf("%s is %v, want %v", name, lines[0][name], want)
		}
	}
	if d, ok := lines[0]["duration"].(float64); !ok || d <= 0 {
		t.Errorf("duration %v", lines[0]["duration"])
	}

	for path, want := range map[string]string{"/healthz": "DEBUG", "/readyz": "DEBUG", "/nowhere": "INFO"} {
		_, log := send(t, answer, get(path))
		if lines := log.lines(t, "request"); len(lines) != 1 || lines[0]["level"] != want {
			t.Errorf("%s: logged %v, want one line at %s", path, lines, want)
		}
	}
	_, log = send(t, failing(config.Errorf(config.Gone, "x")), get("/v1/things/a"))
	if got := log.lines(t, "request")[0]["status"]; got != 410.0 {
		t.Errorf("a refusal was logged with the status %v", got)
	}
}

// read answers with the body, as our handlers read it.
func read(c echo.Context) error {
	n, err := io.Copy(io.Discard, c.Request().Body)
	if err != nil {
		return service.BodyError(err)
	}
	return service.Text(c, http.StatusOK, fmt.Append(nil, n))
}

func TestBodiesAreLimited(t *testing.T) {
	t.Parallel()
	chunked := func(size int) *http.Request {
		request := httptest.NewRequest(http.MethodPost, "/v1/things/a", io.LimitReader(endless{}, int64(size)))
		request.ContentLength = -1
		return request
	}
	announced := func(size int64, body io.Reader) *http.Request {
		request := httptest.NewRequest(http.MethodPost, "/v1/things/a", body)
		request.ContentLength = size
		return request
	}
	for name, test := range map[string]struct {
		request *http.Request
		status  int
		body    string
	}{
		"at the limit":          {announced(config.MaxBodySize, io.LimitReader(endless{}, config.MaxBodySize)), 200, fmt.Sprint(config.MaxBodySize)},
		"chunked, at the limit": {chunked(config.MaxBodySize), 200, fmt.Sprint(config.MaxBodySize)},
		"chunked, over it":      {chunked(config.MaxBodySize + 1), 413, fmt.Sprintf("the body is larger than %d bytes", config.MaxBodySize)},
		"announced, over it": {
			announced(config.MaxBodySize+1, writerTo(func() { t.Error("it was read") })), 413,
			fmt.Sprintf("the body is larger than %d bytes", config.MaxBodySize),
		},
		"broken off": {chunkedError(), 400, "the body could not be read"},
	} {
		w, _ := send(t, read, test.request)
		if w.Code != test.status || w.Body.String() != test.body {
			t.Errorf("%s: answered %d %s, want %d %s", name, w.Code, w.Body, test.status, test.body)
		}
	}
}

// endless is a body that does not end.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// writerTo is a body that tells when it is read.
type writerTo func()

func (w writerTo) Read([]byte) (int, error) { w(); return 0, io.EOF }

func chunkedError() *http.Request {
	request := httptest.NewRequest(http.MethodPost, "/v1/things/a", io.MultiReader(strings.NewReader("{"), broken{}))
	request.ContentLength = -1
	return request
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestPanicIsAnErrorOfOneRequest(t *testing.T) {
	t.Parallel()
	w, log := send(t, func(echo.Context) error { panic("hunter2") }, get("/v1/things/a"))
	if w.Code != 500 || strings.Contains(w.Body.String(), "hunter2") || !strings.Contains(w.Body.String(), "request id") {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
	failed := log.lines(t, "request failed")
	if len(failed) != 1 || failed[0]["request_id"] != w.Header().Get("X-Request-Id") {
		t.Fatalf("logged %v, want one line with the id", failed)
	}
	if cause := fmt.Sprint(failed[0]["error"]); !strings.HasPrefix(cause, "panic: hunter2\n") || !strings.Contains(cause, "http_test.go") {
		t.Errorf("the log has %s, want the panic and its stack", cause)
	}
	if len(log.lines(t, "request")) != 1 {
		t.Error("the access log lacks it")
	}

	defer func() {
		if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint,err113 // a panic's value
			t.Errorf("net/http's way to break off an answer was caught: %v", p)
		}
	}()
	send(t, func(echo.Context) error { panic(http.ErrAbortHandler) }, get("/v1/things/a"))
}

func TestEscapesInPaths(t *testing.T) {
	t.Parallel()
	name := func(c echo.Context) error { return service.Text(c, http.StatusOK, []byte(c.Param("name"))) }
	for path, want := range map[string]string{
		"/v1/things/a.b":       "200 a.b",
		"/v1/things/a%2Eb":     "200 a.b",
		"/v1/things/a%2Fb":     "200 a/b",
		"/v1/things/a%2Fb%20c": "200 a/b c",
		"/v1/things/%252F":     "200 %2F",
		"/v1/things/a%252Fb":   "200 a%2Fb",
		"/v1/things/caf%C3%A9": "200 caf\u00e9",
		"/v1/things/a/b":       "404 Not Found",
		"/v1/things/a%2Fb/c":   "404 Not Found",
		"/v1/things/a/":        "404 Not Found",
	} {
		w, _ := send(t, name, get(path))
		if got := fmt.Sprintf("%d %s", w.Code, w.Body); got != want {
			t.Errorf("%s: answered %s, want %s", path, got, want)
		}
	}
}

func TestUndefinedRoutes(t *testing.T) {
	t.Parallel()
	for _, request := range []*http.Request{get("/"), get("/v1"), get("/v1/things"), httptest.NewRequest(http.MethodPatch, "/v1/things/a", nil)} {
		w, log := send(t, failing(nil), request)
		if w.Code != 404 || w.Body.String() != "Not Found" || len(log.lines(t, "request failed")) != 0 {
			t.Errorf("%s %s: answered %d %s", request.Method, request.URL, w.Code, w.Body)
		}
	}
}

func TestV1WithoutItsPrefixIsDeprecated(t *testing.T) {
	t.Parallel()
	e := service.NewEcho(discard, service.NewMetrics("demo"), &tracing.Tracer{})
	service.V1(e, func(g *echo.Group) {
		g.GET("/config/:name", func(c echo.Context) error { return service.Text(c, http.StatusOK, []byte(c.Param("name"))) })
		g.GET("/gone", failing(config.Errorf(config.Gone, "x")))
	})
	e.GET("/v2/x", func(c echo.Context) error { return c.JSON(http.StatusOK, "<v2>") })
	for path, want := range map[string]string{
		"/v1/config/a": "200 a ", "/config/a": "200 a true",
		"/v1/gone": "410 Gone ", "/gone": "410 Gone true",
		"/v2/x": "200 \"<v2>\"\n ",
		// What never was is not deprecated.
		"/": "404 Not Found ", "/nowhere": "404 Not Found ", "/v1/nowhere": "404 Not Found ", "/config/a/b": "404 Not Found ",
	} {
		w := httptest.NewRecorder()
		e.ServeHTTP(w, get(path))
		if got := fmt.Sprintf("%d %s %s", w.Code, w.Body, w.Header().Get("Deprecation")); got != want {
			t.Errorf("%s: answered %q, want %q", path, got, want)
		}
	}
}
