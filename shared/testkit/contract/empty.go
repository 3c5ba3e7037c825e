package contract

import (
	"testing"

	"github.com/config-api/config-api/shared/config"
)

// Empty runs what is promised before the first event. The system must be a new
// one: its readers don't know yet which log they read.
func Empty(t *testing.T, a API) {
	s := a.space("first")
	routes := []string{
		"/v2/namespaces", "configs", "configs/a/history", "schemas", "/v2/audit", "diff?from=0", "/v2/projections",
		"/v2/log/head", "/v2/log/events", "/v2/log/verify", "/v1/config", "/v1/config/a/history",
	}
	for _, route := range routes {
		position := s.get(t, route).is(t, 200).Header.Get("Config-Position")
		s.Do(t, "GET", s.path(route), "", "Config-Min-Position", position).is(t, 200)
	}
	s.get(t, "configs?consistency=strong").is(t, 200).lists(t, "/items", "/name")
	s.get(t, "configs/a").problem(t, 404, config.NotFound)
	s.get(t, "/v2/log/verify").has(t, "/valid", "true", "/to", "0")
	watch := s.follow(t, "")
	again := s.follow(t, "", "Last-Event-ID", ":0")

	s.put(t, "a", "1")
	s.get(t, "configs/a").is(t, 200).has(t, "/value", "1", "/version", "1", "/position", "1")
	s.get(t, "configs/a?at_position=1").is(t, 200).has(t, "/value", "1", "/final", "true")
	watch.shows("a 1")
	again.shows("a 1")
}
