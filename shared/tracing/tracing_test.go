package tracing_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/tracing"
)

func open(t *testing.T, endpoint string, out *strings.Builder) *tracing.Tracer {
	t.Helper()
	tracer, err := tracing.Open(t.Context(), tracing.Options{Endpoint: endpoint}, "demo", "v1", slog.New(slog.NewTextHandler(out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return tracer
}

func TestEndpointIsChecked(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{"collector:4318", "localhost", "ftp://host", "http://", "http://a b"} {
		_, err := tracing.Open(t.Context(), tracing.Options{Endpoint: endpoint}, "demo", "v1", slog.Default())
		if err == nil || !strings.Contains(err.Error(), "no URL of an OTLP collector") {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
}

// Without an endpoint nothing is made, and an event keeps the trace that it has.
func TestOff(t *testing.T) {
	t.Parallel()
	tracer := open(t, "", new(strings.Builder))
	ctx, traceparent, end := tracer.Start(t.Context(), "append")
	end(nil)
	if tracer.On() || traceparent != "" || tracing.TraceID(ctx) != "" {
		t.Errorf("it is off and made %q", traceparent)
	}
	events := []config.Event{{Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
	before := events[0].Trace
	if spans := tracer.Publish(events); spans != nil || events[0].Trace != before {
		t.Errorf("made %v, and the event's trace is %s", spans, events[0].Trace)
	}
	tracer.Close(t.Context())
}

// What is not sampled leaves no trace in the log, and no event without one gets
// a span.
func TestOnlyWhatIsTraced(t *testing.T) {
	t.Parallel()
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(collector.Close)
	tracer := open(t, collector.URL, new(strings.Builder))
	t.Cleanup(func() { tracer.Close(context.WithoutCancel(t.Context())) })
	events := []config.Event{{Position: 1}, {Position: 2, Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, {Position: 3, Trace: "nonsense"}}
	spans := tracer.Publish(events)
	spans.End(errors.New("failed"))
	if len(spans) != 2 || events[0].Trace != "" || !strings.HasPrefix(events[1].Trace, "00-0af7651916cd43dd8448eb211c80319c-") {
		t.Errorf("%d spans, traces are %q and %q", len(spans), events[0].Trace, events[1].Trace)
	}
	if strings.Contains(events[1].Trace, "b7ad6b7169203331") {
		t.Error("the event still names the span that it came from")
	}
}

// A collector that is down is told of, and holds up a stop no longer than it may.
func TestCollectorDown(t *testing.T) {
	t.Parallel()
	collector := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(collector.Close)
	var out strings.Builder
	tracer := open(t, collector.URL, &out)
	_, _, end := tracer.Start(t.Context(), "append")
	end(nil)
	tracer.Close(t.Context())
	if !strings.Contains(out.String(), "traces can't be exported") {
		t.Errorf("the log says %q", out.String())
	}
}
