package contract

import (
	"testing"

	"github.com/config-api/config-api/shared/config"
)

func diffs(t *testing.T, s *space) {
	start := s.put(t, "kept", "1")
	s.put(t, "changed", `{"a":1}`)
	from := s.put(t, "removed", "1")
	s.put(t, "changed", `{"a":2}`)
	s.remove(t, "removed")
	s.put(t, "added", "1")
	s.put(t, "brief", "1")
	s.remove(t, "brief")
	s.put(t, "kept", "2")
	to := s.put(t, "kept", "1")
	got := s.get(t, "diff?from="+from.at("/position")+"&to="+to.at("/position")).is(t, 200)
	got.lists(t, "/changes", "/name", "added", "changed", "removed").lists(t, "/changes", "/change", "added", "changed", "removed")
	got.lists(t, "/changes", "/old_value", "null", `{"a":1}`, "1").lists(t, "/changes", "/new_value", "1", `{"a":2}`, "null")
	got.lists(t, "/changes", "/old_version", "0", "1", "1").lists(t, "/changes", "/new_version", "1", "2", "2")
	got.lists(t, "/events", "/name", "changed", "removed", "added", "brief", "brief", "kept", "kept")
	got.has(t, "/final", "true", "/events_truncated", "false", "/from_position", from.at("/position"), "/to_position", to.at("/position"), "/namespace", s.ns)

	// Times and tokens name the same instants, and the later one may be left out.
	same := s.get(t, "diff?from="+from.at("/updated_at")+"&to="+to.Header.Get("Config-Position"))
	same.want(t, 200, got.Body)
	s.get(t, "diff?from="+from.at("/position")).lists(t, "/changes", "/name", "added", "changed", "removed").has(t, "/final", "false")
	s.get(t, "diff?from=0&to="+start.at("/position")).lists(t, "/changes", "/change", "added")
	s.get(t, "diff?from="+to.at("/position")+"&to="+to.at("/position")).lists(t, "/changes", "/name").lists(t, "/events", "/name")
	for _, query := range []string{"", "?to=1", "?from=x", "?from=0&to=x", "?from=" + to.at("/position") + "&to=" + from.at("/position")} {
		s.get(t, "diff"+query).problem(t, 400, config.Invalid)
	}
	s.get(t, "diff?from=0191f3a2-7f4e-7c11-9d53-2b8f6c1e0a55:1").problem(t, 412, config.EpochMismatch)
}

// A revert is new events; a dry run is none, and answers the same.
func reverts(t *testing.T, s *space) {
	s.put(t, "a", "1")
	then := s.put(t, "b", "1")
	s.put(t, "a", "2")
	s.remove(t, "b")
	s.put(t, "c", "1")
	before := []string{"a", "2", "c", "1"}

	to := `"to":` + then.at("/position")
	dry := s.send(t, "POST", "revert", `{`+to+`,"dry_run":true}`).is(t, 200).has(t, "/dry_run", "true", "/correlation_id", "")
	dry.lists(t, "/changes", "/name", "a", "b", "c").lists(t, "/changes", "/op", "set", "set", "delete")
	dry.lists(t, "/changes", "/old_value", "2", "null", "1").lists(t, "/changes", "/value", "1", "1", "null").lists(t, "/changes", "/version", "3", "3", "2")
	s.now(t, before...)
	done := s.send(t, "POST", "revert", `{`+to+`,"reason":"incident"}`, "Config-Actor", "jane").is(t, 200).has(t, "/dry_run", "false")
	if done.at("/changes") != dry.at("/changes") {
		t.Errorf("the dry run answered %s, the real one %s", dry.at("/changes"), done.at("/changes"))
	}
	s.now(t, "a", "1", "b", "1")
	s.get(t, "configs/a").has(t, "/reason", "incident", "/updated_by", "jane", "/version", "3")

	// There is nothing to do twice, and a revert of the revert is the state before.
	s.send(t, "POST", "revert", `{`+to+`}`).is(t, 200).has(t, "/changes", "[]", "/correlation_id", "")
	s.send(t, "POST", "revert", `{"change":`+quote(done.at("/correlation_id"))+`}`).is(t, 200)
	s.now(t, before...)

	// To a time, a token, for some names.
	s.send(t, "POST", "revert", `{"to":`+quote(then.at("/updated_at"))+`,"names":["a","never"]}`).is(t, 200).lists(t, "/changes", "/name", "a")
	s.now(t, "a", "1", "c", "1")
	s.send(t, "POST", "revert", `{"to":`+quote(then.Header.Get("Config-Position"))+`,"names":["c"]}`).is(t, 200).lists(t, "/changes", "/op", "delete")
	s.now(t, "a", "1")
	s.send(t, "POST", "revert", `{"to":`+quote(then.at("/position"))+`,"names":[]}`).is(t, 200).has(t, "/changes", "[]")
	s.send(t, "POST", "revert", `{"to":0}`).is(t, 200).lists(t, "/changes", "/name", "a")
	s.now(t)
}

// One change set can be taken back as long as nothing was written over it.
func revertsOfChangeSets(t *testing.T, s *space) {
	s.put(t, "a", "1")
	set := s.send(t, "POST", "changes", `{"changes":[{"op":"set","name":"a","value":2},{"op":"set","name":"b","value":2}]}`).is(t, 200)
	s.put(t, "c", "3")
	undo := `"change":` + quote(set.at("/correlation_id"))
	s.send(t, "POST", "revert", `{`+undo+`,"dry_run":true}`).is(t, 200).lists(t, "/changes", "/value", "1", "null")
	first := s.send(t, "POST", "revert", `{`+undo+`}`).is(t, 200).lists(t, "/changes", "/op", "set", "delete")
	s.now(t, "a", "1", "c", "3")
	// Its own configs have new versions now.
	again := s.send(t, "POST", "revert", `{`+undo+`}`).problem(t, 409, config.Conflict)
	again.lists(t, "/conflicts", "/name", "a", "b").lists(t, "/conflicts", "/expected_version", "2", "1").lists(t, "/conflicts", "/version", "3", "2")
	// Reverted twice it is as before the first revert.
	s.send(t, "POST", "revert", `{"change":`+quote(first.at("/correlation_id"))+`}`).is(t, 200)
	s.now(t, "a", "2", "b", "2", "c", "3")
	last := s.send(t, "POST", "changes", `{"changes":[{"op":"set","name":"a","value":3},{"op":"set","name":"b","value":3}]}`).is(t, 200)
	s.put(t, "b", "4")
	conflict := s.send(t, "POST", "revert", `{"change":`+quote(last.at("/correlation_id"))+`,"dry_run":true}`).problem(t, 409, config.Conflict)
	conflict.lists(t, "/conflicts", "/name", "b").has(t, "/conflicts/0/value", "4")
	s.now(t, "a", "3", "b", "4", "c", "3")
}

func unusableReverts(t *testing.T, s *space) {
	s.put(t, "a", "1")
	for body, pointers := range map[string][]string{
		`{}`: {"/to"}, `{"to":1,"change":"x"}`: {"/to"}, `{"to":null}`: {"/to"}, `{"change":"x","names":["a"]}`: {"/names"},
		`{"to":"yesterday"}`: {"/to"}, `{"to":-1}`: {"/to"}, `{"to":1.5}`: {"/to"}, `{"to":999999999999}`: {"/to"}, `{"to":true}`: {"/to"},
		`{"to":0,"names":["a","b c"]}`: {"/names/1"}, `{"to":0,"name":"a"}`: {"/name"}, `{"to":0,"dry_run":"yes"}`: {"/dry_run"}, ``: nil,
	} {
		if s.send(t, "POST", "revert", body).problem(t, 400, config.Invalid, pointers...); t.Failed() {
			t.Fatalf("by %s", body)
		}
	}
	s.send(t, "POST", "revert", `{"to":0}`, "If-Match", "*").problem(t, 400, config.Invalid)
	s.send(t, "POST", "revert", `{"to":"0191f3a2-7f4e-7c11-9d53-2b8f6c1e0a55:1"}`).problem(t, 412, config.EpochMismatch)
	s.send(t, "POST", "revert", `{"change":"never"}`).problem(t, 404, config.NotFound)
	for body, pointers := range map[string][]string{
		`{}`: {"/from"}, `{"from":"Upper"}`: {"/from"}, `{"from":"x","at":"yesterday"}`: {"/at"}, `{"from":"x","names":[""]}`: {"/names/0"}, `{"from":1}`: {"/from"},
	} {
		s.send(t, "POST", "copy", body).problem(t, 400, config.Invalid, pointers...)
	}
	s.now(t, "a", "1")
}

// A copy makes this namespace's names equal to the other's.
func copies(t *testing.T, s *space) {
	source := s.another()
	source.put(t, "a", "1")
	then := source.put(t, "b", "1")
	source.put(t, "a", "2")
	s.put(t, "b", "1")
	s.put(t, "mine", "1")
	from := `"from":` + quote(source.ns)
	dry := s.send(t, "POST", "copy", `{`+from+`,"dry_run":true}`).is(t, 200).has(t, "/dry_run", "true", "/namespace", s.ns)
	dry.lists(t, "/changes", "/name", "a", "mine").lists(t, "/changes", "/op", "set", "delete").lists(t, "/changes", "/value", "2", "null")
	s.now(t, "b", "1", "mine", "1")
	s.send(t, "POST", "copy", `{`+from+`,"names":["a"],"at":`+quote(then.at("/updated_at"))+`,"reason":"promoted"}`).is(t, 200)
	s.now(t, "a", "1", "b", "1", "mine", "1")
	s.get(t, "configs/a").has(t, "/reason", "promoted")
	s.send(t, "POST", "copy", `{`+from+`}`).is(t, 200).lists(t, "/changes", "/name", "a", "mine")
	s.now(t, "a", "2", "b", "1")
	s.send(t, "POST", "copy", `{`+from+`}`).is(t, 200).has(t, "/changes", "[]")
	s.send(t, "POST", "copy", `{`+from+`,"at":`+then.at("/position")+`}`).is(t, 200).lists(t, "/changes", "/value", "1")
	s.send(t, "POST", "copy", `{"from":"never-`+s.ns+`","names":["b"]}`).is(t, 200).lists(t, "/changes", "/op", "delete")
	s.now(t, "a", "1")
}
