package query_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/config-api/config-api/services/query"
	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/testkit"
)

// routes are all reads of v2, of memory and of the tables, with what the last
// event of the test below changes.
var routes = []string{
	"/v2/namespaces?", "/v2/audit?", "/v2/namespaces/ns/configs?", "/v2/namespaces/ns/configs/a?", "/v2/namespaces/ns/configs/a/history?",
	"/v2/namespaces/ns/schemas?", "/v2/namespaces/ns/schemas/a.*?", "/v2/namespaces/ns/diff?from=0&", "/v2/namespaces/ns/configs?prefix=a&at_position=2&",
	"/v2/namespaces/ns/configs/a?at_position=2&", "/v2/namespaces/ns/configs/a?at_position=" + token(2) + "&",
}

// Every read waits for the position that it is given: it answers with that
// state, or after the wait with 503 and how far it is.
func TestReadsWaitForAPosition(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var log testkit.Log
	s.write(t, log.Append(t, config.ChangeSet{Namespace: "ns", Changes: []config.Change{
		{Op: config.SetSchema, Name: config.SchemaStream("a.*"), Value: config.Value(`true`)},
	}}))
	q := s.start(t, s.options())
	for _, route := range routes {
		a := q.get(t, route+"wait=1ms", "Config-Min-Position", token(2))
		if err := a.is(http.StatusServiceUnavailable); err != nil || a.header.Get("Retry-After") == "" || a.header.Get("Config-Position") != token(1) {
			t.Errorf("GET %s without position 2: %v %v", route, err, a.header)
		}
		must(t, q.get(t, route+"min_position="+anotherLog+":1").is(http.StatusPreconditionFailed))
		if strings.Contains(route, token(2)) {
			must(t, q.get(t, route+"min_position="+anotherLog+":1").is(http.StatusPreconditionFailed))
		}
	}
	answers := make(chan error, len(routes))
	for _, route := range routes {
		go func() {
			a := q.get(t, route+"wait=20s&min_position="+token(2))
			if err := a.shows(2); err != nil {
				answers <- fmt.Errorf("GET %s: %w", route, err)
				return
			}
			answers <- nil
		}()
	}
	s.write(t, log.Set(t, "ns", "a", `1`))
	for range routes {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	must(t, q.get(t, "/v2/namespaces/ns/schemas/a.*", "If-None-Match", `"v1"`).is(http.StatusNotModified))
}

// A strong read asks a command service where the log ends, and waits for that.
// Without one it is 503 rather than maybe stale.
func TestStrongReads(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var log testkit.Log
	s.write(t, log.Set(t, "ns", "a", `1`))
	q := s.start(t, s.options())
	strong := func(more string) answer {
		return q.get(t, "/v2/namespaces/ns/configs/a?consistency=strong"+more)
	}
	if a := strong(""); a.is(http.StatusServiceUnavailable) != nil || a.header.Get("Retry-After") == "" {
		t.Errorf("without a command service: %d %v", a.status, a.header)
	}
	nc := s.nats.Conn(t)
	must(t, feed.ServeHead(nc, func() feed.Head { return feed.Head{Epoch: testkit.Epoch, Position: 2} }))
	must(t, nc.Flush())
	if a := strong("&wait=1ms"); a.is(http.StatusServiceUnavailable) != nil || a.header.Get("Config-Position") != token(1) {
		t.Errorf("behind the head it answered %d %v", a.status, a.header)
	}
	answered := make(chan error, 1)
	go func() { answered <- strong("&wait=20s").shows(2) }()
	s.write(t, log.Set(t, "ns", "a", `2`))
	must(t, <-answered)
	must(t, strong("&min_position="+token(1)).shows(2))
	must(t, strong("&min_position="+anotherLog+":1").is(http.StatusPreconditionFailed))
	must(t, q.get(t, "/v2/namespaces/ns/configs/a?consistency=eventual").shows(2))
	must(t, q.get(t, "/v2/namespaces/ns/configs/a?consistency=weak").is(http.StatusBadRequest))
}

// A v1 read is not older than what the projector announced last. It waits for
// that up to a second and then answers what there is.
func TestV1ReadsWaitForWhatWasAnnounced(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := newSystem(t)
	var log testkit.Log
	s.write(t, log.Set(t, "default", "a", `"1"`))
	q := s.start(t, s.options())
	at := url.PathEscape(testkit.Began.Add(time.Hour).Format(time.RFC3339))
	paths := []string{"/v1/config", "/v1/config/a", "/v1/config/a/history", "/v1/config/a/at/" + at}
	s.announce(t, 2)
	testkit.Eventually(t, func() error { // until the service has heard it
		asked := time.Now()
		must(t, q.get(t, "/v1/config/a").shows(1))
		if took := time.Since(asked); took < 900*time.Millisecond {
			return fmt.Errorf("answered after %v", took)
		}
		return nil
	})
	answers := make(chan error, len(paths))
	for _, path := range paths {
		go func() { answers <- q.get(t, path).shows(2) }()
	}
	s.write(t, log.Set(t, "default", "a", `"2"`))
	for range paths {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if got := q.get(t, "/v1/config/a").body; got != "2" {
		t.Errorf("the value is %q", got)
	}
}

// A v1 history is whole, however long it is, and an old value that was not there
// is null.
func TestV1History(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var log testkit.Log
	const n = 1100 // more than the tables are asked for at a time
	for i := range n {
		set := config.ChangeSet{Namespace: "default", Changes: []config.Change{{Op: config.Set, Name: "a", Value: config.Value(fmt.Sprintf(`"%d"`, i))}}}
		if i%10 == 9 {
			set.Changes = []config.Change{{Op: config.Delete, Name: "a"}}
		}
		log.Append(t, set)
	}
	s.write(t, log.Events)
	q := s.start(t, s.options())
	var history []struct {
		Type config.EventType `json:"event_type"`
		Data map[string]any   `json:"data"`
		At   time.Time        `json:"created_at"`
		N    int64            `json:"stream_version"`
	}
	q.get(t, "/v1/config/a/history").into(t, &history)
	if len(history) != n {
		t.Fatalf("%d events, want %d", len(history), n)
	}
	for i, h := range history {
		want := map[string]any{"config_name": "a", "value": fmt.Sprint(i), "old_value": fmt.Sprint(i - 1), "timestamp": h.At.Format(time.RFC3339Nano)}
		switch i % 10 {
		case 0:
			want["old_value"] = nil
		case 9:
			want = map[string]any{"config_name": "a", "deleted_value": fmt.Sprint(i - 1), "timestamp": want["timestamp"]}
		}
		if !reflect.DeepEqual(want, h.Data) || h.N != int64(i+1) || h.Type != log.Events[i].Type || !h.At.Equal(log.Events[i].RecordedAt) {
			t.Fatalf("event %d is %+v (-want +got):\n%s", i, h, gocmp.Diff(want, h.Data))
		}
	}
}

// A list that is read page by page is one state, whatever is written meanwhile:
// the present as the first page found it, or the past.
func TestPagesAreOneState(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := newSystem(t)
	all := testkit.RandomLog(t, 21, 400).Events
	first := all[200].Commit
	s.write(t, all[:first])
	q := s.start(t, s.options())
	must(t, q.get(t, "/v2/namespaces?wait=10s&min_position="+token(first)).shows(first))
	done := first
	write := func() {
		if done < int64(len(all)) {
			to := all[min(done+8, int64(len(all)-1))].Commit
			s.write(t, all[done:to])
			done = to
		}
	}
	reversed := func(keep func(*config.Event) bool, position int64) []item {
		var items []item
		for i := position - 1; i >= 0; i-- {
			e := &all[i]
			if p, err := e.Payload(); err == nil && keep(e) {
				it := item{e.Namespace, e.Name, p.Value, e.Version, e.Position}
				if p.Value == nil {
					it.Value = config.Value("null")
				}
				items = append(items, it)
			}
		}
		return items
	}
	ofA := func(e *config.Event) bool { return e.Namespace == "one" && e.Name == "a" }
	for name, test := range map[string]struct {
		path  string
		past  int64 // 0 is the present
		limit int
		want  func(position int64) []item
	}{
		"configs now":       {"/v2/namespaces/one/configs?", 0, 2, func(p int64) []item { return fold(t, all, "one", p) }},
		"configs then":      {"/v2/namespaces/two/configs?at_position=50&", 50, 2, func(p int64) []item { return fold(t, all, "two", p) }},
		"history backwards": {"/v2/namespaces/one/configs/a/history?order=desc&", 0, 5, func(p int64) []item { return reversed(ofA, p) }},
		"audit":             {"/v2/audit?actor=ann&", 0, 30, func(p int64) []item { return reversed(func(e *config.Event) bool { return e.Actor == "ann" }, p) }},
	} {
		var got []item
		var position int64
		path := fmt.Sprintf("%slimit=%d", test.path, test.limit)
		for next := ""; ; {
			var p page
			q.get(t, path+next).into(t, &p)
			if got == nil {
				position = p.Position
			}
			if p.Position != position || p.Final != (test.past > 0) || len(p.Items) > test.limit {
				t.Fatalf("%s: a page of %d at %d, final %v; the first was at %d", name, len(p.Items), p.Position, p.Final, position)
			}
			got = append(got, p.Items...)
			if p.Next == "" {
				break
			}
			next = "&wait=10s&page_token=" + p.Next
			must(t, q.get(t, path+next+"&min_position="+anotherLog+":1").is(http.StatusPreconditionFailed))
			write()
		}
		if test.past > 0 && position != test.past {
			t.Errorf("%s: position %d, want %d", name, position, test.past)
		}
		if diff := gocmp.Diff(test.want(position), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if done == first {
		t.Error("nothing was written between the pages")
	}
	must(t, q.get(t, "/v2/audit?page_token=e30").is(http.StatusBadRequest))
	must(t, q.get(t, "/v2/namespaces/one/configs?page_token=*").is(http.StatusBadRequest))
}

// final says that no later write can change the answer: true up to the time of
// the last event, false for what is still to come.
func TestFinal(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var log testkit.Log
	s.write(t, log.Set(t, "ns", "a", `1`))
	s.write(t, log.Set(t, "ns", "a", `2`))
	q := s.start(t, s.options())
	at := func(position int64, off time.Duration) string {
		return "at=" + testkit.Began.Add(time.Duration(position-1)*time.Second+off).Format(time.RFC3339Nano)
	}
	for query, want := range map[string]struct {
		position int64
		final    bool
	}{
		"":                            {2, false},
		"at_position=1":               {1, true},
		"at_position=2":               {2, true},
		"at_position=" + token(1):     {1, true},
		at(1, 0):                      {1, true},
		"at_position=0":               {0, true},
		at(1, -time.Microsecond):      {0, true},
		at(2, -time.Microsecond):      {1, true},
		at(2, 0):                      {2, true},
		at(2, time.Microsecond):       {2, false},
		at(1, 1000*1000*time.Hour/24): {2, false},
	} {
		var got page
		q.get(t, "/v2/namespaces/ns/configs/a/history?"+query).into(t, &got)
		if got.Position != want.position || got.Final != want.final || len(got.Items) != int(want.position) {
			t.Errorf("%s: position %d, final %v, %d events; want %v", query, got.Position, got.Final, len(got.Items), want)
		}
		q.get(t, "/v2/audit?"+query).into(t, &got)
		if got.Position != want.position || got.Final != want.final || len(got.Items) != int(want.position) {
			t.Errorf("audit with %s: position %d, final %v, %d events; want %v", query, got.Position, got.Final, len(got.Items), want)
		}
	}
	must(t, q.get(t, "/v2/namespaces/ns/configs/a?wait=1ms&at_position=3").is(http.StatusServiceUnavailable))
	must(t, q.get(t, "/v2/namespaces/ns/configs/a?at_position="+anotherLog+":1").is(http.StatusPreconditionFailed))
	must(t, q.get(t, "/v2/namespaces/ns/configs/a?at_position="+anotherLog+":1&min_position="+token(1)).is(http.StatusPreconditionFailed))
}

// A diff of two instants, each a time or a position, tells what differs and all
// that happened in between.
func TestDiff(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var log testkit.Log
	for _, set := range [][]config.Change{
		{{Op: config.Set, Name: "changed", Value: config.Value(`1`)}, {Op: config.Set, Name: "removed", Value: config.Value(`1`)}},
		{{Op: config.Set, Name: "same", Value: config.Value(`1`)}},
		{{Op: config.Set, Name: "added", Value: config.Value(`2`)}, {Op: config.Set, Name: "changed", Value: config.Value(`2`)}, {Op: config.Delete, Name: "removed"}},
		{{Op: config.Set, Name: "same", Value: config.Value(`2`)}, {Op: config.Set, Name: "gone-again", Value: config.Value(`1`)}},
		{{Op: config.Set, Name: "same", Value: config.Value(`1`)}, {Op: config.Delete, Name: "gone-again"}},
	} {
		s.write(t, log.Append(t, config.ChangeSet{Namespace: "ns", Changes: set}))
	}
	q := s.start(t, s.options())
	type change struct {
		Name   string       `json:"name"`
		Change string       `json:"change"`
		Old    config.Value `json:"old_value"`
		New    config.Value `json:"new_value"`
		Was    int64        `json:"old_version"`
		Is     int64        `json:"new_version"`
	}
	type answer struct {
		From      int64    `json:"from_position"`
		To        int64    `json:"to_position"`
		Position  int64    `json:"position"`
		Truncated bool     `json:"events_truncated"`
		Final     bool     `json:"final"`
		Changes   []change `json:"changes"`
		Events    []item   `json:"events"`
	}
	none := config.Value("null")
	want := []change{
		{"added", "added", none, config.Value("2"), 0, 1},
		{"changed", "changed", config.Value("1"), config.Value("2"), 1, 2},
		{"removed", "removed", config.Value("1"), none, 1, 2},
	}
	end := int64(len(log.Events))
	instant := func(position int64) string {
		return testkit.Began.Add(time.Duration(position-1) * time.Second).Format(time.RFC3339Nano)
	}
	for query, final := range map[string]bool{
		"from=3":                                       false,
		"from=3&to=" + fmt.Sprint(end):                 true,
		"from=" + token(3) + "&to=" + token(end):       true,
		"from=" + instant(3) + "&to=" + instant(end):   true,
		"from=" + instant(3) + "&to=" + instant(end+5): false,
		"from=3&wait=10s&min_position=" + token(end):   false,
	} {
		var got answer
		q.get(t, "/v2/namespaces/ns/diff?"+query).into(t, &got)
		if got.From != 3 || got.To != end || got.Position != end || got.Final != final || got.Truncated || len(got.Events) != int(end)-3 {
			t.Errorf("%s: %+v", query, got)
		}
		for i, e := range got.Events {
			if e.Position != int64(4+i) {
				t.Errorf("%s: event %d is %d", query, i, e.Position)
			}
		}
		if diff := gocmp.Diff(want, got.Changes); diff != "" {
			t.Errorf("%s: changes (-want +got):\n%s", query, diff)
		}
	}
	for query, status := range map[string]int{
		"":                          http.StatusBadRequest,
		"from=x":                    http.StatusBadRequest,
		"from=1&to=x":               http.StatusBadRequest,
		"from=5&to=3":               http.StatusBadRequest,
		"from=1&limit=x&wait=-1s":   http.StatusBadRequest,
		"from=" + anotherLog + ":1": http.StatusPreconditionFailed,
		"from=" + anotherLog + ":1&min_position=" + token(1): http.StatusPreconditionFailed,
		"from=1&wait=1ms&to=" + token(end+1):                 http.StatusServiceUnavailable,
	} {
		if err := q.get(t, "/v2/namespaces/ns/diff?"+query).is(status); err != nil {
			t.Errorf("%s: %v", query, err)
		}
	}
}

// The program ends at once when it is asked to, also with open watches.
func TestProgram(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var log testkit.Log
	s.write(t, log.Set(t, "ns", "a", `1`))
	out := new(logBuffer)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- query.Run(ctx, []string{"--listen", "127.0.0.1:0", "--nats-url", s.nats.URL}, []string{"DATABASE_URL=" + s.database}, out)
	}()
	q := &running{log: out}
	testkit.Eventually(t, func() error {
		found := regexp.MustCompile(`"listen":"([^"]+)"`).FindStringSubmatch(out.String())
		if found == nil {
			return errors.New("it has not started:\n" + out.String())
		}
		q.url = "http://" + found[1]
		return q.get(t, "/readyz").is(http.StatusOK)
	})
	w := q.watch(t, "ns", "from_position=0")
	w.wantBookmark(0)
	w.wantChanges(log.Events, in("ns"))
	for _, document := range []string{"/openapi.yaml", "/asyncapi.yaml"} {
		must(t, q.get(t, document).is(http.StatusOK))
	}
	stopping := time.Now()
	stop()
	w.wantDropped(1, "the service is stopping: connect again")
	must(t, <-ended)
	if took := time.Since(stopping); took > 10*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	if err := query.Run(t.Context(), nil, nil, out); err == nil {
		t.Error("it runs without a database")
	}
	for _, o := range []query.Options{
		{Database: service.DatabaseOptions{URL: "postgres://%"}, NATS: s.options().NATS},
		{Database: s.options().Database, NATS: service.NATSOptions{URL: "nats://a b:x"}},
	} {
		if _, err := query.New(t.Context(), o, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("New accepts %+v", o)
		}
	}
}
