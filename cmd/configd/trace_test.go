package main

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/testkit/contract"
)

// spans are those that were sent to a collector, by service and name.
type spans struct {
	mu    sync.Mutex
	byWho map[string][]*tracepb.Span
}

// ServeHTTP takes what an exporter of OTLP sends.
func (s *spans) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var export collector.ExportTraceServiceRequest
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &export) != nil {
		panic(http.ErrAbortHandler)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range export.ResourceSpans {
		service := ""
		for _, a := range resource.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.GetStringValue()
			}
		}
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				s.byWho[service+" "+span.Name] = append(s.byWho[service+" "+span.Name], span)
			}
		}
	}
}

// A change that is written within a trace is in it until a watch has shown it:
// each step is a span below the one that led to it, in whichever service.
func TestTraceFromWriteToWatch(t *testing.T) {
	t.Parallel()
	got := &spans{byWho: map[string][]*tracepb.Span{}}
	server := httptest.NewServer(got)
	t.Cleanup(server.Close)
	s := newSystem(t)
	s.tracing.Endpoint = server.URL
	s.start(t)

	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	open, watched := make(chan struct{}), make(chan error, 1)
	opened := sync.OnceFunc(func() { close(open) })
	go func() {
		options := client.WatchOptions{Name: "rate", Reached: func(config.Token) { opened() }}
		for _, err := range newClient(t, s.url).Namespace("shop").Watch(t.Context(), options) {
			watched <- err
			return
		}
	}()
	<-open
	api := contract.New(s.url)
	api.Do(t, "PUT", "/v2/namespaces/shop/configs/untraced", `{"value":1}`, "traceparent", "00-"+strings.Repeat("1", 32)+"-"+parent+"-00")
	written := api.Do(t, "PUT", "/v2/namespaces/shop/configs/rate", `{"value":0.25}`, "traceparent", "00-"+trace+"-"+parent+"-01")
	mustBe(t, <-watched)
	// What waits for the projector.
	read := api.Do(t, "GET", "/v2/namespaces/shop/configs/rate/history", "", "Config-Min-Position", written.Header.Get("Config-Position"))
	if read.Status != http.StatusOK {
		t.Fatalf("answered %d %s", read.Status, read.Body)
	}
	s.stop() // which sends what is left

	above := parent
	for _, name := range []string{
		"config-api-command PUT /v2/namespaces/:namespace/configs/:name", "config-api-command append",
		"config-api-command publish", "config-api-projector project", "config-api-query watch",
	} {
		all := got.byWho[name]
		if len(all) != 1 {
			t.Fatalf("%d spans %s, want 1 of the request that is traced; there are %v", len(all), name, got.byWho)
		}
		span := all[0]
		if hex.EncodeToString(span.TraceId) != trace || hex.EncodeToString(span.ParentSpanId) != above {
			t.Errorf("%s is in trace %x below %x, want %s below %s", name, span.TraceId, span.ParentSpanId, trace, above)
		}
		if name != "config-api-projector project" { // the watch is beside it, not behind it
			above = hex.EncodeToString(span.SpanId)
		}
	}
	if !strings.Contains(s.output.String(), trace) {
		t.Error("the access log does not name the trace")
	}
}
