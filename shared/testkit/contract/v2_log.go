package contract

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/config-api/config-api/shared/api"
	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/testkit"
)

// The audit finds who changed what, when and why, newest first.
func audits(t *testing.T, s *space) {
	jane, joe := "jane "+s.ns, "joe "+s.ns
	write := func(space *space, name, value, actor, correlation string) Answer {
		t.Helper()
		got := space.send(t, "PUT", "configs/"+name, `{"value":`+value+`,"reason":"of `+name+`"}`,
			"Config-Actor", actor, "Config-Correlation-Id", correlation, "X-Request-Id", "request-"+name)
		return got.is(t, got.Status)
	}
	release := "release " + s.ns
	other := s.another()
	first := write(s, "db.size", "1", jane, release)
	second := write(s, "db.host", `"x"`, joe, "c2")
	write(other, "db.size", "2", jane, release)
	s.position = other.position
	last := write(s, "db.size", "3", joe, "c3")
	find := func(query string, want ...string) Answer {
		t.Helper()
		return s.get(t, "/v2/audit?"+query).is(t, 200).lists(t, "/items", "/value", want...)
	}
	mine := "namespace=" + s.ns
	all := find(mine, "3", "x", "1")
	all.has(t, "/items/1/actor", joe, "/items/1/reason", "of db.host", "/items/1/correlation_id", "c2", "/items/1/request_id", "request-db.host",
		"/items/1/namespace", s.ns, "/items/0/old_value", "1", "/next_page_token", "", "/final", "false")
	find("actor="+url.QueryEscape(jane), "2", "1")
	find("correlation_id="+url.QueryEscape(release), "2", "1")
	find(mine+"&name=db.size", "3", "1")
	find(mine+"&prefix=db.h", "x")
	find(mine+"&actor="+url.QueryEscape(joe)+"&name=db.host", "x")
	find(mine+"&actor=nobody-"+s.id, []string{}...)
	find(mine+"&from="+second.at("/updated_at"), "3", "x")
	find(mine+"&to="+second.at("/updated_at"), "x", "1")
	find(mine+"&from="+second.at("/updated_at")+"&to="+second.at("/updated_at"), "x")
	find(mine+"&at_position="+second.at("/position"), "x", "1").has(t, "/final", "true")
	find(mine+"&at_position="+last.at("/position"), "3", "x", "1").has(t, "/final", "true")
	find(mine+"&at="+first.at("/updated_at"), "1")
	find(mine+"&at_position=0", []string{}...)

	// Its pages are one state: what is written meanwhile is not in it.
	page := find(mine+"&limit=2", "3", "x")
	write(s, "db.size", "4", joe, "c4")
	rest := find(mine+"&limit=2&page_token="+page.at("/next_page_token"), "1")
	rest.has(t, "/position", page.at("/position"), "/next_page_token", "")
	s.get(t, "/v2/audit?limit=2&page_token="+page.at("/next_page_token")).problem(t, 400, config.Invalid)
}

// The log can be read whole, and its chain proves that nobody changed it.
func logs(t *testing.T, s *space) {
	set := s.send(t, "POST", "changes", `{"reason":"why","changes":[{"op":"set","name":"a","value":1.0},{"op":"set","name":"b","value":2}]}`, "Config-Actor", "jane").is(t, 200)
	position, err := strconv.Atoi(set.at("/changes/0/position"))
	if err != nil {
		t.Fatal(err)
	}
	head := s.get(t, "/v2/log/head").is(t, 200)
	if head.Header.Get("Config-Position") != head.at("/epoch")+":"+head.at("/position") || len(head.at("/hash")) != 64 {
		t.Errorf("head %s under Config-Position %s", head.Body, head.Header.Get("Config-Position"))
	}
	number := strconv.Itoa
	events := s.get(t, "/v2/log/events?limit=2&from_position="+number(position-1)).is(t, 200)
	events.lists(t, "/items", "/position", number(position), number(position+1)).lists(t, "/items", "/name", "a", "b")
	events.lists(t, "/items", "/commit_position", set.at("/position"), set.at("/position")).has(t, "/final", "true")
	events.has(t, "/items/0/namespace", s.ns, "/items/0/version", "1", "/items/0/type", "ConfigValueSet", "/items/0/actor", "jane", "/items/0/reason", "why",
		"/items/0/data", `{"config_name":"a","value":1.0,"old_value":null}`, "/items/0/correlation_id", set.at("/correlation_id"))
	s.get(t, "/v2/log/events?limit=1&from_position="+number(position-1)).lists(t, "/items", "/name", "a")
	s.get(t, "/v2/log/events?from_position=999999999999").is(t, 200).has(t, "/items", "[]", "/final", "false")

	whole := s.get(t, "/v2/log/verify").is(t, 200).has(t, "/valid", "true", "/from", "1", "/epoch", head.at("/epoch"))
	if len(whole.at("/to")) < len(head.at("/position")) {
		t.Errorf("verified to %s of %s", whole.at("/to"), head.at("/position"))
	}
	part := s.get(t, "/v2/log/verify?from="+number(position)+"&to="+number(position+1)).is(t, 200)
	part.has(t, "/valid", "true", "/from", number(position), "/to", number(position+1), "/hash", events.at("/items/1/hash"))
	if !strings.HasSuffix(part.Header.Get("Config-Position"), ":"+number(position+1)) {
		t.Errorf("verified to %d under Config-Position %s", position+1, part.Header.Get("Config-Position"))
	}
	var feed Answer
	testkit.Eventually(t, func() error { // it is published
		feed = s.get(t, "/v2/log/feed?limit=2&from_position="+number(position-1)).is(t, 200)
		if len(feed.all("/items", "/sequence")) < 2 {
			return errors.New(feed.Body)
		}
		return nil
	})
	feed.lists(t, "/items", "/sequence", number(position), number(position+1))
	feed.has(t, "/items/1/subject", "config.events."+s.ns+".b", "/items/1/event/hash", events.at("/items/1/hash"), "/items/1/event/data", events.at("/items/1/data"),
		"/items/1/headers/Config-Position/0", number(position+1))

	export := s.get(t, "/v2/log/export").is(t, 200)
	lines := strings.Split(strings.TrimSuffix(export.Body, "\n"), "\n")
	if want := export.Header.Get("Config-Position"); want != head.at("/epoch")+":"+number(len(lines)-1) {
		t.Errorf("an export of %d lines of %s", len(lines), want)
	}
	if want := `"origin":"` + head.at("/origin") + `"`; !strings.Contains(lines[0], want) || !strings.Contains(lines[position], events.at("/items/0/hash")) {
		t.Errorf("an export with the header %s, without %s; line %d is %s", lines[0], want, position, lines[position])
	}
	s.Do(t, "POST", "/v2/log/import", export.Body, "Content-Type", "application/x-ndjson").problem(t, 409, config.Conflict)
	s.Do(t, "POST", "/v2/log/import", "hello", "Content-Type", "application/x-ndjson").problem(t, 400, config.Invalid)
	s.Do(t, "POST", "/v2/log/recover", `{"epoch":"0191f3a2-7f4e-7c11-9d53-2b8f6c1e0a55"}`).problem(t, 412, config.PreconditionFailed)
	s.Do(t, "POST", "/v2/log/recover", `{}`).problem(t, 412, config.PreconditionFailed)
	s.Do(t, "POST", "/v2/log/recover", `{"force":true}`).problem(t, 400, config.Invalid, "/force")

	for _, query := range []string{
		"feed?from_position=-1", "feed?limit=1001", "verify?from=0", "verify?from=x", "verify?to=-1", "verify?from=2&to=1", "verify?from=999999999999",
		"events?from_position=-1", "events?from_position=x", "events?limit=0", "events?limit=1001",
	} {
		s.get(t, "/v2/log/"+query).problem(t, 400, config.Invalid)
	}
}

func operations(t *testing.T, s *space) {
	s.Do(t, "GET", "/healthz", "").want(t, 200, "ok\n")
	s.Do(t, "GET", "/readyz", "").is(t, 200)
	s.put(t, "a", "1")
	projection := s.get(t, "/v2/projections").is(t, 200)
	projection.has(t, "/items/0/name", "current", "/items/0/state", "running", "/items/0/detail", "")
	projection.has(t, "/items/0/parked_names", "0", "/items/0/parked", "[]")
	retry := "/v2/projections/current/parked/retry"
	s.Do(t, "POST", retry, "").is(t, 200).has(t, "/items", "[]")
	s.Do(t, "POST", retry, `{"namespace":"`+s.ns+`"}`).problem(t, 400, config.Invalid)
	s.Do(t, "POST", retry, `{"namespace":"`+s.ns+`","name":"a"}`).problem(t, 404, config.NotFound)
	if begun := s.Do(t, "POST", "/v2/projections/current/rebuild", ""); begun.Status != 409 { // of another run's
		begun.is(t, 202).has(t, "/state", "running", "/done", "0")
	}
	testkit.Eventually(t, func() error {
		if got := s.Do(t, "GET", "/v2/projections/current/rebuild", "").is(t, 200); got.at("/state") != "done" {
			return errors.New(got.Body)
		}
		return nil
	})
	s.get(t, "configs/a").is(t, 200).has(t, "/value", "1")
	s.Do(t, "DELETE", "/v2/projections/current/rebuild", "").problem(t, 409, config.Conflict)
	s.Do(t, "GET", "/v2/projections/other/rebuild", "").problem(t, 404, config.NotFound)
	for path, text := range map[string][]byte{"/openapi.yaml": api.OpenAPI, "/asyncapi.yaml": api.AsyncAPI} {
		if got := s.Do(t, "GET", path, "").is(t, 200); !bytes.Equal([]byte(got.Body), text) {
			t.Errorf("%s is not the document", path)
		}
	}
}

// figures are there for every service, and say what was done. A gateway has no
// metrics.
func figures(t *testing.T, s *space) {
	written := s.put(t, "a", "1")
	s.Do(t, "GET", s.path("configs/a")+"?consistency=strong", "").is(t, 200)
	for service, figure := range map[string]string{"command": "log_position", "projector": "projection_position", "query": "view_position"} {
		testkit.Eventually(t, func() error { // the tables follow
			got := s.Do(t, "GET", "/v2/stats/"+service, "").is(t, 200).has(t, "/service", service)
			reached, err := strconv.ParseFloat(got.at("/figures/"+figure), 64)
			if position, _ := strconv.ParseFloat(written.at("/position"), 64); err != nil || reached < position {
				return fmt.Errorf("%s of %s is %v, %w; want at least %v", figure, service, reached, err, position)
			}
			return nil
		})
	}
	if all := s.Do(t, "GET", "/v2/stats", "").is(t, 200); !strings.Contains(all.Body, `"service":"query"`) {
		t.Errorf("stats without the service that answers them: %s", all.Body)
	}
	s.Do(t, "GET", "/v2/stats/nothing", "").problem(t, 404, config.NotFound)
	s.Do(t, "DELETE", "/v2/stats", "").problem(t, 404, config.NotFound)
	if got := s.Do(t, "GET", "/metrics", ""); got.Status == 404 {
		got.want(t, 404, "Not Found")
	} else if got.is(t, 200); !strings.Contains(got.Body, "\nconfig_api_view_position{service=\"query\"} ") {
		t.Errorf("metrics without the position in memory: %.500s", got.Body)
	}
}

func undefinedV2(t *testing.T, s *space) {
	for _, request := range [][2]string{
		{"GET", "/v2/nothing"},
		{"GET", "/v2/namespaces/a"},
		{"POST", "/v2/namespaces"},
		{"POST", "configs/a"},
		{"PUT", "configs"},
		{"GET", "changes"},
		{"GET", "revert"},
		{"PUT", "copy"},
		{"POST", "watch"},
		{"POST", "schemas/a"},
		{"GET", "configs/a/nothing"},
		{"PUT", "/v2/audit"},
		{"POST", "/v2/log/head"},
		{"GET", "/v2/log/nothing"},
	} {
		s.Do(t, request[0], s.path(request[1]), `{}`).problem(t, 404, config.NotFound)
	}
}
