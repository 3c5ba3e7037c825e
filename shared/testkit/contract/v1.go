// Package contract holds what the HTTP interface promises, as tests that run
// against any Config API: the parts of configd in one process, a configd, or
// the containers. Each run uses names of its own, so that it can be repeated on
// one system.
package contract

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/config-api/config-api/shared/config"
)

// API is a running Config API.
type API struct {
	URL string
	id  string // part of every name of this run
}

// New returns the API at a base URL.
func New(url string) API {
	return API{URL: strings.TrimSuffix(url, "/"), id: uuid.NewString()[:8]}
}

// name makes a name of this run.
func (a API) name(s string) string { return s + "-" + a.id }

// Answer is what the API answered.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Do sends a request and holds the answer against the OpenAPI document; headers
// are pairs of name and value.
func (a API) Do(t testing.TB, method, path, body string, headers ...string) Answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, a.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	got := Answer{response.StatusCode, response.Header, string(text)}
	got.check(t, request)
	return got
}

// do sends a request of v1. A write that says it could not wait for its readers
// within its second is answered as promised: on a busy machine a test waits, as a
// client would.
func (a API) do(t testing.TB, method, path, body string) Answer {
	t.Helper()
	got := a.Do(t, method, path, body)
	if got.Header.Get("Config-Applied") == "false" {
		for _, path := range []string{"/v2/namespaces/default/configs?limit=1&", "/v2/namespaces/default/configs/x/history?"} { // memory, tables
			a.Do(t, "GET", path+"wait="+patience+"&min_position="+got.Header.Get("Config-Position"), "").is(t, 200)
		}
	}
	return got
}

// check fails the test when the answer is not one of the OpenAPI document.
func (g Answer) check(t testing.TB, request *http.Request) {
	t.Helper()
	documented, err := theDocument()
	if err != nil {
		t.Fatalf("the OpenAPI document: %v", err)
	}
	if err := documented.check(request, g); err != nil {
		t.Errorf("%s %s answered %d %.300q, which is not as documented: %v", request.Method, request.URL.Path, g.Status, g.Body, err)
	}
}

// want fails the test unless the answer is this one.
func (g Answer) want(t testing.TB, status int, body string) Answer {
	t.Helper()
	if g.Status != status || g.Body != body {
		t.Errorf("answered %d %.200q, want %d %.200q", g.Status, g.Body, status, body)
	}
	return g
}

func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always can be
	}
	return string(text)
}

// V1 runs the v1 contract, with and without the version in the path. Limits has
// what is large.
func V1(t *testing.T, a API) {
	for _, prefix := range []string{"/v1", ""} {
		t.Run("routes"+strings.ReplaceAll(prefix, "/", "_"), func(t *testing.T) {
			t.Parallel()
			b := a
			b.id += strings.TrimPrefix(prefix, "/")
			t.Run("set, get, delete", func(t *testing.T) { t.Parallel(); setGetDelete(t, b, prefix) })
			t.Run("values", func(t *testing.T) { t.Parallel(); values(t, b, prefix) })
			t.Run("refusals", func(t *testing.T) { t.Parallel(); refusals(t, b, prefix) })
			t.Run("list", func(t *testing.T) { t.Parallel(); list(t, b, prefix) })
			t.Run("history", func(t *testing.T) { t.Parallel(); history(t, b, prefix) })
			t.Run("time travel", func(t *testing.T) { t.Parallel(); timeTravel(t, b, prefix) })
			t.Run("health", func(t *testing.T) { t.Parallel(); health(t, b, prefix) })
			t.Run("undefined routes", func(t *testing.T) { t.Parallel(); undefined(t, b, prefix) })
			t.Run("read after write", func(t *testing.T) { t.Parallel(); readAfterWrite(t, b, prefix) })
		})
	}
}

func setGetDelete(t *testing.T, a API, prefix string) {
	path := prefix + "/config/" + a.name("life")
	a.do(t, "GET", path, "").want(t, 404, "Not Found")
	a.do(t, "DELETE", path, "").want(t, 404, "Not Found")
	put := a.do(t, "PUT", path, `{"value":"one"}`).want(t, 200, "OK")
	if _, err := config.ParseToken(put.Header.Get("Config-Position")); err != nil {
		t.Errorf("Config-Position of a write: %v", err)
	}
	got := a.do(t, "GET", path, "").want(t, 200, "one")
	if got.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("Content-Type = %q", got.Header.Get("Content-Type"))
	}
	if deprecated := got.Header.Get("Deprecation") != ""; deprecated != (prefix == "") {
		t.Errorf("Deprecation = %q", got.Header.Get("Deprecation"))
	}
	a.do(t, "PUT", path, `{"value":"one"}`).want(t, 200, "OK") // the same value again
	a.do(t, "DELETE", path, "").want(t, 200, "OK")
	a.do(t, "GET", path, "").want(t, 404, "Not Found")
	a.do(t, "DELETE", path, "").want(t, 410, "Gone")
	a.do(t, "PUT", path, `{"value":"back"}`).want(t, 200, "OK")
	a.do(t, "GET", path, "").want(t, 200, "back")
}

// values come back byte for byte.
func values(t *testing.T, a API, prefix string) {
	path := prefix + "/config/" + a.name("value")
	for _, value := range []string{
		"", " ", "line\nbreak\ttab", `quotes " and \ and /`, "<b>&amp;</b>", "ünïcödé 😀 \u2028", `{"json": "text"}`, "null", "0",
		strings.Repeat("x", 10_000),
	} {
		a.do(t, "PUT", path, `{"value":`+quote(value)+`}`).want(t, 200, "OK")
		a.do(t, "GET", path, "").want(t, 200, value)
	}
	a.do(t, "PUT", path, `{"value":"\ud83d\ude00\u00e9\/"}`).want(t, 200, "OK")
	a.do(t, "GET", path, "").want(t, 200, "😀é/")
	a.do(t, "PUT", path, ` { "other" : 1, "value" : "spaced" } `).want(t, 200, "OK")
	a.do(t, "GET", path, "").want(t, 200, "spaced")
}

// refusals leave no event.
func refusals(t *testing.T, a API, prefix string) {
	name := a.name("refused")
	path := prefix + "/config/" + name
	for what, body := range map[string]string{
		"no body": ``, "no JSON": `value`, "truncated": `{"value":"x"`, "array": `["x"]`, "string": `"x"`, "null": `null`,
		"no value": `{}`, "number": `{"value":1}`, "value null": `{"value":null}`, "object": `{"value":{}}`, "two objects": `{"value":"x"}{}`,
		"NUL": `{"value":"a\u0000b"}`, "high surrogate": `{"value":"\ud800"}`, "low surrogate": `{"value":"\udc00x"}`,
		"invalid UTF-8": "{\"value\":\"\xff\"}", "value twice": `{"value":"a","value":"b"}`,
	} {
		if got := a.do(t, "PUT", path, body); got.Status != 400 || !strings.Contains(got.Body, `"value"`) || !strings.HasPrefix(got.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s: answered %d %q (%s), want 400 and a text that says what was expected", what, got.Status, got.Body, got.Header.Get("Content-Type"))
		}
	}
	for _, bad := range []string{"a.b", "a%20b", "a%2Fb", "%00", "%C3%A9", "a*", "a%3Eb", strings.Repeat("x", 101), "%24schema"} {
		for _, request := range [][2]string{{"GET", ""}, {"PUT", `{"value":"x"}`}, {"DELETE", ""}} {
			if got := a.do(t, request[0], prefix+"/config/"+bad, request[1]); got.Status != 400 {
				t.Errorf("%s of name %q: %d %q, want 400", request[0], bad, got.Status, got.Body)
			}
		}
		for _, sub := range []string{"/history", "/at/2026-01-01T00:00:00Z"} {
			if got := a.do(t, "GET", prefix+"/config/"+bad+sub, ""); got.Status != 400 {
				t.Errorf("GET of %q%s: %d %q, want 400", bad, sub, got.Status, got.Body)
			}
		}
	}
	a.do(t, "GET", path, "").want(t, 404, "Not Found")
	a.do(t, "GET", path+"/history", "").want(t, 200, "[]\n")
}

func list(t *testing.T, a API, prefix string) {
	names := []string{a.name("list-B"), a.name("list-a"), a.name("list-c"), a.name("list_z")}
	for _, name := range names {
		a.do(t, "PUT", prefix+"/config/"+name, `{"value":`+quote("of "+name)+`}`).want(t, 200, "OK")
	}
	a.do(t, "DELETE", prefix+"/config/"+names[2], "").want(t, 200, "OK")
	got := a.do(t, "GET", prefix+"/config", "")
	var all, mine []struct{ Name, Value string }
	if err := json.Unmarshal([]byte(got.Body), &all); err != nil || got.Status != 200 || !strings.HasPrefix(got.Header.Get("Content-Type"), "application/json") {
		t.Fatalf("answered %d %s: %v", got.Status, got.Header.Get("Content-Type"), err)
	}
	for i, item := range all {
		if i > 0 && all[i-1].Name >= item.Name {
			t.Errorf("%q comes before %q", all[i-1].Name, item.Name)
		}
		if strings.HasPrefix(item.Name, "list") && strings.HasSuffix(item.Name, a.id) {
			mine = append(mine, item)
		}
	}
	want := []struct{ Name, Value string }{{names[0], "of " + names[0]}, {names[1], "of " + names[1]}, {names[3], "of " + names[3]}}
	if diff := cmp.Diff(want, mine); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
}

func history(t *testing.T, a API, prefix string) {
	name := a.name("history")
	path := prefix + "/config/" + name
	a.do(t, "GET", path+"/history", "").want(t, 200, "[]\n")
	a.do(t, "PUT", path, `{"value":"one"}`).want(t, 200, "OK")
	a.do(t, "PUT", path, `{"value":""}`).want(t, 200, "OK")
	a.do(t, "DELETE", path, "").want(t, 200, "OK")
	a.do(t, "PUT", path, `{"value":"two"}`).want(t, 200, "OK")
	got := a.do(t, "GET", path+"/history", "")
	var events []struct {
		EventType     string         `json:"event_type"`
		Data          map[string]any `json:"data"`
		Metadata      map[string]any `json:"metadata"`
		CreatedAt     time.Time      `json:"created_at"`
		StreamVersion int            `json:"stream_version"`
	}
	if err := json.Unmarshal([]byte(got.Body), &events); err != nil || got.Status != 200 {
		t.Fatalf("answered %d %q: %v", got.Status, got.Body, err)
	}
	want := []struct {
		event string
		data  map[string]any
	}{
		{"ConfigValueSet", map[string]any{"config_name": name, "value": "one", "old_value": nil}},
		{"ConfigValueSet", map[string]any{"config_name": name, "value": "", "old_value": "one"}},
		{"ConfigValueDeleted", map[string]any{"config_name": name, "deleted_value": ""}},
		{"ConfigValueSet", map[string]any{"config_name": name, "value": "two", "old_value": nil}},
	}
	if len(events) != len(want) {
		t.Fatalf("%d events, want %d: %s", len(events), len(want), got.Body)
	}
	for i, e := range events {
		stamp, err := time.Parse(time.RFC3339Nano, e.Data["timestamp"].(string))
		if err != nil || !stamp.Equal(e.CreatedAt) {
			t.Errorf("event %d: timestamp %v, created_at %v, %v", i, e.Data["timestamp"], e.CreatedAt, err)
		}
		delete(e.Data, "timestamp")
		if e.EventType != want[i].event || e.StreamVersion != i+1 || e.Metadata == nil {
			t.Errorf("event %d is %s, version %d, metadata %v", i, e.EventType, e.StreamVersion, e.Metadata)
		}
		if diff := cmp.Diff(want[i].data, e.Data); diff != "" {
			t.Errorf("data of event %d (-want +got):\n%s", i, diff)
		}
	}
}

func timeTravel(t *testing.T, a API, prefix string) {
	path := prefix + "/config/" + a.name("travel")
	for _, body := range []string{`{"value":"one"}`, `{"value":"two"}`} {
		a.do(t, "PUT", path, body).want(t, 200, "OK")
	}
	a.do(t, "DELETE", path, "").want(t, 200, "OK")
	var events []struct {
		CreatedAt time.Time `json:"created_at"`
	}
	if err := json.Unmarshal([]byte(a.do(t, "GET", path+"/history", "").Body), &events); err != nil || len(events) != 3 {
		t.Fatalf("history: %d events, %v", len(events), err)
	}
	at := func(instant time.Time, layout string) Answer {
		return a.do(t, "GET", path+"/at/"+strings.ReplaceAll(instant.Format(layout), "+", "%2B"), "")
	}
	zone := time.FixedZone("", 5*3600+1800)
	at(events[0].CreatedAt.Add(-time.Microsecond), time.RFC3339Nano).want(t, 404, "Not Found")
	at(events[0].CreatedAt, time.RFC3339Nano).want(t, 200, "one")
	at(events[1].CreatedAt.Add(-time.Microsecond), time.RFC3339Nano).want(t, 200, "one")
	at(events[1].CreatedAt.In(zone), time.RFC3339Nano).want(t, 200, "two")
	at(events[2].CreatedAt, time.RFC3339Nano).want(t, 404, "Not Found")
	at(time.Now().Add(time.Hour), time.RFC3339).want(t, 404, "Not Found")
	a.do(t, "PUT", path, `{"value":"now"}`).want(t, 200, "OK")
	at(time.Now().Add(24*time.Hour), time.RFC3339).want(t, 200, "now")
	for _, bad := range []string{"yesterday", "2026-11-23", "2026-11-23T08:00:00", "1700000000", "2026-13-01T00:00:00Z"} {
		if got := a.do(t, "GET", path+"/at/"+bad, ""); got.Status != 400 || !strings.HasPrefix(got.Body, "Invalid timestamp format") {
			t.Errorf("at %q: %d %q", bad, got.Status, got.Body)
		}
	}
	a.do(t, "GET", prefix+"/config/"+a.name("never")+"/at/2026-01-01T00:00:00Z", "").want(t, 404, "Not Found")
}

func health(t *testing.T, a API, prefix string) {
	got := a.do(t, "GET", prefix+"/health", "")
	var body struct {
		Status    string
		Timestamp time.Time
		Checks    map[string]string
	}
	if err := json.Unmarshal([]byte(got.Body), &body); err != nil || got.Status != 200 || body.Status != "healthy" || body.Timestamp.IsZero() {
		t.Errorf("answered %d %q: %v", got.Status, got.Body, err)
	}
	want := map[string]string{"eventstore": "ok", "projection": "ok", "database": "ok"}
	if diff := cmp.Diff(want, body.Checks); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
}

func undefined(t *testing.T, a API, prefix string) {
	for _, request := range [][2]string{
		{"GET", "/nothing"},
		{"POST", "/config/x"},
		{"PUT", "/config"},
		{"DELETE", "/config"},
		{"GET", "/config/x/nothing"},
		{"GET", "/config/x/at"},
		{"GET", "/config/x/at/y/z"},
		{"PUT", "/config/x/history"},
	} {
		if got := a.do(t, request[0], prefix+request[1], `{"value":"x"}`); got.Status != 404 || got.Body != "Not Found" {
			t.Errorf("%s %s: %d %q, want 404 Not Found", request[0], request[1], got.Status, got.Body)
		}
	}
}

// A read directly after a write shows it, on every route.
func readAfterWrite(t *testing.T, a API, prefix string) {
	path := prefix + "/config/" + a.name("fresh")
	for i := range 20 {
		value := strings.Repeat("v", i+1)
		put := a.do(t, "PUT", path, `{"value":"`+value+`"}`).want(t, 200, "OK")
		if put.Header.Get("Config-Applied") != "" {
			t.Errorf("write %d was not applied within a second", i)
			continue
		}
		a.do(t, "GET", path, "").want(t, 200, value)
		if got := a.do(t, "GET", path+"/history", ""); strings.Count(got.Body, `"event_type"`) != i+1 {
			t.Errorf("history after write %d has %d events", i+1, strings.Count(got.Body, `"event_type"`))
		}
		a.do(t, "GET", path+"/at/"+time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "").want(t, 200, value)
	}
}
