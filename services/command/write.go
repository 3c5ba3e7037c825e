package command

import (
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/service"
)

// anonymous is who did it when nobody says so.
const anonymous = "anonymous"

// maxKeyLength is the longest Idempotency-Key, in bytes.
const maxKeyLength = 255

// request is what all writes have in common: who, for which reason, under which
// idempotency key and preconditions. The reason comes with the body.
type request struct {
	body     []byte
	command  eventlog.Command // without its changes
	expected *int64           // from If-Match and If-None-Match
}

// readRequest reads the body and the headers of a write to a namespace.
func readRequest(c echo.Context, namespace string) (request, error) {
	var r request
	header := c.Request().Header
	var err error
	if r.body, err = io.ReadAll(c.Request().Body); err != nil {
		return r, service.BodyError(err)
	}
	if r.expected, err = precondition(header); err != nil {
		return r, err
	}
	if r.command.Key = header.Get("Idempotency-Key"); len(r.command.Key) > maxKeyLength {
		return r, config.Errorf(config.Invalid, "the Idempotency-Key has %d bytes, the most is %d", len(r.command.Key), maxKeyLength)
	}
	r.command.RequestHash = requestHash(c.Request(), r.body)
	r.command.Set = config.ChangeSet{
		Namespace:     namespace,
		Actor:         header.Get("Config-Actor"),
		CorrelationID: header.Get("Config-Correlation-Id"),
		RequestID:     service.RequestID(c),
	}
	if r.command.Set.Actor == "" {
		r.command.Set.Actor = anonymous
	}
	return r, nil
}

// requestHash tells two requests with one key apart: it covers what they ask
// for, not who asks or why the connection was made.
func requestHash(r *http.Request, body []byte) config.Hash {
	h := sha256.New()
	for _, part := range []string{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Get("If-Match"), r.Header.Get("If-None-Match")} {
		_, _ = io.WriteString(h, strconv.Itoa(len(part))+":"+part)
	}
	h.Write(body)
	return config.Hash(h.Sum(nil))
}

// precondition reads If-Match ("v3" or *) and If-None-Match (*) as an expected
// version; nil expects nothing.
func precondition(h http.Header) (*int64, error) {
	match, none := h.Get("If-Match"), h.Get("If-None-Match")
	var expected int64
	switch {
	case match == "" && none == "":
		return nil, nil
	case match != "" && none != "":
		return nil, config.Errorf(config.Invalid, "use If-Match or If-None-Match, not both")
	case none == "*":
		expected = 0
	case none != "":
		return nil, config.Errorf(config.Invalid, "If-None-Match of a write can only be *")
	case match == "*":
		expected = config.AnyVersion
	default:
		version, ok := parseETag(match)
		if !ok {
			return nil, config.Errorf(config.Invalid, `If-Match is %s: use one ETag as a read answered it, like "v3"`, match)
		}
		expected = version
	}
	return &expected, nil
}

func etag(version int64) string { return `"v` + strconv.FormatInt(version, 10) + `"` }

func parseETag(s string) (int64, bool) {
	number, ok := strings.CutPrefix(strings.TrimSuffix(s, `"`), `"v`)
	version, err := strconv.ParseInt(number, 10, 64)
	return version, ok && err == nil && version > 0 && etag(version) == s
}

// append is [eventlog.Log.Append] as a span of its own, from which what becomes of
// the events goes on.
func (s *Service) append(ctx context.Context, cmd eventlog.Command) (out eventlog.Outcome, err error) {
	ctx, traceparent, end := s.tracer.Start(ctx, "append")
	cmd.Set.Trace = traceparent
	out, err = s.log.Append(ctx, cmd)
	end(err)
	return out, err
}

// answer sets the headers that every accepted write has.
func answer(c echo.Context, out eventlog.Outcome) {
	h := c.Response().Header()
	h.Set("Config-Position", out.Token().String())
	if out.Replayed {
		h.Set("Idempotent-Replay", "true")
	}
}
