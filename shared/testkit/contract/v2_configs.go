package contract

import (
	"strings"
	"testing"

	"github.com/config-api/config-api/shared/config"
)

func lifeOfAConfig(t *testing.T, s *space) {
	s.get(t, "configs/db.pool.size").problem(t, 404, config.NotFound)
	s.send(t, "DELETE", "configs/db.pool.size", "").problem(t, 404, config.NotFound)

	created := s.send(t, "PUT", "configs/db.pool.size", `{"value": 20, "reason": "more traffic"}`,
		"Config-Actor", "jane", "Config-Correlation-Id", "release 7").is(t, 201)
	created.has(t, "/namespace", s.ns, "/name", "db.pool.size", "/version", "1", "/correlation_id", "release 7")
	if location := created.Header.Get("Location"); location != s.path("configs/db.pool.size") || created.Header.Get("ETag") != `"v1"` {
		t.Errorf("Location %q, ETag %q", location, created.Header.Get("ETag"))
	}
	if !strings.HasSuffix(s.position, ":"+created.at("/position")) {
		t.Errorf("Config-Position %s of position %s", s.position, created.at("/position"))
	}
	got := s.get(t, "configs/db.pool.size").is(t, 200)
	got.has(t, "/value", "20", "/version", "1", "/updated_by", "jane", "/reason", "more traffic", "/correlation_id", "release 7",
		"/position", created.at("/position"), "/updated_at", created.at("/updated_at"), "/final", "")

	// Who has it need not read it again.
	s.get(t, "configs/db.pool.size", "If-None-Match", `"v1"`).is(t, 304)
	s.get(t, "configs/db.pool.size", "If-None-Match", `"v7", W/"v1"`).is(t, 304)
	s.put(t, "db.pool.size", "30").has(t, "/version", "2")
	if got := s.get(t, "configs/db.pool.size", "If-None-Match", `"v1"`).is(t, 200); got.Header.Get("ETag") != `"v2"` {
		t.Errorf("ETag %q of version 2", got.Header.Get("ETag"))
	}
	s.get(t, "configs/db.pool.size").has(t, "/updated_by", "anonymous", "/reason", "")

	// Its versions go on over a deletion.
	deleted := s.send(t, "DELETE", "configs/db.pool.size?reason=unused", "").is(t, 200)
	deleted.has(t, "/version", "3", "/deleted", "true")
	s.get(t, "configs/db.pool.size").problem(t, 404, config.NotFound)
	s.send(t, "DELETE", "configs/db.pool.size", `{"reason":"again"}`).problem(t, 410, config.Gone)
	s.send(t, "PUT", "configs/db.pool.size", `{"value":40}`).is(t, 201).has(t, "/version", "4")
	s.send(t, "DELETE", "configs/db.pool.size", `{"reason":"in the body"}`).is(t, 200)
	s.get(t, "configs/db.pool.size/history").lists(t, "/items", "/reason", "more traffic", "", "unused", "", "in the body")
}

// Values come back as they were sent, but for the space around them; the text of
// a number is the value.
func anyJSON(t *testing.T, s *space) {
	for _, value := range []string{
		`null`, `true`, `false`, `0`, `-0`, `1.50`, `1e400`, `12345678901234567890123`, `0.1000000000000000055511151231257827`,
		`""`, `"<b>&amp;</b>"`, `"ünï 😀"`, `[]`, `{}`, `[1,[2,{"a":null}]]`, `{"b":1,"a":{"host":"db1","ports":[1,2]}}`,
	} {
		s.put(t, "value", value)
		raw := s.get(t, "configs/value").is(t, 200).Body
		if !strings.Contains(raw, `"value":`+value+`,`) {
			t.Errorf("%s came back in %s", value, raw)
		}
	}
	s.put(t, "value", "\n{ \"spaced\" : [ 1 , 2 ] }\t")
	s.get(t, "configs/value").has(t, "/value", `{"spaced":[1,2]}`)
}

// What can't be stored is refused with where and why, and leaves no event.
func unusableWrites(t *testing.T, s *space) {
	for body, pointers := range map[string][]string{
		``: nil, `20`: nil, `[]`: nil, `null`: nil, `{"value":1`: nil, `{"value":1}{}`: nil, "{\"value\":\"\xff\"}": nil,
		`{"value":"a\u0000"}`: nil, `{"value":"\ud800"}`: nil,
		`{}`: {"/value"}, `{"valeu":1}`: {"/valeu"}, `{"value":1,"reason":2}`: {"/reason"},
		`{"value":1,"value":2}`: {"/value"}, `{"value":{"a":{"b":1,"b":2}}}`: {"/value/a/b"},
	} {
		got := s.send(t, "PUT", "configs/refused", body)
		got.problem(t, 400, config.Invalid, pointers...)
		if len(pointers) > 0 && !strings.Contains(got.at("/detail"), pointers[0][strings.LastIndex(pointers[0], "/")+1:]) {
			t.Errorf("%s is refused without naming the member: %s", body, got.at("/detail"))
		}
	}
	for _, name := range []string{"a..b", ".a", "a.", "a%20b", "a%2Fb", "a*", "%24schema.x", "%C3%A9", strings.Repeat("x", 257)} {
		s.send(t, "PUT", "configs/"+name, `{"value":1}`).is(t, 400)
		s.send(t, "DELETE", "configs/"+name, "").is(t, 400)
		s.get(t, "configs/"+name).problem(t, 400, config.Invalid)
		s.get(t, "configs/"+name+"/history").problem(t, 400, config.Invalid)
	}
	for _, ns := range []string{"Upper", "-a", "a-", "a.b", "a_b", strings.Repeat("x", 64)} {
		s.send(t, "PUT", "/v2/namespaces/"+ns+"/configs/a", `{"value":1}`).problem(t, 400, config.Invalid)
		s.get(t, "/v2/namespaces/"+ns+"/configs").problem(t, 400, config.Invalid)
		s.get(t, "/v2/namespaces/"+ns+"/configs/a").problem(t, 400, config.Invalid)
		s.send(t, "POST", "/v2/namespaces/"+ns+"/revert", `{"to":0}`).problem(t, 400, config.Invalid)
	}
	long := strings.Repeat("x", config.MaxTextLength+1)
	s.send(t, "PUT", "configs/refused", `{"value":1,"reason":"`+long+`"}`).problem(t, 400, config.Invalid)
	s.send(t, "PUT", "configs/refused", `{"value":1}`, "Config-Actor", long).problem(t, 400, config.Invalid)
	s.send(t, "PUT", "configs/refused", `{"value":1}`, "Idempotency-Key", strings.Repeat("k", 256)).problem(t, 400, config.Invalid)
	s.get(t, "configs/refused/history").lists(t, "/items", "/version")
}

// A precondition that does not hold answers what is there instead.
func preconditions(t *testing.T, s *space) {
	set := func(value string, headers ...string) Answer {
		t.Helper()
		return s.send(t, "PUT", "configs/a", `{"value":`+value+`}`, headers...)
	}
	set("1", "If-Match", "*").problem(t, 412, config.PreconditionFailed).has(t, "/conflicts/0/version", "0")
	set("1", "If-Match", `"v1"`).problem(t, 412, config.PreconditionFailed)
	set("1", "If-None-Match", "*").is(t, 201)
	set("2", "If-None-Match", "*").problem(t, 412, config.PreconditionFailed).
		has(t, "/conflicts/0/name", "a", "/conflicts/0/expected_version", "0", "/conflicts/0/version", "1", "/conflicts/0/value", "1", "/conflicts/0/deleted", "false")
	set("2", "If-Match", `"v1"`).is(t, 200)
	set("3", "If-Match", `"v1"`).problem(t, 412, config.PreconditionFailed).
		has(t, "/conflicts/0/expected_version", "1", "/conflicts/0/version", "2", "/conflicts/0/value", "2")
	set("3", "If-Match", "*").is(t, 200)
	s.send(t, "DELETE", "configs/a", "", "If-Match", `"v2"`).problem(t, 412, config.PreconditionFailed)
	s.send(t, "DELETE", "configs/a", "", "If-Match", `"v3"`).is(t, 200)
	set("5", "If-Match", "*").problem(t, 412, config.PreconditionFailed).has(t, "/conflicts/0/deleted", "true")
	set("5", "If-None-Match", "*").is(t, 201).has(t, "/version", "5")
	for _, headers := range [][]string{
		{"If-Match", "v1"}, {"If-Match", `"v0"`}, {"If-Match", `W/"v1"`}, {"If-None-Match", `"v1"`}, {"If-Match", "*", "If-None-Match", "*"},
	} {
		set("6", headers...).problem(t, 400, config.Invalid)
	}
	s.get(t, "configs/a").has(t, "/version", "5", "/value", "5")
}

// A key makes a retry safe, whatever was written since.
func idempotency(t *testing.T, s *space) {
	key := []string{"Idempotency-Key", s.ns}
	first := s.send(t, "PUT", "configs/a", `{"value":1}`, key...).is(t, 201)
	s.put(t, "a", "2")
	last := s.position
	again := s.send(t, "PUT", "configs/a", `{"value":1}`, key...).want(t, 201, first.Body)
	if again.Header.Get("Idempotent-Replay") != "true" || first.Header.Get("Idempotent-Replay") != "" {
		t.Errorf("Idempotent-Replay is %q, then %q", first.Header.Get("Idempotent-Replay"), again.Header.Get("Idempotent-Replay"))
	}
	if again.Header.Get("Config-Position") != first.Header.Get("Config-Position") || again.Header.Get("ETag") != `"v1"` {
		t.Errorf("replayed with position %s and ETag %s", again.Header.Get("Config-Position"), again.Header.Get("ETag"))
	}
	s.position = last
	s.get(t, "configs/a").has(t, "/value", "2", "/version", "2")
	for _, other := range []Answer{
		s.send(t, "PUT", "configs/a", `{"value":3}`, key...), s.send(t, "PUT", "configs/b", `{"value":1}`, key...),
		s.send(t, "DELETE", "configs/a", "", key...), s.send(t, "PUT", "configs/a", `{"value":1}`, append(key, "If-Match", "*")...),
		s.send(t, "POST", "revert", `{"to":0}`, key...),
	} {
		other.problem(t, 422, config.KeyReused)
	}

	// A refused request leaves its key free, and change sets and reverts have keys too.
	key[1] += " set"
	set := `{"changes":[{"op":"set","name":"b","value":1,"expected_version":0},{"op":"delete","name":"a"}]}`
	s.send(t, "POST", "changes", `{"changes":[]}`, key...).problem(t, 400, config.Invalid)
	made := s.send(t, "POST", "changes", set, key...).is(t, 200)
	s.send(t, "POST", "changes", set, key...).want(t, 200, made.Body)
	key[1] += " revert"
	back := `{"change":` + quote(made.at("/correlation_id")) + `}`
	reverted := s.send(t, "POST", "revert", back, key...).is(t, 200)
	s.put(t, "b", "5")
	last = s.position
	s.send(t, "POST", "revert", back, key...).want(t, 200, reverted.Body)
	s.position = last
	s.now(t, "a", "2", "b", "5")
}
