package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/testkit"
)

// ask returns the body of a GET, or of a POST of something.
func (s *system) ask(t *testing.T, path, post string) string {
	t.Helper()
	method := http.MethodGet
	if post != "" {
		method = http.MethodPost
	}
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(post))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 300 {
		t.Fatalf("%s: %s %s, %v", path, response.Status, text, err)
	}
	return string(text)
}

// metrics returns what /metrics has of us, by name and labels.
func (s *system) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	found := map[string]float64{}
	for line := range strings.Lines(s.ask(t, "/metrics", "")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(name, "config_api_") {
			number, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			found[strings.TrimPrefix(name, "config_api_")] = number
		}
	}
	return found
}

// after waits until the metrics say so: what is behind a write follows it.
func (s *system) after(t *testing.T, want map[string]float64) map[string]float64 {
	t.Helper()
	var got map[string]float64
	testkit.Eventually(t, func() error {
		got = s.metrics(t)
		var wrong []error
		for name, value := range want {
			if found, ok := got[name]; !ok || found != value {
				wrong = append(wrong, fmt.Errorf("%s is %v (%v), want %v", name, found, ok, value))
			}
		}
		return errors.Join(wrong...)
	})
	return got
}

// What was done is what the metrics of the three services say.
func TestMetricsSayWhatHappened(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := startSystem(t)
	ns := newClient(t, s.url).Namespace("counted")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/v2/namespaces/counted/watch?prefix=a", nil)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watch.Body.Close() }()
	if line, err := bufio.NewReader(watch.Body).ReadString('\n'); err != nil {
		t.Fatalf("watch: %q, %v", line, err)
	}
	for i := range 5 {
		must[client.Written](t)(ns.Set(t.Context(), fmt.Sprint("a", i), i))
	}
	must[client.ChangeSet](t)(ns.Apply(t.Context(), []client.Change{client.Set("b", 1), client.Set("c", 2)}))
	if _, err := ns.Set(t.Context(), "a1", 1, client.IfVersion(7)); !errors.Is(err, client.ErrPreconditionFailed) {
		t.Errorf("error %v, want that the version is another", err)
	}
	for range 4 {
		must[client.Config](t)(ns.Get(t.Context(), "a1", client.Strong()))
	}
	must[client.Config](t)(ns.Get(t.Context(), "a1", client.AtPosition(2)))
	if _, err := ns.Get(t.Context(), "none"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("error %v, want ErrNotFound", err)
	}

	const route = `route="/v2/namespaces/:namespace/configs/:name",service=`
	got := s.after(t, map[string]float64{
		`log_position{service="command"}`:                                        7,
		`events_appended_total{service="command"}`:                               7,
		`append_batch_events_count{service="command"}`:                           6,
		`append_batch_events_bucket{service="command",le="1"}`:                   5,
		`append_batch_events_sum{service="command"}`:                             7,
		`append_commit_duration_seconds_count{service="command"}`:                6,
		`commits_in_doubt_total{service="command"}`:                              0,
		`http_requests_total{method="PUT",` + route + `"command",status="201"}`:  5,
		`http_requests_total{method="PUT",` + route + `"command",status="412"}`:  1,
		`errors_total{code="precondition-failed",service="command"}`:             1,
		`relay_leader{service="command"}`:                                        1,
		`relay_halted{service="command"}`:                                        0,
		`relay_position{service="command"}`:                                      7,
		`relay_lag_events{service="command"}`:                                    0,
		`projection_leader{service="projector"}`:                                 1,
		`projection_halted{service="projector"}`:                                 0,
		`projection_position{service="projector"}`:                               7,
		`feed_position{service="projector"}`:                                     7,
		`projection_lag_events{service="projector"}`:                             0,
		`projection_lag_seconds{service="projector"}`:                            0,
		`projection_batch_events_sum{service="projector"}`:                       7,
		`view_position{service="query"}`:                                         7,
		`view_names{service="query"}`:                                            7,
		`view_stale{service="query"}`:                                            0,
		`view_halted{service="query"}`:                                           0,
		`watches_open{service="query"}`:                                          1,
		`watch_events_sent_total{service="query"}`:                               5,
		`http_requests_total{method="GET",` + route + `"query",status="200"}`:    5,
		`http_requests_total{method="GET",` + route + `"query",status="404"}`:    1,
		`http_request_duration_seconds_count{method="GET",` + route + `"query"}`: 6,
		`http_requests_in_flight{service="query"}`:                               0, // the watch is none
		`nats_connected{service="query"}`:                                        1,
		`nats_reconnects_total{service="command"}`:                               0,
	})
	for name, least := range map[string]float64{
		`relay_publish_duration_seconds_count{service="command"}`:                            1,
		`projection_apply_duration_seconds_count{service="projector"}`:                       1,
		`eventstore_query_duration_seconds_count{query="load",service="command"}`:            5, // four until it is remembered, and the refusal
		`eventstore_query_duration_seconds_count{query="read",service="command"}`:            1,
		`database_connections_in_use{service="command"}`:                                     1, // the relay's
		`table_read_duration_seconds_count{read="get",service="query"}`:                      1, // it may have to wait for the tables
		`view_loads_total{service="query"}`:                                                  1,
		`database_connections_max{service="projector"}`:                                      2,
		`http_request_duration_seconds_sum{method="PUT",` + route + `"command"}`:             1e-5,
		`append_commit_duration_seconds_sum{service="command"}`:                              1e-5,
		`eventstore_query_duration_seconds_bucket{query="head",service="command",le="+Inf"}`: 1,
	} {
		if got[name] < least {
			t.Errorf("%s is %v, want at least %v", name, got[name], least)
		}
	}
	stop()
	s.after(t, map[string]float64{
		`watches_open{service="query"}`: 0,
		`http_requests_total{method="GET",route="/v2/namespaces/:namespace/watch",service="query",status="200"}`: 1,
	})

	s.ask(t, "/v2/projections/current/rebuild", "{}")
	got = s.after(t, map[string]float64{
		`rebuild_running{service="projector"}`: 0, `rebuild_done_events{service="projector"}`: 7, `rebuild_wanted_events{service="projector"}`: 7,
		`view_position{service="query"}`: 7,
	})
	if took := got[`rebuild_last_duration_seconds{service="projector"}`]; took <= 0 || took > 60 {
		t.Errorf("the rebuild took %v s", took)
	}

	// As JSON it is the same.
	var stats struct {
		Services []struct {
			Service string
			Figures map[string]float64
		}
	}
	if err := json.Unmarshal([]byte(s.ask(t, "/v2/stats", "")), &stats); err != nil || len(stats.Services) != 3 {
		t.Fatalf("stats of %d services, %v", len(stats.Services), err)
	}
	if command := stats.Services[0]; command.Service != "command" || command.Figures["events_appended_total"] != 7 || command.Figures["events_per_second"] <= 0 {
		t.Errorf("stats of command: %+v", command)
	}
}

var (
	documentedMetric = regexp.MustCompile("`config_api_([a-z_]+[a-z])`")
	gatheredMetric   = regexp.MustCompile(`(?m)^# TYPE config_api_(\w+)`)
)

// The runbook has every metric, and none that there is not; and they are as
// Prometheus wants them.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := startSystem(t)
	must[client.Written](t)(newClient(t, s.url).Namespace("a").Set(t.Context(), "a", 1))
	s.ask(t, "/v2/namespaces/a/configs/a/history?consistency=strong", "")
	text := s.ask(t, "/metrics", "")
	if problems, err := promlint.New(strings.NewReader(text)).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	names := func(text string, pattern *regexp.Regexp) map[string]bool {
		found := map[string]bool{}
		for _, match := range pattern.FindAllStringSubmatch(text, -1) {
			found[match[1]] = true
		}
		return found
	}
	documented, gathered := names(string(page), documentedMetric), names(text, gatheredMetric)
	for name := range gathered {
		if !documented[name] {
			t.Errorf("docs/operations.md says nothing of config_api_%s", name)
		}
	}
	for name := range documented {
		if !gathered[name] {
			t.Errorf("docs/operations.md has config_api_%s, which there is not", name)
		}
	}
	if len(gathered) < 30 {
		t.Errorf("only %d metrics", len(gathered))
	}
}
