package contract

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/config-api/config-api/shared/config"
)

// V2 runs the v2 contract: every route, what it does and what it refuses. Limits
// has what is large.
func V2(t *testing.T, a API) {
	for _, part := range []struct {
		name string
		run  func(*testing.T, *space)
	}{
		{"life of a config", lifeOfAConfig},
		{"any JSON", anyJSON},
		{"unusable writes", unusableWrites},
		{"preconditions", preconditions},
		{"idempotency", idempotency},
		{"unusable reads", unusableReads},
		{"list", listing},
		{"pages while writing", pagesWhileWriting},
		{"namespaces", namespaces},
		{"change sets", changeSets},
		{"refused change sets", refusedChangeSets},
		{"config history", configHistory},
		{"one config in time", oneConfigInTime},
		{"namespace in time", namespaceInTime},
		{"final", finality},
		{"diff", diffs},
		{"revert", reverts},
		{"revert of a change set", revertsOfChangeSets},
		{"unusable reverts", unusableReverts},
		{"copy", copies},
		{"schemas", schemas},
		{"schemas of present values", schemasOfPresentValues},
		{"unusable schemas", unusableSchemas},
		{"watch", watching},
		{"watch from the past", watchingFromThePast},
		{"unusable watches", unusableWatches},
		{"positions", positions},
		{"audit", audits},
		{"log", logs},
		{"operations", operations},
		{"figures", figures},
		{"undefined v2 routes", undefinedV2},
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			part.run(t, a.space(part.name))
		})
	}
}

// space is a namespace of one test's own. Its reads echo the position of the
// last write, so that each shows all writes before it: v2 writes don't wait for
// the readers.
type space struct {
	API
	ns       string
	position string // of the last answer to a write
}

func (a API) space(name string) *space {
	return &space{API: a, ns: strings.ReplaceAll(strings.ToLower(name), " ", "-") + "-" + a.id}
}

// another is a second namespace, which shares the position.
func (s *space) another() *space { return &space{API: s.API, ns: s.ns + "-2", position: s.position} }

// path is that of a route in the namespace; one that begins with a slash is a
// whole path.
func (s *space) path(route string) string {
	if strings.HasPrefix(route, "/") {
		return route
	}
	return "/v2/namespaces/" + s.ns + "/" + route
}

// patience is how long reads wait for the last write on a busy machine.
const patience = "30s"

// get reads, after the last write.
func (s *space) get(t testing.TB, route string, headers ...string) Answer {
	t.Helper()
	if s.position != "" && !strings.Contains(route, "wait=") {
		separator := "?"
		if strings.Contains(route, "?") {
			separator = "&"
		}
		route += separator + "wait=" + patience
		headers = append([]string{"Config-Min-Position", s.position}, headers...)
	}
	return s.Do(t, "GET", s.path(route), "", headers...)
}

// send writes, and keeps the position that was answered.
func (s *space) send(t testing.TB, method, route, body string, headers ...string) Answer {
	t.Helper()
	got := s.Do(t, method, s.path(route), body, headers...)
	if position := got.Header.Get("Config-Position"); position != "" {
		s.position = position
	}
	return got
}

// put sets a config to a JSON value.
func (s *space) put(t testing.TB, name, value string) Answer {
	t.Helper()
	got := s.send(t, "PUT", "configs/"+name, `{"value":`+value+`}`)
	if got.Status != 200 && got.Status != 201 {
		t.Fatalf("PUT of %s: %d %.300s", name, got.Status, got.Body)
	}
	return got
}

func (s *space) remove(t testing.TB, name string) Answer {
	t.Helper()
	return s.send(t, "DELETE", "configs/"+name, "").is(t, 200)
}

// now fails the test unless the namespace has these configs and no others;
// they are pairs of name and JSON value.
func (s *space) now(t testing.TB, pairs ...string) {
	t.Helper()
	s.at(t, "", pairs...)
}

// at is now, as of the instant that a query names.
func (s *space) at(t testing.TB, query string, pairs ...string) {
	t.Helper()
	got := s.get(t, "configs?limit=1000&"+query).is(t, 200)
	have := []string{}
	for i, name := range got.all("/items", "/name") {
		have = append(have, name, got.at("/items/"+strconv.Itoa(i)+"/value"))
	}
	if diff := cmp.Diff(append([]string{}, pairs...), have); diff != "" {
		t.Errorf("configs as of %q (-want +got):\n%s", query, diff)
	}
}

// is fails the test unless the answer has this status.
func (g Answer) is(t testing.TB, status int) Answer {
	t.Helper()
	if g.Status != status {
		t.Fatalf("answered %d %.300s, want %d", g.Status, g.Body, status)
	}
	return g
}

// at is the JSON text at a pointer into the body, "" if there is none; of a
// string it is the string itself.
func (g Answer) at(pointer string) string {
	raw := json.RawMessage(g.Body)
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		var object map[string]json.RawMessage
		var array []json.RawMessage
		if json.Unmarshal(raw, &object) == nil {
			raw = object[token]
			continue
		}
		i, err := strconv.Atoi(token)
		if json.Unmarshal(raw, &array) != nil || err != nil || i >= len(array) {
			return ""
		}
		raw = array[i]
	}
	var text string
	if json.Unmarshal(raw, &text) == nil && string(raw) != "null" {
		return text
	}
	return string(raw)
}

// has fails the test unless the body has what pairs of pointer and JSON text
// say.
func (g Answer) has(t testing.TB, pairs ...string) Answer {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if got := g.at(pairs[i]); got != pairs[i+1] {
			t.Errorf("%s is %q, want %q, in %.500s", pairs[i], got, pairs[i+1], g.Body)
		}
	}
	return g
}

// all is a member of each element of the array at a pointer.
func (g Answer) all(array, member string) []string {
	var elements []json.RawMessage
	_ = json.Unmarshal([]byte(g.at(array)), &elements) // none if it is no array
	found := []string{}
	for _, element := range elements {
		found = append(found, Answer{Body: string(element)}.at(member))
	}
	return found
}

// lists fails the test unless that member of the elements is this.
func (g Answer) lists(t testing.TB, array, member string, want ...string) Answer {
	t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), g.all(array, member)); diff != "" {
		t.Errorf("%s of %s (-want +got):\n%s", member, array, diff)
	}
	return g
}

// problem fails the test unless the answer is this problem document, with
// faults at these pointers.
func (g Answer) problem(t testing.TB, status int, code config.Code, pointers ...string) Answer {
	t.Helper()
	if g.Status != status || g.at("/type") != "urn:config-api:problem:"+string(code) || g.at("/status") != strconv.Itoa(status) {
		t.Errorf("answered %d %.300s, want %d %s", g.Status, g.Body, status, code)
	}
	if g.Header.Get("Content-Type") != "application/problem+json" || g.at("/request_id") != g.Header.Get("X-Request-Id") {
		t.Errorf("%s of request %q: %s", g.Header.Get("Content-Type"), g.Header.Get("X-Request-Id"), g.Body)
	}
	if got := g.all("/errors", "/pointer"); !slices.Equal(got, pointers) {
		t.Errorf("faults at %q, want %q: %.300s", got, pointers, g.Body)
	}
	return g
}
