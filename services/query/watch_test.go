package query_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/testkit"
)

// sse is a server-sent event.
type sse struct{ event, id, data string }

// watcher is a client that watches.
type watcher struct {
	t      testing.TB
	events chan sse // closed at the end of the stream
	close  func()
}

// watch opens a watch that is closed when the test ends, if not before.
func (r *running) watch(t testing.TB, namespace, query string, headers ...string) *watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/v2/namespaces/"+namespace+"/watch?"+query, nil)
	must(t, err)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request) //nolint:bodyclose // the goroutine below closes it
	must(t, err)
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("watch answered %s %v", response.Status, response.Header)
	}
	w := &watcher{t: t, events: make(chan sse, 10_000), close: cancel}
	go func() {
		defer close(w.events)
		defer func() { _ = response.Body.Close() }()
		var e sse
		for lines := bufio.NewScanner(response.Body); lines.Scan(); {
			switch field, text, _ := strings.Cut(lines.Text(), ": "); field {
			case "event":
				e.event = text
			case "id":
				e.id = text
			case "data":
				e.data = text
			case "":
				w.events <- e
				e = sse{}
			}
		}
	}()
	return w
}

// next returns the next event, and false when the stream has ended.
func (w *watcher) next() (sse, bool) {
	w.t.Helper()
	select {
	case e, ok := <-w.events:
		return e, ok
	case <-time.After(20 * time.Second):
		w.t.Fatal("nothing comes")
		return sse{}, false
	}
}

func (w *watcher) wantBookmark(position int64) {
	w.t.Helper()
	want := sse{"bookmark", token(position), fmt.Sprintf(`{"position":%d}`, position)}
	if got, _ := w.next(); got != want {
		w.t.Fatalf("came %v, want %v", got, want)
	}
}

// wantDropped wants that the stream ends, and says why.
func (w *watcher) wantDropped(position int64, why string) {
	w.t.Helper()
	want := sse{"dropped", token(position), fmt.Sprintf(`{"detail":%q,"position":%d}`, why, position)}
	if got, _ := w.next(); got != want {
		w.t.Fatalf("came %v, want %v", got, want)
	}
	if got, more := w.next(); more {
		w.t.Fatalf("came %v after the last event", got)
	}
}

// wantChanges wants the events that filter keeps, each once, in order.
func (w *watcher) wantChanges(events []config.Event, filter func(*config.Event) bool) {
	w.t.Helper()
	for i := range events {
		if !filter(&events[i]) {
			continue
		}
		e, err := readmodel.EntryOf(&events[i])
		must(w.t, err)
		got, _ := w.next()
		if got.event != string(e.Type) || got.id != token(e.Position) {
			w.t.Fatalf("came %v, want event %d", got, e.Position)
		}
		var it item
		must(w.t, json.Unmarshal([]byte(got.data), &it))
		want := item{e.Namespace, e.Name, e.Value, e.Version, e.Position}
		if e.Value == nil {
			want.Value = config.Value("null")
		}
		if diff := gocmp.Diff(want, it); diff != "" {
			w.t.Fatalf("event %d (-want +got):\n%s", e.Position, diff)
		}
	}
}

func in(namespace string) func(*config.Event) bool {
	return func(e *config.Event) bool { return e.Namespace == namespace }
}

// A watch that begins far back shows the old events from the read tables and
// then the live ones, each once, while more are written all the time.
func TestWatchHasNoSeam(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := newSystem(t)
	events := testkit.RandomLog(t, 11, 2700).Events
	tables, first := events[2300].Commit, events[2450].Commit
	testkit.Publish(t, s.js, events[:first])
	s.apply(t, events[:tables])
	q := s.start(t, s.options())
	written := make(chan struct{})
	go func() { // the tables are behind the feed all the time
		defer close(written)
		for from, behind := first, tables; from < int64(len(events)); {
			to := events[min(from+60, int64(len(events)-1))].Commit
			testkit.Publish(t, s.js, events[from:to])
			s.apply(t, events[behind:from])
			from, behind = to, from
		}
		at, err := s.store.Checkpoint(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		s.apply(t, events[at.Position:])
	}()
	tests := map[string]struct {
		query  string
		from   int64
		filter func(*config.Event) bool
	}{
		"all of a namespace":     {"from_position=0", 0, in("one")},
		"all of another":         {"from_position=" + token(7), 7, in("two")},
		"a name":                 {"from_position=1&name=a", 1, func(e *config.Event) bool { return e.Namespace == "one" && e.Name == "a" }},
		"a prefix":               {"from_position=2400&prefix=a.", 2400, func(e *config.Event) bool { return e.Namespace == "one" && strings.HasPrefix(e.Name, "a.") }},
		"from where the feed is": {"from_position=2500&wait=10s", 2500, in("one")},
	}
	var watching sync.WaitGroup
	for name, test := range tests {
		namespace := "one"
		if name == "all of another" {
			namespace = "two"
		}
		watching.Go(func() {
			w := q.watch(t, namespace, test.query)
			w.wantBookmark(test.from)
			w.wantChanges(events[test.from:], test.filter)
		})
	}
	watching.Wait()
	<-written
}

// Last-Event-ID continues after any event, also inside a change set, however
// often the connection is lost.
func TestWatchResumes(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	events := testkit.RandomLog(t, 12, 60).Events
	half := events[30].Commit
	s.write(t, events[:half])
	q := s.start(t, s.options())
	must(t, q.get(t, "/v2/namespaces/one/configs?wait=10s&min_position="+token(half)).shows(half))
	last := int64(0)
	for i := range events {
		if i == int(half) {
			s.write(t, events[half:])
		}
		if !in("one")(&events[i]) {
			continue
		}
		w := q.watch(t, "one", "from_position=0&wait=10s", "Last-Event-ID", token(last)) // the header counts
		w.wantBookmark(last)
		w.wantChanges(events[i:i+1], in("one"))
		w.close()
		last = events[i].Position
	}
	w := q.watch(t, "one", "")
	w.wantBookmark(int64(len(events)))
}

func TestWatchRefuses(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var log testkit.Log
	s.write(t, log.Set(t, "ns", "a", `1`))
	q := s.start(t, s.options())
	for query, status := range map[string]int{
		"from_position=" + anotherLog + ":1": http.StatusPreconditionFailed,
		"min_position=" + anotherLog + ":1":  http.StatusPreconditionFailed,
		"from_position=2&wait=1ms":           http.StatusServiceUnavailable,
		"from_position=x":                    http.StatusBadRequest,
		"at_position=1":                      http.StatusBadRequest,
		"name=..":                            http.StatusBadRequest,
		"wait=x":                             http.StatusBadRequest,
	} {
		if err := q.get(t, "/v2/namespaces/ns/watch?"+query).is(status); err != nil {
			t.Errorf("%s: %v", query, err)
		}
	}
	must(t, q.get(t, "/v2/namespaces/N/watch").is(http.StatusBadRequest))
}

// A watch survives that the memory is loaded anew and has skipped events: those
// come from the read tables. When the log is another one it ends.
func TestWatchOverAReload(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var log testkit.Log
	s.write(t, log.Set(t, "ns", "a", `1`))
	q := s.start(t, s.options())
	w := q.watch(t, "ns", "from_position=0")
	w.wantBookmark(0)
	w.wantChanges(log.Events, in("ns"))
	for _, value := range []string{`2`, `3`, `4`} {
		log.Set(t, "ns", "a", value)
	}
	must(t, feed.Publish(t.Context(), s.js, restored, log.Events[1:2])) // the memory can't use it
	q.wantStale(t, "the view is not kept fresh, loading it anew", 1)
	s.apply(t, log.Events[1:])
	w.wantChanges(log.Events[1:], in("ns"))
	if _, err := s.pool.Exec(t.Context(), `update readmodel.checkpoint set epoch = $1`, anotherLog); err != nil {
		t.Fatal(err)
	}
	must(t, feed.Publish(t.Context(), s.js, restored, log.Events[2:]))
	must(t, feed.Publish(t.Context(), s.js, restored, log.Set(t, "ns", "a", `5`))) // so that it is loaded anew
	w.wantDropped(4, "the log was restored or made anew: read the namespace again and watch from there")
}

// Shutting down says so to all, with where they were.
func TestWatchEndsAtShutdown(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var log testkit.Log
	s.write(t, log.Set(t, "ns", "a", `1`))
	q := s.start(t, s.options())
	var watchers []*watcher
	for range 3 {
		w := q.watch(t, "ns", "from_position=0")
		w.wantBookmark(0)
		w.wantChanges(log.Events, in("ns"))
		watchers = append(watchers, w)
	}
	q.StopWatches()
	q.StopWatches() // twice is as good as once
	for _, w := range watchers {
		w.wantDropped(1, "the service is stopping: connect again")
	}
}

// request opens a watch as a client at an address, writing to w, until the
// context ends; the channel tells the status when it has.
func (r *running) request(ctx context.Context, w http.ResponseWriter, address, query string) (ended chan struct{}) {
	request := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v2/namespaces/ns/watch?"+query, nil)
	request.RemoteAddr = address + ":1"
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		r.Handler().ServeHTTP(w, request)
	}()
	return ended
}

// stream is a response that says when something is written.
type stream struct {
	header http.Header
	status int
	text   strings.Builder
	wrote  chan struct{}
	block  chan struct{} // if not nil, writes after the first wait until it is closed
}

func newStream() *stream { return &stream{header: http.Header{}, wrote: make(chan struct{}, 1000)} }

func (s *stream) Header() http.Header { return s.header }
func (s *stream) WriteHeader(n int)   { s.status = n }
func (s *stream) Flush()              {}
func (s *stream) Write(p []byte) (int, error) {
	s.wrote <- struct{}{}
	if s.block != nil && s.text.Len() > 0 {
		<-s.block
	}
	return s.text.Write(p)
}

// One client, and all together, can have so many watches; who closes one can
// open another.
func TestWatchLimits(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var log testkit.Log
	s.write(t, log.Set(t, "ns", "a", `1`))
	o := s.options()
	o.Watchers, o.WatchersPerClient = 3, 2
	q := s.start(t, o)
	const ann, bob, eve = "192.0.2.1", "192.0.2.2", "192.0.2.3"
	var closers []func()
	open := func(address string) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		out := newStream()
		ended := q.request(ctx, out, address, "")
		select {
		case <-out.wrote:
		case <-ended:
			t.Fatalf("%s was refused with %d %s", address, out.status, out.text.String())
		}
		closers = append(closers, func() { cancel(); <-ended })
	}
	refused := func(address, why string) {
		t.Helper()
		out := newStream()
		<-q.request(t.Context(), out, address, "")
		if out.status != http.StatusTooManyRequests || !strings.Contains(out.text.String(), why) {
			t.Errorf("%s was answered %d %s, want %d %q", address, out.status, out.text.String(), http.StatusTooManyRequests, why)
		}
	}
	open(ann)
	open(ann)
	refused(ann, "you have 2 open watches")
	open(bob)
	refused(eve, "there are 3 open watches")
	refused(ann, "there are 3 open watches")
	closers[0]()
	open(ann)
	for _, end := range closers[1:] {
		end()
	}
	open(eve)
	open(eve)
	closers[len(closers)-1]()
	closers[len(closers)-2]()
}

// A reader that does not keep up is dropped with a last event that says so and
// from where to go on, instead of what it missed piling up in memory.
func TestSlowReaderIsDropped(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var log testkit.Log
	s.write(t, log.Set(t, "ns", "a", `1`))
	q := s.start(t, s.options())
	q.DropBehind(100)
	out := newStream()
	out.block = make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ended := q.request(ctx, out, "192.0.2.1", "")
	<-out.wrote // the bookmark
	s.write(t, log.Set(t, "ns", "a", `2`))
	<-out.wrote                                          // that change, which the reader does not take
	testkit.Publish(t, s.js, log.Set(t, "ns", "a", `3`)) // the next step of the memory
	must(t, q.get(t, "/v2/namespaces/ns/configs?wait=20s&min_position="+token(3)).shows(3))
	set := config.ChangeSet{Namespace: "ns"}
	for i := range 101 {
		set.Changes = append(set.Changes, config.Change{Op: config.Set, Name: fmt.Sprint("n", i), Value: config.Value(`1`)})
	}
	testkit.Publish(t, s.js, log.Append(t, set))
	must(t, q.get(t, "/v2/namespaces/ns/configs?limit=1&wait=20s&min_position="+token(104)).shows(104))
	close(out.block)
	<-ended
	got := out.text.String()
	if n := strings.Count(got, "event: "); n != 3 || !strings.HasPrefix(got, "event: bookmark\nid: "+token(1)+"\n") || !strings.Contains(got, "\nid: "+token(2)+"\n") {
		t.Errorf("the reader got %d events: %.1000s", n, got)
	}
	if want := "event: dropped\nid: " + token(2) + "\ndata: {\"detail\":\"you read too slowly: connect again, the Last-Event-ID says from where\",\"position\":2}\n\n"; !strings.HasSuffix(got, want) {
		t.Errorf("the reader got %.1000s, at the end want %s", got, want)
	}
	if !slices.Equal(out.header["Cache-Control"], []string{"no-store"}) {
		t.Errorf("the answer may be kept: %v", out.header)
	}
}
