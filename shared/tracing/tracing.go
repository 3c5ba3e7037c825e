// Package tracing makes OpenTelemetry spans of what happens to a change on its
// way: from the request that writes it, over commit, publish and projection, to
// the watch that shows it. Between processes a change carries its place in the
// trace as [config.Event].Trace: in the log, and in a header of its message.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/config-api/config-api/shared/config"
)

// closeTimeout is for the spans that are not exported yet when a process stops.
const closeTimeout = 2 * time.Second

// Options say where the spans go.
type Options struct {
	// Endpoint is the base URL of an OTLP collector over HTTP, like
	// http://127.0.0.1:4318; nothing is traced without it. How much is sampled,
	// the collector's headers and the like are told by the OTEL_ variables of the
	// OpenTelemetry specification.
	Endpoint string
}

// Tracer makes the spans of one service. The zero Tracer, and none at all, is off and
// costs nothing.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	logger   *slog.Logger
}

// Open returns a tracer, which is off without an endpoint. It does not connect:
// what can't be exported is logged and dropped, and holds up nobody.
func Open(ctx context.Context, o Options, service, version string, logger *slog.Logger) (*Tracer, error) {
	if o.Endpoint == "" {
		return &Tracer{}, nil
	}
	endpoint, err := url.Parse(o.Endpoint)
	if err == nil && (endpoint.Scheme != "http" && endpoint.Scheme != "https" || endpoint.Host == "") {
		err = errors.New("use one like http://127.0.0.1:4318")
	}
	if err != nil {
		return nil, fmt.Errorf("traces: the endpoint is no URL of an OTLP collector: %w", err)
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint.JoinPath("v1", "traces").String()))
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", "config-api-"+service), attribute.String("service.version", version)),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(logged{exporter, logger}), sdktrace.WithResource(about))
	return &Tracer{provider: provider, tracer: provider.Tracer("github.com/config-api/config-api"), logger: logger}, nil
}

// logged tells the log what can't be exported, rather than the one handler of errors
// that a process has.
type logged struct {
	sdktrace.SpanExporter
	logger *slog.Logger
}

func (l logged) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := l.SpanExporter.ExportSpans(ctx, spans); err != nil {
		l.logger.Warn("traces can't be exported", "error", err, "spans", len(spans))
	}
	return nil
}

// Close exports what is left, for up to two seconds.
func (t *Tracer) Close(ctx context.Context) {
	if !t.On() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.logger.Warn("traces can't be exported", "error", err)
	}
}

// On reports whether there are spans at all.
func (t *Tracer) On() bool { return t != nil && t.tracer != nil }

// carrier is the standard's traceparent, alone.
type carrier string

func (c *carrier) Get(key string) string {
	if key == header {
		return string(*c)
	}
	return ""
}

func (c *carrier) Set(key, value string) {
	if key == header {
		*c = carrier(value)
	}
}
func (c *carrier) Keys() []string { return []string{header} }

// header is how W3C Trace Context calls it, for HTTP and NATS alike.
const header = "traceparent"

var propagator propagation.TraceContext

// Middleware makes a span of each request, named after the method and the
// pattern that the request has by then: a child of the client's span if it tells
// of one.
func (t *Tracer) Middleware() func(http.Handler) http.Handler {
	return otelhttp.NewMiddleware("", otelhttp.WithTracerProvider(t.provider), otelhttp.WithPropagators(propagator),
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return r.Method + " " + r.Pattern }))
}

// TraceID is that of the trace that ctx is part of, "" if it is of none.
func TraceID(ctx context.Context) string {
	if in := trace.SpanContextFromContext(ctx); in.IsValid() {
		return in.TraceID().String()
	}
	return ""
}

// Start begins a span within that of ctx, and returns its traceparent, which is
// "" when nobody records it. end is called with how it went.
func (t *Tracer) Start(ctx context.Context, name string) (in context.Context, traceparent string, end func(error)) {
	if !t.On() {
		return ctx, "", func(error) {}
	}
	in, span := t.tracer.Start(ctx, name)
	return in, parent(in, span), func(err error) { finish(span, err) }
}

func parent(ctx context.Context, span trace.Span) string {
	if !span.SpanContext().IsSampled() {
		return ""
	}
	var c carrier
	propagator.Inject(ctx, &c)
	return string(c)
}

func finish(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// Spans are those of several events with which the same is done at once.
type Spans []trace.Span

// End ends them all with how it went.
func (s Spans) End(err error) {
	for _, span := range s {
		finish(span, err)
	}
}

// Publish begins a span for each of the events that is traced. From then on the
// event names that span, so that whoever gets it goes on from there.
func (t *Tracer) Publish(events []config.Event) Spans {
	return t.each("publish", trace.SpanKindProducer, events, func(e *config.Event, ctx context.Context, span trace.Span) {
		e.Trace = parent(ctx, span)
	})
}

// Handle begins a span for each of the events that is traced, as a child of its
// publishing.
func (t *Tracer) Handle(name string, events []config.Event) Spans {
	return t.each(name, trace.SpanKindConsumer, events, nil)
}

func (t *Tracer) each(name string, kind trace.SpanKind, events []config.Event, begun func(*config.Event, context.Context, trace.Span)) Spans {
	if !t.On() {
		return nil
	}
	var spans Spans
	for i := range events {
		e := &events[i]
		if e.Trace == "" {
			continue
		}
		from := carrier(e.Trace)
		ctx, span := t.tracer.Start(propagator.Extract(context.Background(), &from), name, trace.WithSpanKind(kind), trace.WithAttributes(
			attribute.String("config.namespace", e.Namespace), attribute.String("config.name", e.Name),
			attribute.Int64("config.position", e.Position), attribute.Int64("config.version", e.Version)))
		if begun != nil {
			begun(e, ctx, span)
		}
		spans = append(spans, span)
	}
	return spans
}
