package service

import "github.com/config-api/config-api/shared/tracing"

// BindTracing adds the option that turns traces on. Its variable is that of the
// OpenTelemetry specification.
func BindTracing(t *tracing.Options, o *Options) {
	o.String(&t.Endpoint, "otel-exporter-otlp-endpoint", "", "OTLP collector of traces, like http://127.0.0.1:4318; none are made if empty")
}
