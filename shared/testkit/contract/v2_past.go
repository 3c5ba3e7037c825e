package contract

import (
	"strings"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/config"
)

func configHistory(t *testing.T, s *space) {
	s.get(t, "configs/a/history").is(t, 200).lists(t, "/items", "/version")
	s.send(t, "PUT", "configs/a", `{"value":1,"reason":"first"}`, "Config-Actor", "jane", "Config-Correlation-Id", "c1", "X-Request-Id", "r1")
	s.put(t, "a", `{"x":1.0}`)
	s.put(t, "other", "1")
	s.remove(t, "a")
	s.put(t, "a", "2")
	got := s.get(t, "configs/a/history").is(t, 200).lists(t, "/items", "/version", "1", "2", "3", "4")
	got.lists(t, "/items", "/type", "ConfigValueSet", "ConfigValueSet", "ConfigValueDeleted", "ConfigValueSet")
	got.lists(t, "/items", "/value", "1", `{"x":1.0}`, "null", "2").lists(t, "/items", "/old_value", "null", "1", `{"x":1.0}`, "null")
	got.has(t, "/items/0/actor", "jane", "/items/0/reason", "first", "/items/0/correlation_id", "c1", "/items/0/request_id", "r1",
		"/items/0/commit_position", got.at("/items/0/position"), "/items/0/namespace", s.ns, "/items/1/actor", "anonymous")
	s.get(t, "configs/a/history?order=asc").lists(t, "/items", "/version", "1", "2", "3", "4")
	s.get(t, "configs/a/history?order=desc").lists(t, "/items", "/version", "4", "3", "2", "1")

	// In pages it is one state, in both orders, whatever is written between them.
	for order, want := range map[string]string{"asc": "1 2 3 4", "desc": "4 3 2 1"} {
		query := "configs/a/history?limit=1&order=" + order
		page := s.get(t, query+"&at_position="+got.at("/items/3/position")).is(t, 200)
		versions := page.all("/items", "/version")
		for page.at("/next_page_token") != "" {
			s.put(t, "a", "3")
			page = s.get(t, query+"&page_token="+page.at("/next_page_token")).is(t, 200)
			versions = append(versions, page.all("/items", "/version")...)
		}
		if strings.Join(versions, " ") != want {
			t.Errorf("%s in pages: %q", order, versions)
		}
	}
	last := got.at("/items/3/position")
	s.get(t, "configs/a/history?at_position="+got.at("/items/1/position")).lists(t, "/items", "/version", "1", "2").has(t, "/final", "true")
	s.get(t, "configs/a/history?order=desc&limit=2&at_position="+last).lists(t, "/items", "/version", "4", "3")
	s.get(t, "configs/a/history?at="+got.at("/items/2/recorded_at")).lists(t, "/items", "/version", "1", "2", "3")
	s.get(t, "configs/a/history?at_position=0").lists(t, "/items", "/version")
	s.get(t, "configs/a/history?order=desc&at=2001-01-01T00:00:00Z").lists(t, "/items", "/version").has(t, "/final", "true")
}

func oneConfigInTime(t *testing.T, s *space) {
	first := s.send(t, "PUT", "configs/a", `{"value":1,"reason":"why"}`, "Config-Actor", "jane").is(t, 201)
	second := s.put(t, "a", "2")
	gone := s.remove(t, "a")
	back := s.put(t, "a", "4")
	at := func(instant string) Answer {
		t.Helper()
		return s.get(t, "configs/a?at="+strings.ReplaceAll(instant, "+", "%2B"))
	}
	s.get(t, "/v2/position?at="+second.at("/updated_at")).is(t, 200).has(t, "/position", second.at("/position"), "/final", "true")
	s.get(t, "/v2/position?at=2001-01-01T00:00:00Z").is(t, 200).has(t, "/position", "0", "/final", "true", "/at", "2001-01-01T00:00:00Z")
	s.get(t, "/v2/position?at=2101-01-01T00:00:00Z").is(t, 200).has(t, "/final", "false")
	for _, query := range []string{"", "?at=yesterday", "?at_position=1"} {
		s.get(t, "/v2/position"+query).problem(t, 400, config.Invalid)
	}
	moved := func(write Answer, by time.Duration, zone *time.Location) string {
		instant, err := time.Parse(time.RFC3339Nano, write.at("/updated_at"))
		if err != nil {
			t.Fatal(err)
		}
		return instant.Add(by).In(zone).Format(time.RFC3339Nano)
	}
	at(moved(first, -time.Microsecond, time.UTC)).problem(t, 404, config.NotFound)
	at(moved(first, 0, time.UTC)).is(t, 200).
		has(t, "/value", "1", "/updated_by", "jane", "/reason", "why", "/version", "1", "/final", "true", "/position", first.at("/position"))
	at(moved(second, -time.Microsecond, time.UTC)).has(t, "/value", "1")
	at(moved(second, 0, time.FixedZone("", 5*3600+1800))).has(t, "/value", "2")
	at(moved(gone, 0, time.UTC)).problem(t, 404, config.NotFound)
	at("2100-01-01T00:00:00Z").is(t, 200).has(t, "/value", "4", "/final", "false")

	position := func(p string) Answer { t.Helper(); return s.get(t, "configs/a?at_position="+p) }
	position("0").problem(t, 404, config.NotFound)
	position(first.at("/position")).is(t, 200).has(t, "/value", "1", "/final", "true")
	position(second.Header.Get("Config-Position")).is(t, 200).has(t, "/value", "2", "/final", "true")
	position(gone.at("/position")).problem(t, 404, config.NotFound)
	position(back.at("/position")).is(t, 200).has(t, "/value", "4", "/final", "true")
	past := s.get(t, "configs/a?at_position="+first.at("/position"))
	if past.Header.Get("Config-Position") != first.Header.Get("Config-Position") || past.Header.Get("ETag") != `"v1"` {
		t.Errorf("Config-Position %s and ETag %s of version 1", past.Header.Get("Config-Position"), past.Header.Get("ETag"))
	}
	s.get(t, "configs/a?at_position="+first.at("/position"), "If-None-Match", `"v1"`).is(t, 304)
}

func namespaceInTime(t *testing.T, s *space) {
	var moments []Answer
	moments = append(moments, s.put(t, "a", "1"), s.put(t, "b", "1"), s.put(t, "a", "2"), s.remove(t, "b"), s.put(t, "c", "1"))
	states := [][]string{{"a", "1"}, {"a", "1", "b", "1"}, {"a", "2", "b", "1"}, {"a", "2"}, {"a", "2", "c", "1"}}
	for i, moment := range moments {
		s.at(t, "at_position="+moment.at("/position"), states[i]...)
		s.at(t, "at="+moment.at("/updated_at"), states[i]...)
		s.at(t, "at_position="+moment.Header.Get("Config-Position"), states[i]...)
	}
	s.at(t, "at_position=0")
	s.at(t, "at=2001-01-01T00:00:00Z")
	s.at(t, "at=2100-01-01T00:00:00Z", states[4]...)
	s.get(t, "configs?prefix=b&at_position="+moments[2].at("/position")).lists(t, "/items", "/name", "b")
}

// final is true exactly when no later write can change the answer.
func finality(t *testing.T, s *space) {
	write := s.put(t, "a", "1")
	for _, route := range []string{"configs?", "configs/a?", "configs/a/history?", "/v2/audit?limit=1&", "/v2/namespaces?"} {
		final := func(instant, want string) {
			t.Helper()
			s.get(t, route+instant).is(t, 200).has(t, "/final", want)
		}
		final("at="+write.at("/updated_at"), "true")
		final("at_position="+write.at("/position"), "true")
		final("at=2100-01-01T00:00:00Z", "false")
	}
	s.get(t, "configs").has(t, "/final", "false")
	// A position that is not there yet is waited for: what it will be, nobody knows.
	s.get(t, "configs?at_position=999999999999&wait=1ms").problem(t, 503, config.Unavailable)
}
