package contract

import (
	"fmt"
	"strings"
	"testing"

	"github.com/config-api/config-api/shared/config"
)

// Limits sends the largest requests that are taken and the smallest that are too
// large. It is apart from V1 and V2 because the race detector, which looks at
// every byte, needs minutes for it.
func Limits(t *testing.T, a API) {
	t.Run("strings", func(t *testing.T) { t.Parallel(); sizeOfStrings(t, a.space("strings")) })
	t.Run("values", func(t *testing.T) { t.Parallel(); sizeOfValues(t, a.space("values")) })
	t.Run("bodies", func(t *testing.T) { t.Parallel(); sizeOfBodies(t, a.space("bodies")) })
	t.Run("change sets", func(t *testing.T) { t.Parallel(); sizeOfChangeSets(t, a.space("sets")) })
}

// The length of a string is counted in characters, however they are written: an
// event of 12 MB passes the whole way.
func sizeOfStrings(t *testing.T, s *space) {
	most, name := strings.Repeat("😀", config.MaxStringLength), s.name("strings")
	escaped := `{"value":"` + strings.Repeat(`\ud83d\ude00`, config.MaxStringLength) + `"}`
	tooLong := `{"value":"` + strings.Repeat("x", config.MaxStringLength+1) + `"}`

	s.do(t, "PUT", "/v1/config/"+name, escaped).want(t, 200, "OK")
	s.Do(t, "GET", "/v1/config/"+name, "").want(t, 200, most)
	s.send(t, "PUT", "configs/a", escaped).is(t, 201)
	if got := s.get(t, "configs/a").is(t, 200); got.at("/value") != most {
		t.Errorf("a string came back with %d bytes, want %d", len(got.at("/value")), len(most))
	}

	if got := s.do(t, "PUT", "/v1/config/"+name, tooLong); got.Status != 413 {
		t.Errorf("a value over the limit: %d %.200q", got.Status, got.Body)
	}
	s.send(t, "PUT", "configs/a", tooLong).problem(t, 413, config.TooLarge, "/value")
	set := `{"changes":[{"op":"set","name":"b","value":1},{"op":"set","name":"c",` + tooLong[1:] + `]}`
	s.send(t, "POST", "changes", set).problem(t, 413, config.TooLarge, "/changes/1/value")
	s.get(t, "configs/b").is(t, 404)
}

// The size of every other value is counted in bytes.
func sizeOfValues(t *testing.T, s *space) {
	array := func(size int) string { return `["` + strings.Repeat("x", size-len(`[""]`)) + `"]` }
	s.send(t, "PUT", "configs/a", `{"value":`+array(config.MaxValueSize)+`}`).is(t, 201)
	s.send(t, "PUT", "configs/a", `{"value":`+array(config.MaxValueSize+1)+`}`).problem(t, 413, config.TooLarge, "/value")
	s.get(t, "configs/a").is(t, 200).has(t, "/version", "1")
}

func sizeOfBodies(t *testing.T, s *space) {
	spaces := strings.Repeat(" ", config.MaxBodySize)
	s.send(t, "PUT", "configs/a", `{"value":1}`+spaces[len(`{"value":1}`):]).is(t, 201)
	s.send(t, "PUT", "configs/a", spaces+" ").problem(t, 413, config.TooLarge)
	if got := s.do(t, "PUT", "/v1/config/"+s.name("bodies"), spaces+" "); got.Status != 413 {
		t.Errorf("a body over the limit: %d %.200q", got.Status, got.Body)
	}
}

func sizeOfChangeSets(t *testing.T, s *space) {
	set := func(n int, value string) string {
		changes := make([]string, n)
		for i := range changes {
			changes[i] = fmt.Sprintf(`{"op":"set","name":"n%04d","value":%s}`, i, value)
		}
		return `{"changes":[` + strings.Join(changes, ",") + `]}`
	}
	s.send(t, "POST", "changes", set(config.MaxChanges+1, "1")).problem(t, 400, config.Invalid)
	s.now(t)
	got := s.send(t, "POST", "changes", set(config.MaxChanges, "1")).is(t, 200)
	if n := len(got.all("/changes", "/name")); n != config.MaxChanges {
		t.Errorf("%d changes were answered", n)
	}
	s.get(t, "configs?limit=1000").is(t, 200).has(t, "/items/999/name", "n0999", "/next_page_token", "")
	// And back at once.
	s.send(t, "POST", "revert", `{"to":0}`).is(t, 200).has(t, "/changes/999/op", "delete")
	s.now(t)
}
