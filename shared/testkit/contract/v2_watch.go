package contract

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/config"
)

// stream is an open watch.
type stream struct {
	t        testing.TB
	answer   Answer
	messages chan message
}

// message is one server-sent event.
type message struct{ event, id, data string }

// watchPatience is how long a test waits for an event before it fails.
const watchPatience = 30 * time.Second

// follow opens a watch. Its first event is a bookmark that says where it begins.
func (s *space) follow(t testing.TB, query string, headers ...string) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+s.path("watch?wait="+patience+"&"+query), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.position != "" {
		request.Header.Set("Config-Min-Position", s.position)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request) //nolint:bodyclose // the goroutine below closes it
	if err != nil {
		t.Fatal(err)
	}
	w := &stream{t: t, answer: Answer{Status: response.StatusCode, Header: response.Header}, messages: make(chan message, 1000)}
	w.answer.check(t, request)
	w.answer.is(t, 200)
	go func() {
		defer response.Body.Close()
		defer close(w.messages)
		var m message
		for lines := bufio.NewScanner(response.Body); lines.Scan(); {
			field, text, _ := strings.Cut(lines.Text(), ": ")
			switch field {
			case "event":
				m.event = text
			case "id":
				m.id = text
			case "data":
				m.data = text
			case "":
				w.messages <- m
				m = message{}
			}
		}
	}()
	if first := w.next(); first.event != "bookmark" {
		t.Fatalf("a watch begins with %v", first)
	}
	return w
}

func (w *stream) next() message {
	w.t.Helper()
	select {
	case m, open := <-w.messages:
		if !open {
			w.t.Fatal("the watch has ended")
		}
		return m
	case <-time.After(watchPatience):
		w.t.Fatal("the watch shows nothing")
	}
	panic("not reached")
}

// shows fails the test unless the next changes are these, "name value" each, and
// returns them. Bookmarks may come between.
func (w *stream) shows(changes ...string) []message {
	w.t.Helper()
	var shown []message
	for _, want := range changes {
		m := w.next()
		for m.event == "bookmark" {
			m = w.next()
		}
		change := Answer{Body: m.data}
		if got := change.at("/name") + " " + change.at("/value"); got != want {
			w.t.Fatalf("the watch shows %q, want %q", got, want)
		}
		if m.event != change.at("/type") || !strings.HasSuffix(m.id, ":"+change.at("/position")) {
			w.t.Errorf("%v is of type %s at %s", m, change.at("/type"), change.at("/position"))
		}
		shown = append(shown, m)
	}
	return shown
}

func watching(t *testing.T, s *space) {
	s.put(t, "before", "1")
	all, one, some := s.follow(t, ""), s.follow(t, "name=db.size"), s.follow(t, "prefix=db.")
	if all.answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("Content-Type %s", all.answer.Header.Get("Content-Type"))
	}
	other := s.another()
	other.put(t, "db.size", "0")
	s.send(t, "PUT", "configs/db.size", `{"value":{"n":1.0},"reason":"why"}`, "Config-Actor", "jane").is(t, 201)
	set := s.send(t, "POST", "changes", `{"changes":[{"op":"set","name":"a","value":1},{"op":"set","name":"db.b","value":2},{"op":"delete","name":"db.size"}]}`).is(t, 200)
	s.put(t, "last", "1")
	s.put(t, "db.size", "3")

	first := all.shows(`db.size {"n":1.0}`)[0]
	Answer{Body: first.data}.has(t, "/namespace", s.ns, "/version", "1", "/actor", "jane", "/reason", "why", "/old_value", "null")
	// A change set comes whole: who sees its first event has its last one at hand.
	whole := all.shows("a 1", "db.b 2", "db.size null")
	for _, m := range whole {
		Answer{Body: m.data}.has(t, "/commit_position", set.at("/position"), "/correlation_id", set.at("/correlation_id"))
	}
	if whole[2].event != "ConfigValueDeleted" || !strings.HasSuffix(whole[2].id, ":"+set.at("/position")) {
		t.Errorf("the set ends with %v, at %s", whole[2], set.at("/position"))
	}
	all.shows("last 1", "db.size 3")
	one.shows(`db.size {"n":1.0}`, "db.size null", "db.size 3")
	some.shows(`db.size {"n":1.0}`, "db.b 2", "db.size null", "db.size 3")
}

// A watch goes on after any position without loss or repetition.
func watchingFromThePast(t *testing.T, s *space) {
	written := s.put(t, "a", "1")
	s.put(t, "b", "2")
	third := s.put(t, "a", "3")
	old := s.follow(t, "from_position=0").shows("a 1", "b 2", "a 3")
	late := s.follow(t, "from_position="+written.at("/position"))
	late.shows("b 2", "a 3")
	resumed := s.follow(t, "from_position=0", "Last-Event-ID", old[1].id) // what a browser sends when it connects again
	resumed.shows("a 3")
	named := s.follow(t, "name=b&from_position="+written.Header.Get("Config-Position"))
	named.shows("b 2")
	s.put(t, "b", "4")
	for _, w := range []*stream{late, resumed, named} {
		w.shows("b 4")
	}
	bookmarked := s.follow(t, "from_position="+third.at("/position"))
	bookmarked.shows("b 4")
	s.schema(t, "a", `{"type":"integer"}`, "").is(t, 201)
	bookmarked.shows(`$schema.a {"type":"integer"}`)
}

func unusableWatches(t *testing.T, s *space) {
	s.put(t, "a", "1")
	for _, query := range []string{"name=a..b", "from_position=x", "from_position=-1", "at_position=1", "at=2026-11-23T08:00:00Z", "wait=x"} {
		s.get(t, "watch?"+query).problem(t, 400, config.Invalid)
	}
	s.get(t, "watch", "Last-Event-ID", "x").problem(t, 400, config.Invalid)
	const other = "0191f3a2-7f4e-7c11-9d53-2b8f6c1e0a55:1"
	s.get(t, "watch", "Last-Event-ID", other).problem(t, 412, config.EpochMismatch)
	s.get(t, "watch?from_position="+other).problem(t, 412, config.EpochMismatch)
	s.get(t, "watch?wait=1ms&from_position=999999999999").problem(t, 503, config.Unavailable)
	s.get(t, "/v2/namespaces/Upper/watch").problem(t, 400, config.Invalid)
}
