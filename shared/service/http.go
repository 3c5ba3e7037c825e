package service

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/tracing"
)

// requestIDKey holds the request's id in the echo context.
const requestIDKey = "request_id"

// NewEcho returns an echo with what every service has: request ids, the access
// log, the error table, recovery from panics, its metrics, its traces and the
// limit of bodies, but for the routes that are named.
func NewEcho(logger *slog.Logger, metrics *Metrics, tracer *tracing.Tracer, unlimited ...string) *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.IPExtractor = echo.ExtractIPDirect() // else a header names the client
	e.HTTPErrorHandler = handleError(logger, metrics.requests)
	e.JSONSerializer = exactJSON{}
	if tracer.On() {
		e.Use(traced(tracer, metrics.requests))
	}
	e.Use(requestID, access(logger, metrics.requests), recovered, limited(unlimited), segments)
	metrics.routes(e)
	return e
}

// traced makes a span of each request, but for those that something sends every
// few seconds, and for watches: each change that one shows has a span of its own.
func traced(tracer *tracing.Tracer, requests *requests) echo.MiddlewareFunc {
	span := echo.WrapMiddleware(tracer.Middleware())
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		traced := span(next)
		return func(c echo.Context) error {
			switch route := c.Path(); {
			case isPolled(route), requests.isStream(route):
				return next(c)
			case route == "":
				c.Request().Pattern = "unknown"
			default:
				c.Request().Pattern = route
			}
			return traced(c)
		}
	}
}

// isPolled knows the routes that something asks every few seconds.
func isPolled(route string) bool {
	return route == liveRoute || route == readyRoute || route == metricsRoute
}

// RequestID returns the request's id: the client's X-Request-Id if it is a sane
// one, else one of ours. The answer and the access log carry it too.
func RequestID(c echo.Context) string {
	id, _ := c.Get(requestIDKey).(string)
	return id
}

func requestID(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		id := c.Request().Header.Get(echo.HeaderXRequestID)
		if !saneID(id) {
			id = newID()
		}
		c.Set(requestIDKey, id)
		c.Response().Header().Set(echo.HeaderXRequestID, id)
		return next(c)
	}
}

// newID returns a UUIDv7: it sorts by time.
func newID() string {
	id, err := uuid.NewV7()
	if err != nil { // the random source is broken: uuid.New would panic too
		panic(err)
	}
	return id.String()
}

func saneID(id string) bool {
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return id != "" && len(id) <= 128
}

// access counts each request and logs a line for it, with the route's template
// rather than the path, so that lines can be counted too.
func access(logger *slog.Logger, requests *requests) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			endpoint, start := requests.begin(c), time.Now()
			ended := false
			defer func() {
				if !ended { // something panics, on purpose: see recovered
					endpoint.aborted.Add(1)
				}
			}()
			if err := next(c); err != nil {
				c.Error(err)
			}
			took := time.Since(start)
			endpoint.end(c.Response().Status, took)
			ended = true
			ctx, level := c.Request().Context(), slog.LevelInfo
			if isPolled(c.Path()) {
				level = slog.LevelDebug
			}
			if !logger.Enabled(ctx, level) {
				return nil
			}
			logger.LogAttrs(ctx, level, "request",
				slog.String("request_id", RequestID(c)),
				slog.String("method", c.Request().Method),
				slog.String("route", c.Path()),
				slog.Int("status", c.Response().Status),
				slog.Duration("duration", took),
				slog.Int64("bytes", c.Response().Size),
				slog.String("position", c.Response().Header().Get("Config-Position")),
				slog.String("remote", c.RealIP()),
				trace(ctx))
			return nil
		}
	}
}

// trace is the trace of a request that has one; a log leaves out an empty attribute.
func trace(ctx context.Context) slog.Attr {
	if id := tracing.TraceID(ctx); id != "" {
		return slog.String("trace_id", id)
	}
	return slog.Attr{}
}

// recovered turns a panic into an error, which is logged and answered as any
// other.
func recovered(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler: // net/http's own way to break off
				panic(p)
			default:
				err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		return next(c)
	}
}

// limited refuses a body that is too large: before it is read if its length is
// announced, else while it is.
func limited(except []string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if slices.Contains(except, c.Path()) {
				return next(c)
			}
			r := c.Request()
			if r.ContentLength > config.MaxBodySize {
				return BodyError(&http.MaxBytesError{Limit: config.MaxBodySize})
			}
			r.Body = http.MaxBytesReader(c.Response(), r.Body, config.MaxBodySize)
			return next(c)
		}
	}
}

// segments decodes the path parameters, which echo leaves as they came when the
// path has escapes, and undoes that its last parameter also takes what follows
// a slash: such a route is undefined.
func segments(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		values := c.ParamValues()
		for i, v := range values {
			if strings.Contains(v, "/") {
				return echo.ErrNotFound
			}
			if c.Request().URL.RawPath == "" {
				continue
			}
			plain, err := url.PathUnescape(v)
			if err != nil {
				return config.Errorf(config.Invalid, "the path has a broken escape")
			}
			values[i] = plain
		}
		return next(c)
	}
}

// Text answers plain text.
func Text(c echo.Context, status int, text []byte) error {
	return c.Blob(status, "text/plain; charset=utf-8", text)
}

// V1 registers the routes of v1 twice: under /v1, and without a version as the
// system that this one replaces had them, marked as deprecated.
func V1(e *echo.Echo, register func(*echo.Group)) {
	register(e.Group("/v1"))
	register(e.Group("", func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			// A group's middleware also sees all that has no route at all.
			if path := c.Path(); path != "/" && path != "/*" {
				c.Response().Header().Set("Deprecation", "true")
			}
			return next(c)
		}
	}))
}
