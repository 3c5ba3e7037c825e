package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRoutes(t *testing.T) {
	t.Parallel()
	named := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) })
	}
	all := services{
		command: named("command"), projector: named("projector"), query: named("query"), metrics: named("metrics"), stats: named("stats"),
	}
	for request, want := range map[string]string{
		"PUT /v1/config/a":                         "command",
		"DELETE /config/a":                         "command",
		"POST /v2/namespaces/x/changes":            "command",
		"PATCH /v1/config/a":                       "command",
		"GET /v2/log/head":                         "command",
		"GET /v2/projections":                      "projector",
		"POST /v2/projections/configs/rebuild":     "projector",
		"GET /metrics":                             "metrics",
		"POST /metrics":                            "command",
		"GET /v2/stats":                            "stats",
		"GET /v2/stats/command":                    "command",
		"GET /v2/stats/projector":                  "projector",
		"GET /v2/stats/query":                      "query",
		"DELETE /v2/stats":                         "command",
		"GET /v2/projectionsx":                     "query",
		"GET /v1/config/a":                         "query",
		"HEAD /v1/config":                          "query",
		"OPTIONS /v1/config":                       "query",
		"GET /healthz":                             "query",
		"GET /v1/config/a/at/2026-01-01T00:00:00Z": "query",
	} {
		method, path, _ := strings.Cut(request, " ")
		w := httptest.NewRecorder()
		all.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Body.String() != want {
			t.Errorf("%s went to %q, want %s", request, w.Body, want)
		}
	}
}

func TestReadyWhenAllAre(t *testing.T) {
	t.Parallel()
	answering := func(status int, body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		})
	}
	good, bad := answering(200, `{"status":"ok"}`), answering(503, "not JSON")
	for _, test := range []struct {
		services services
		status   int
		body     string
	}{
		{services{command: good, projector: good, query: good}, 200, `{"command":{"status":"ok"},"projector":{"status":"ok"},"query":{"status":"ok"}}`},
		{services{command: good, projector: bad, query: good}, 503, `{"command":{"status":"ok"},"projector":"not JSON","query":{"status":"ok"}}`},
	} {
		w := httptest.NewRecorder()
		test.services.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		if w.Code != test.status || strings.TrimSpace(w.Body.String()) != test.body {
			t.Errorf("answered %d %s, want %d %s", w.Code, w.Body, test.status, test.body)
		}
	}
}
