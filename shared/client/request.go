package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/config-api/config-api/shared/config"
)

// Error is an answer that is no success.
type Error struct {
	Status    int         // HTTP
	Code      config.Code // stable; "" when something else than a Config API answered
	Detail    string      // what to do about it
	RequestID string      // what the services' logs have it under
	Faults    []config.Fault
	Conflicts []config.VersionConflict // what is there now

	retryAfter time.Duration
}

func (e *Error) Error() string {
	text := e.Detail
	for _, f := range e.Faults {
		if !strings.Contains(text, f.Detail) {
			text += "; " + f.Pointer + ": " + f.Detail
		}
	}
	return text
}

// Is makes errors.Is(err, client.ErrNotFound) and the like work.
func (e *Error) Is(target error) bool {
	var code codeError
	return errors.As(target, &code) && e.Code == config.Code(code)
}

type codeError config.Code

func (c codeError) Error() string { return string(c) }

// What errors.Is can ask of an error: its code.
var (
	ErrInvalid            error = codeError(config.Invalid)
	ErrTooLarge           error = codeError(config.TooLarge)
	ErrNotFound           error = codeError(config.NotFound)
	ErrGone               error = codeError(config.Gone)
	ErrConflict           error = codeError(config.Conflict)
	ErrParked             error = codeError(config.Parked)
	ErrPreconditionFailed error = codeError(config.PreconditionFailed)
	ErrEpochMismatch      error = codeError(config.EpochMismatch)
	ErrKeyReused          error = codeError(config.KeyReused)
	ErrSchemaViolation    error = codeError(config.SchemaViolation)
	ErrUnavailable        error = codeError(config.Unavailable)
)

// request is one that may be sent several times.
type request struct {
	method, path string
	query        url.Values
	header       http.Header
	body         []byte
}

// ReadOption makes one read another.
type ReadOption func(*request)

// At reads the state at an instant.
func At(t time.Time) ReadOption { return query("at", t.UTC().Format(time.RFC3339Nano)) }

// AtPosition reads the state after the event at a position.
func AtPosition(position int64) ReadOption {
	return query("at_position", strconv.FormatInt(position, 10))
}

// Strong reads at least what was written by anybody before the read.
func Strong() ReadOption { return query("consistency", "strong") }

// Wait is how long the service waits for what the read must show: 2 seconds by
// default, 30 at most.
func Wait(d time.Duration) ReadOption { return query("wait", d.String()) }

func query(name, value string) ReadOption {
	return func(r *request) { r.query.Set(name, value) }
}

// WriteOption makes one write another.
type WriteOption func(*write)

type write struct {
	request
	reason string
}

// Reason says why: it stays with the event for ever.
func Reason(why string) WriteOption { return func(w *write) { w.reason = why } }

// Actor says who, for this write.
func Actor(who string) WriteOption { return header("Config-Actor", who) }

// CorrelationID ties the write to others, which can then be found and taken back
// together.
func CorrelationID(id string) WriteOption { return header("Config-Correlation-Id", id) }

// IdempotencyKey makes the write be done once, however often it is sent, also by
// another process. Without it each call has a random one.
func IdempotencyKey(key string) WriteOption { return header("Idempotency-Key", key) }

// IfVersion refuses the write unless the config has this version; 0 is for one
// without a value. The error is [ErrPreconditionFailed].
func IfVersion(version int64) WriteOption {
	if version == 0 {
		return header("If-None-Match", "*")
	}
	return header("If-Match", `"v`+strconv.FormatInt(version, 10)+`"`)
}

func header(name, value string) WriteOption {
	return func(w *write) { w.header.Set(name, value) }
}

func (c *Client) read(ctx context.Context, path string, values url.Values, options []ReadOption, answer any) error {
	r := request{method: http.MethodGet, path: path, query: values, header: http.Header{}}
	if r.query == nil {
		r.query = url.Values{}
	}
	for _, option := range options {
		option(&r)
	}
	return c.do(ctx, r, answer)
}

// write sends a write whose body is made of its members and the reason.
func (c *Client) write(ctx context.Context, method, path string, members map[string]any, options []WriteOption, answer any) error {
	w := write{request: request{method: method, path: path, header: http.Header{}}}
	w.header.Set("Idempotency-Key", rand.Text())
	w.header.Set("Content-Type", "application/json")
	if c.actor != "" {
		w.header.Set("Config-Actor", c.actor)
	}
	for _, option := range options {
		option(&w)
	}
	if w.reason != "" {
		members["reason"] = w.reason
	}
	if len(members) > 0 || method != http.MethodDelete {
		var err error
		if w.body, err = encode(members); err != nil {
			return err
		}
	}
	return c.do(ctx, w.request, answer)
}

// encode is json.Marshal that leaves <, > and & as they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// do sends a request until it has an answer that another attempt would not
// change.
func (c *Client) do(ctx context.Context, r request, answer any) error {
	for attempt := 1; ; attempt++ {
		response, err := c.send(ctx, r)
		if err == nil {
			err = json.NewDecoder(response.Body).Decode(answer)
			_ = response.Body.Close()
			if err == nil {
				return nil
			}
			err = fmt.Errorf("the answer to %s %s: %w", r.method, r.path, err)
		}
		if !passing(err) || attempt >= c.attempts || pause(ctx, attempt, err) != nil {
			return err
		}
	}
}

// send returns a successful answer, or an error: an [*Error] if there was one.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	address := c.base + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	httpRequest, err := http.NewRequestWithContext(ctx, r.method, address, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	httpRequest.Header = r.header.Clone()
	if seen := c.Seen(); r.method == http.MethodGet && seen.Position > 0 {
		httpRequest.Header.Set("Config-Min-Position", seen.String())
	}
	response, err := c.http.Do(httpRequest)
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 == 2 {
		c.note(response, nil)
		return response, nil
	}
	defer response.Body.Close()
	failure := failureOf(response)
	c.note(response, failure)
	return nil, failure
}

// failureOf reads a problem document (RFC 9457), or what else was answered.
func failureOf(response *http.Response) *Error {
	const most = 1 << 20
	body, _ := io.ReadAll(io.LimitReader(response.Body, most)) // what there is of it
	var problem struct {
		Type, Detail string
		RequestID    string `json:"request_id"`
		Errors       []config.Fault
		Conflicts    []config.VersionConflict
	}
	e := &Error{Status: response.StatusCode, RequestID: response.Header.Get("X-Request-Id")}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
		e.retryAfter = time.Duration(seconds) * time.Second
	}
	code, ours := "", false
	if json.Unmarshal(body, &problem) == nil {
		code, ours = strings.CutPrefix(problem.Type, "urn:config-api:problem:")
	}
	if !ours {
		e.Detail = fmt.Sprintf("%s %s: answered %s", response.Request.Method, response.Request.URL.Redacted(), response.Status)
		return e
	}
	e.Code, e.Detail, e.Faults, e.Conflicts = config.Code(code), problem.Detail, problem.Errors, problem.Conflicts
	return e
}

// passing reports whether another attempt may do better: the connection failed,
// or something between or behind was down.
func passing(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var answered *Error
	if !errors.As(err, &answered) {
		return true
	}
	switch answered.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// pause waits before the next attempt: as long as the answer asks for, or a
// random part of a time that doubles.
func pause(ctx context.Context, attempt int, err error) error {
	most := min(firstPause<<min(attempt, 10), longestPause)
	wait := most/2 + mathrand.N(most/2)
	var answered *Error
	if errors.As(err, &answered) {
		wait = max(wait, answered.retryAfter)
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
