package contract

import (
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/config"
)

func listing(t *testing.T, s *space) {
	s.get(t, "configs").is(t, 200).lists(t, "/items", "/name").has(t, "/items", "[]", "/next_page_token", "")
	for _, name := range []string{"b", "a.x", "B", "a", "a-x", "a.y", "_", "gone"} {
		s.put(t, name, `"of `+name+`"`)
	}
	s.remove(t, "gone")
	names := []string{"B", "_", "a", "a-x", "a.x", "a.y", "b"} // by byte
	got := s.get(t, "configs").is(t, 200).lists(t, "/items", "/name", names...)
	got.has(t, "/final", "false", "/items/4/value", "of a.x", "/items/4/version", "1", "/items/4/namespace", s.ns)
	if position := got.Header.Get("Config-Position"); !strings.HasSuffix(position, ":"+got.at("/position")) {
		t.Errorf("position %s under Config-Position %s", got.at("/position"), position)
	}
	s.get(t, "configs?prefix=a").lists(t, "/items", "/name", "a", "a-x", "a.x", "a.y")
	s.get(t, "configs?prefix=a.").lists(t, "/items", "/name", "a.x", "a.y")
	s.get(t, "configs?prefix=zzz").lists(t, "/items", "/name")
	for _, query := range []string{"configs?limit=2", "configs?limit=3&prefix=", "configs?limit=7", "configs?limit=1&at_position=" + got.at("/position")} {
		var all []string
		first := s.get(t, query)
		for page := first; ; page = s.get(t, query+"&page_token="+page.at("/next_page_token")) {
			all = append(all, page.is(t, 200).all("/items", "/name")...)
			if page.at("/position") != first.at("/position") || page.at("/final") != strconv.FormatBool(strings.Contains(query, "at_position")) {
				t.Errorf("%s: a page of position %s, final %s", query, page.at("/position"), page.at("/final"))
			}
			if page.at("/next_page_token") == "" {
				break
			}
		}
		if strings.Join(all, " ") != strings.Join(names, " ") {
			t.Errorf("%s in pages is %q", query, all)
		}
	}

	// Who has the list need not read it again, until something is written.
	tag := got.Header.Get("ETag")
	at := "configs?at_position=" + got.at("/position")
	s.get(t, at, "If-None-Match", tag).is(t, 304)
	s.put(t, "b", "2")
	s.get(t, at, "If-None-Match", tag).is(t, 304)
	s.get(t, "configs", "If-None-Match", tag).is(t, 200).has(t, "/items/6/value", "2")
}

// A listing read in pages is one state, whatever is written between them.
func pagesWhileWriting(t *testing.T, s *space) {
	for _, name := range []string{"a", "b", "c", "d"} {
		s.put(t, name, "1")
	}
	first := s.get(t, "configs?limit=2").is(t, 200).lists(t, "/items", "/name", "a", "b")
	s.put(t, "c", "2")
	s.put(t, "bb", "1")
	s.remove(t, "d")
	rest := "configs?limit=2&page_token=" + first.at("/next_page_token")
	second := s.get(t, rest).is(t, 200).lists(t, "/items", "/name", "c", "d").lists(t, "/items", "/value", "1", "1")
	second.has(t, "/position", first.at("/position"), "/next_page_token", "")
	s.now(t, "a", "1", "b", "1", "bb", "1", "c", "2")

	token := first.at("/next_page_token")
	for _, query := range []string{
		"configs?page_token=nonsense", "configs?page_token=e30", "configs?prefix=a&page_token=" + token,
		"configs/a/history?page_token=" + token, "/v2/audit?page_token=" + token, "/v2/namespaces/" + s.another().ns + "/configs?page_token=" + token,
	} {
		s.get(t, query).problem(t, 400, config.Invalid)
	}
}

func namespaces(t *testing.T, s *space) {
	mine := func(query string) (count string, found bool) {
		got := s.get(t, "/v2/namespaces?"+query).is(t, 200)
		for i, name := range got.all("/items", "/namespace") {
			if name == s.ns {
				return got.at("/items/" + strconv.Itoa(i) + "/configs"), true
			}
		}
		return "", false
	}
	expect := func(query, want string) {
		t.Helper()
		if count, found := mine(query); count != want || found != (want != "") {
			t.Errorf("%s has %q configs as of %q, want %q", s.ns, count, query, want)
		}
	}
	expect("", "")
	first := s.put(t, "a", "1").at("/position")
	s.put(t, "b", "1")
	expect("", "2")
	expect("at_position="+first, "1")
	expect("at_position=0", "")
	s.remove(t, "a")
	s.remove(t, "b")
	expect("", "0")
}

// A reader says what it needs, and waits for it rather than see an older state.
func positions(t *testing.T, s *space) {
	written := s.put(t, "a", "1")
	epoch, number, _ := strings.Cut(s.position, ":")
	for _, route := range []string{
		"/v2/namespaces", "configs", "configs/a", "configs/a/history", "diff?from=0", "schemas", "/v2/audit?namespace=" + s.ns,
	} {
		separator := "?"
		if strings.Contains(route, "?") {
			separator = "&"
		}
		path := s.path(route) + separator
		get := func(query string, headers ...string) Answer { return s.Do(t, "GET", path+query, "", headers...) }
		for _, got := range []Answer{
			get("wait=30s&min_position=" + s.position), get("wait=30s", "Config-Min-Position", s.position), get("wait=30s&consistency=strong"),
		} {
			reached, err := config.ParseToken(got.is(t, 200).Header.Get("Config-Position"))
			if have := strconv.FormatInt(reached.Position, 10); err != nil || reached.Epoch != epoch || len(have) < len(number) || len(have) == len(number) && have < number {
				t.Errorf("%s reflects %v (%v) after %s", path, reached, err, s.position)
			}
		}
		// One that is not there yet is waited for, then told.
		late := get("wait=1ms&min_position=" + epoch + ":999999999999")
		if late.problem(t, 503, config.Unavailable); late.Header.Get("Config-Position") == "" || late.Header.Get("Retry-After") == "" {
			t.Errorf("%s is late without saying how far it is: %v", path, late.Header)
		}
		other := "0191f3a2-7f4e-7c11-9d53-2b8f6c1e0a55:1"
		get("min_position="+other).problem(t, 412, config.EpochMismatch)
		get("", "Config-Min-Position", other).problem(t, 412, config.EpochMismatch)
		for _, query := range []string{"min_position=x", "min_position=" + number, "wait=soon", "wait=31s", "wait=-1s", "consistency=weak"} {
			get(query).problem(t, 400, config.Invalid)
		}
	}
	if updated, err := time.Parse(time.RFC3339Nano, written.at("/updated_at")); err != nil || time.Since(updated) > time.Hour {
		t.Errorf("updated_at %s: %v", written.at("/updated_at"), err)
	}
}

func unusableReads(t *testing.T, s *space) {
	s.put(t, "a", "1")
	for _, route := range []string{"configs?", "configs/a/history?", "/v2/audit?"} {
		for _, query := range []string{"limit=0", "limit=1001", "limit=-1", "limit=ten"} {
			s.get(t, route+query).problem(t, 400, config.Invalid)
		}
	}
	for _, route := range []string{"configs?", "configs/a?", "configs/a/history?", "/v2/audit?", "/v2/namespaces?", "schemas?"} {
		for _, query := range []string{
			"at=yesterday", "at=2026-11-23", "at=1700000000", "at_position=x", "at_position=-1", "at_position=1&at=2026-11-23T08:00:00Z",
		} {
			s.get(t, route+query).problem(t, 400, config.Invalid)
		}
		s.get(t, route+"at_position=0191f3a2-7f4e-7c11-9d53-2b8f6c1e0a55:1").problem(t, 412, config.EpochMismatch)
	}
	s.get(t, "configs/a/history?order=up").problem(t, 400, config.Invalid)
	s.get(t, "/v2/audit?from=yesterday").problem(t, 400, config.Invalid)
	s.get(t, "/v2/audit?actor="+url.QueryEscape("\x00")).problem(t, 400, config.Invalid)
}
