package contract

import (
	"testing"

	"github.com/config-api/config-api/shared/config"
)

func changeSets(t *testing.T, s *space) {
	s.put(t, "old", "1")
	got := s.send(t, "POST", "changes", `{"reason":"new pool","changes":[
		{"op":"set","name":"a","value":{"b":[1]}}, {"op":"set","name":"null","value":null}, {"op":"delete","name":"old"},
		{"op":"set","name":"c","value":3,"expected_version":0}]}`, "Config-Actor", "jane").is(t, 200)
	got.lists(t, "/changes", "/name", "a", "null", "old", "c").lists(t, "/changes", "/version", "1", "1", "2", "1")
	got.lists(t, "/changes", "/created", "true", "true", "false", "true").lists(t, "/changes", "/deleted", "false", "false", "true", "false")
	got.has(t, "/position", got.at("/changes/3/position"), "/namespace", s.ns)
	s.now(t, "a", `{"b":[1]}`, "c", "3", "null", "null")

	// All of it has one reason, one correlation id and one end.
	events := s.get(t, "/v2/audit?correlation_id="+got.at("/correlation_id")).is(t, 200)
	events.lists(t, "/items", "/name", "c", "old", "null", "a").lists(t, "/items", "/reason", "new pool", "new pool", "new pool", "new pool")
	end := got.at("/position")
	events.lists(t, "/items", "/commit_position", end, end, end, end).lists(t, "/items", "/actor", "jane", "jane", "jane", "jane")
	s.send(t, "POST", "changes", `{"changes":[{"op":"set","name":"c","value":4,"expected_version":1},{"op":"delete","name":"a","expected_version":-1}]}`).is(t, 200)
	s.now(t, "c", "4", "null", "null")
}

// One change that can't be made refuses them all.
func refusedChangeSets(t *testing.T, s *space) {
	s.put(t, "there", "1")
	s.put(t, "gone", "1")
	s.remove(t, "gone")
	const good = `{"op":"set","name":"good","value":1}`
	for change, pointers := range map[string][]string{
		`{"op":"put","name":"a","value":1}`:                        {"/changes/1/op"},
		`{"name":"a","value":1}`:                                   {"/changes/1/op"},
		`{"op":"set","name":"a"}`:                                  {"/changes/1/value"},
		`{"op":"delete","name":"there","value":1}`:                 {"/changes/1/value"},
		`{"op":"set","name":"a..b","value":1}`:                     {"/changes/1/name"},
		`{"op":"set","value":1}`:                                   {"/changes/1/name"},
		`{"op":"set","name":"good","value":2}`:                     {"/changes/1/name"},
		`{"op":"set","name":"a","value":1,"expected_version":-2}`:  {"/changes/1/expected_version"},
		`{"op":"set","name":"a","value":1,"expected_version":"1"}`: {"/changes/1/expected_version"},
		`{"op":"set","name":"a","value":1,"version":1}`:            {"/changes/1/version"},
		`{"op":"set","name":"a","value":{"b":1,"b":2}}`:            {"/changes/1/value/b"},
		`{"op":"set","name":7,"value":1}`:                          {"/changes/1/name"},
		`null`:                                                     {"/changes/1"},
		`"x"`:                                                      {"/changes/1"},
	} {
		got := s.send(t, "POST", "changes", `{"changes":[`+good+`,`+change+`]}`)
		if got.problem(t, 400, config.Invalid, pointers...); t.Failed() {
			t.Fatalf("by %s", change)
		}
	}
	two := s.send(t, "POST", "changes", `{"changes":[{"op":"set","name":"","value":1},`+good+`,{"op":"delete","name":"x","value":2}]}`)
	two.problem(t, 400, config.Invalid, "/changes/0/name", "/changes/2/value")
	for _, body := range []string{``, `{}`, `{"changes":[]}`, `{"changes":{}}`, `{"changes":null}`, `[` + good + `]`} {
		s.send(t, "POST", "changes", body).is(t, 400)
	}
	s.send(t, "POST", "changes", `{"changes":[`+good+`],"reson":"x"}`).problem(t, 400, config.Invalid, "/reson")
	s.send(t, "POST", "changes", `{"changes":[`+good+`]}`, "If-Match", "*").problem(t, 400, config.Invalid)
	s.send(t, "POST", "changes", `{"changes":[`+good+`,{"op":"delete","name":"never"}]}`).problem(t, 404, config.NotFound)
	s.send(t, "POST", "changes", `{"changes":[`+good+`,{"op":"delete","name":"gone"}]}`).problem(t, 410, config.Gone)
	stale := s.send(t, "POST", "changes", `{"changes":[`+good+`,{"op":"set","name":"there","value":2,"expected_version":7},{"op":"delete","name":"gone","expected_version":-1}]}`)
	stale.problem(t, 412, config.PreconditionFailed)
	stale.lists(t, "/conflicts", "/name", "there", "gone").lists(t, "/conflicts", "/version", "1", "2").lists(t, "/conflicts", "/deleted", "false", "true")
	s.now(t, "there", "1")
	s.get(t, "configs/good/history").lists(t, "/items", "/version")
}
