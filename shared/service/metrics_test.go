package service_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/stats"
	"github.com/config-api/config-api/shared/tracing"
)

func answerOf(t *testing.T, handler http.Handler, request *http.Request) string {
	t.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, request)
	return w.Body.String()
}

// metrics returns the lines of /metrics that begin with our prefix, without it.
func metrics(t *testing.T, handler http.Handler) map[string]string {
	t.Helper()
	text := answerOf(t, handler, get("/metrics"))
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	lines := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "} "); ok && !strings.HasPrefix(line, "#") {
			lines[strings.TrimPrefix(name, "config_api_")+"}"] = value
		}
	}
	return lines
}

func want(t *testing.T, lines map[string]string, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if got := lines[pairs[i]]; got != pairs[i+1] {
			t.Errorf("%s is %q, want %q", pairs[i], got, pairs[i+1])
		}
	}
}

type statsAnswer struct {
	Service   string  `json:"service"`
	Uptime    float64 `json:"uptime_seconds"`
	InFlight  int64   `json:"requests_in_flight"`
	Endpoints []struct {
		Method, Route          string
		Count, Refused, Errors uint64
		P50                    float64 `json:"p50_ms"`
		P95                    float64 `json:"p95_ms"`
		P99                    float64 `json:"p99_ms"`
	}
	Timings []struct {
		Name, Part string
		Count      uint64
		P99        float64 `json:"p99_ms"`
	}
	Figures map[string]float64
}

func statsOf(t *testing.T, handler http.Handler, path string, into any) {
	t.Helper()
	text := answerOf(t, handler, get(path))
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%s: %v: %s", path, err, text)
	}
}

// In a bubble a handler takes exactly as long as it sleeps.
func TestRequestsAreCountedAndTimed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := service.NewMetrics("demo")
		e := service.NewEcho(discard, m, &tracing.Tracer{})
		e.GET("/v2/things/:name", func(c echo.Context) error {
			took, err := time.ParseDuration(c.Param("name"))
			time.Sleep(took)
			return errors.Join(err, c.NoContent(http.StatusOK))
		})
		e.PUT("/v2/things/:name", failing(config.Errorf(config.PreconditionFailed, "no")))
		e.DELETE("/v2/things/:name", failing(errors.New("it broke")))
		e.POST("/v2/things/:name", func(c echo.Context) error { return c.NoContent(http.StatusTeapot) })
		ask := func(method, path string) { answerOf(t, e, httptest.NewRequest(method, path, nil)) }
		for ms := range 100 { // 1 to 100 ms
			ask("GET", fmt.Sprintf("/v2/things/%dms", ms+1))
		}
		for range 3 {
			ask("PUT", "/v2/things/a")
			ask("DELETE", "/v2/things/a")
			ask("POST", "/v2/things/a")
			ask("BREW", "/v2/things/a")
			ask("GET", "/nowhere")
		}

		lines := metrics(t, e)
		const requests, duration = `http_requests_total{method="%s",route="%s",service="demo",status="%s"}`, `http_request_duration_seconds_%s{method="GET",route="/v2/things/:name",service="demo"%s}`
		want(t, lines,
			fmt.Sprintf(requests, "GET", "/v2/things/:name", "200"), "100",
			fmt.Sprintf(requests, "PUT", "/v2/things/:name", "412"), "3",
			fmt.Sprintf(requests, "DELETE", "/v2/things/:name", "500"), "3",
			fmt.Sprintf(requests, "POST", "/v2/things/:name", "other"), "3",
			fmt.Sprintf(requests, "unknown", "unknown", "404"), "6",
			fmt.Sprintf(duration, "bucket", `,le="0.0005"`), "0",
			fmt.Sprintf(duration, "bucket", `,le="0.001"`), "1",
			fmt.Sprintf(duration, "bucket", `,le="0.025"`), "25",
			fmt.Sprintf(duration, "bucket", `,le="+Inf"`), "100",
			fmt.Sprintf(duration, "count", ""), "100",
			fmt.Sprintf(duration, "sum", ""), "5.05",
			`http_requests_in_flight{service="demo"}`, "1", // that for the metrics
			`errors_total{code="precondition-failed",service="demo"}`, "3",
			`errors_total{code="internal",service="demo"}`, "3",
			`errors_total{code="not-found",service="demo"}`, "6",
			`errors_total{code="gone",service="demo"}`, "0")

		var got statsAnswer
		statsOf(t, e, "/v2/stats/demo", &got)
		if got.Service != "demo" || got.Uptime != 5.05 || got.InFlight != 1 {
			t.Errorf("stats %+v", got)
		}
		found := 0
		for _, at := range got.Endpoints {
			switch at.Method + " " + at.Route {
			case "GET /v2/things/:name":
				found++
				for quantile, want := range map[float64]float64{at.P50: 50, at.P95: 95, at.P99: 99} {
					if math.Abs(quantile-want) > 0.05*want {
						t.Errorf("a quantile is %v ms, want %v", quantile, want)
					}
				}
			case "PUT /v2/things/:name":
				found++
				if at.Count != 3 || at.Refused != 3 || at.Errors != 0 {
					t.Errorf("%+v", at)
				}
			case "DELETE /v2/things/:name":
				found++
				if at.Count != 3 || at.Refused != 0 || at.Errors != 3 {
					t.Errorf("%+v", at)
				}
			}
		}
		if found != 3 {
			t.Errorf("endpoints %+v", got.Endpoints)
		}
	})
}

// A watch that was open for an hour is not a slow request, nor one in flight; one
// that was refused is a request as any other. One that breaks off has ended too.
func TestStreamsAreNotSlowRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := service.NewMetrics("demo")
		e := service.NewEcho(discard, m, &tracing.Tracer{})
		end := make(chan struct{})
		m.Streams(e.GET("/watch", func(c echo.Context) error {
			if c.QueryParam("bad") != "" {
				return config.Errorf(config.Invalid, "no")
			}
			c.Response().WriteHeader(http.StatusOK)
			<-end
			return nil
		}))
		e.GET("/breaks", func(echo.Context) error { panic(http.ErrAbortHandler) })
		e.GET("/slow", func(c echo.Context) error { <-end; return c.NoContent(http.StatusNoContent) })
		for _, path := range []string{"/watch", "/watch", "/slow"} {
			go e.ServeHTTP(httptest.NewRecorder(), get(path))
		}
		answerOf(t, e, get("/watch?bad=1"))
		func() {
			defer func() {
				if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
					t.Errorf("the panic did not go through: %v", err)
				}
			}()
			answerOf(t, e, get("/breaks"))
		}()
		time.Sleep(time.Hour)
		synctest.Wait()
		want(t, metrics(t, e), `http_requests_in_flight{service="demo"}`, "2") // the slow one, and that for the metrics
		close(end)
		synctest.Wait()
		want(t, metrics(t, e),
			`http_requests_in_flight{service="demo"}`, "1",
			`http_requests_total{method="GET",route="/watch",service="demo",status="200"}`, "2",
			`http_requests_total{method="GET",route="/watch",service="demo",status="400"}`, "1",
			`http_request_duration_seconds_count{method="GET",route="/watch",service="demo"}`, "1",
			`http_request_duration_seconds_sum{method="GET",route="/watch",service="demo"}`, "0",
			`http_request_duration_seconds_sum{method="GET",route="/slow",service="demo"}`, "3600")
	})
}

// Three services in one process have the same metrics, told apart by a label; the
// process is in it once.
func TestServicesOfOneProcess(t *testing.T) {
	t.Parallel()
	var all []*service.Metrics
	for i, name := range []string{"command", "query", "projector"} {
		m := service.NewMetrics(name)
		m.Gauge("things", "Things that there are.", func() float64 { return float64(i) })
		m.Counter("things_made_total", "Things that were made.", func() float64 { return float64(10 * i) })
		m.Figure("things_per_second", func() float64 { return 0.5 })
		var timings stats.Timings
		timings.Since("a", time.Now())
		m.Durations("thing_making", "How long things took.", "part", &timings)
		var histogram stats.Histogram
		histogram.Observe(2 * time.Second)
		m.Duration("thing_selling", "How long things took.", &histogram)
		var sizes stats.Sizes
		sizes.Observe(1)
		sizes.Observe(50)
		m.Sizes("thing_parts", "Parts of a thing.", &sizes)
		all = append(all, m)
	}
	lines := metrics(t, service.ServeMetrics(all...))
	want(t, lines,
		`things{service="command"}`, "0", `things{service="projector"}`, "2", `things_made_total{service="query"}`, "10",
		`thing_making_duration_seconds_count{part="a",service="query"}`, "1",
		`thing_selling_duration_seconds_bucket{service="query",le="1"}`, "0", `thing_selling_duration_seconds_bucket{service="query",le="2.5"}`, "1",
		`thing_parts_bucket{service="command",le="1"}`, "1", `thing_parts_bucket{service="command",le="20"}`, "1",
		`thing_parts_bucket{service="command",le="50"}`, "2", `thing_parts_sum{service="command"}`, "51")
	text := answerOf(t, service.ServeMetrics(all...), get("/metrics"))
	for name, times := range map[string]int{"\ngo_goroutines ": 1, "\nprocess_start_time_seconds ": 1, "\nconfig_api_build_info{": 3} {
		if got := strings.Count(text, name); got != times {
			t.Errorf("%q is there %d times, want %d", name, got, times)
		}
	}
	var got struct{ Services []statsAnswer }
	statsOf(t, service.ServeStats(all...), "/", &got)
	if len(got.Services) != 3 || got.Services[1].Service != "query" || got.Services[1].Figures["things_made_total"] != 10 || got.Services[1].Figures["things_per_second"] != 0.5 {
		t.Fatalf("stats %+v", got)
	}
	if timings := got.Services[2].Timings; len(timings) != 2 || timings[0].Part != "a" || timings[1].Name != "thing_selling" || math.Abs(timings[1].P99-2000) > 100 {
		t.Errorf("timings %+v", timings)
	}
}
