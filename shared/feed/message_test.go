package feed_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/testkit"
)

// goldenEvent is the event of testdata/message.json. Its positions are larger
// than what a 64-bit float holds, and its data has what JSON encoders like to
// escape.
func goldenEvent() config.Event {
	return config.Event{
		Position: 1<<53 + 1, Namespace: "payments", Name: "db.pool.size", Version: 7,
		ID: "0191f3a2-0000-7000-8000-00000000000a", Type: config.ValueSet, SchemaVersion: 1, Commit: 1<<53 + 2,
		CommandID: "0191f3a2-0000-7000-8000-00000000000b", Actor: "ann <ann@example.org>", Reason: "more load & more users",
		CorrelationID: "release-7", RequestID: "r-1", RecordedAt: time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC),
		Data: []byte(`{"config_name":"db.pool.size","value":{"n":1.50,"of":"<a&b>","big":12345678901234567890},"old_value":null}`),
		Hash: config.Hash{0xab, 1, 2, 3},
	}
}

// The message of an event is part of the contract with subscribers: whoever
// changes this file breaks them.
func TestGoldenMessage(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("testdata/message.json")
	if err != nil {
		t.Fatal(err)
	}
	e := goldenEvent()
	msg, err := feed.Encode(&e, testkit.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(msg.Data, want) {
		t.Errorf("body:\n%s\nwant:\n%s", msg.Data, want)
	}
	if diff := cmp.Diff(nats.Header{
		"Content-Type":    {"application/cloudevents+json"},
		"Config-Position": {"9007199254740993"},
		"Config-Commit":   {"9007199254740994"},
		"Config-Version":  {"7"},
		"Config-Epoch":    {testkit.Epoch},
		"Config-Hash":     {"ab010203" + strings.Repeat("0", 56)},
	}, msg.Header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if want := "config.events.payments.db.pool.size"; msg.Subject != want {
		t.Errorf("subject %q, want %q", msg.Subject, want)
	}
	got, log, err := feed.Decode(msg.Data)
	if diff := cmp.Diff(e, got); err != nil || diff != "" || log != testkit.ID {
		t.Errorf("decoded with log %q, error %v (-want +got):\n%s", log, err, diff)
	}
	before, err := os.ReadFile("testdata/message-before-origin.json") // as the first release wrote it
	if err != nil {
		t.Fatal(err)
	}
	if got, log, err := feed.Decode(before); err != nil || log != testkit.ID || !cmp.Equal(e, got) {
		t.Errorf("the message of an older release reads as %+v of log %q, %v", got, log, err)
	}
}

// The body keeps the rules of CloudEvents 1.0 in structured mode:
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md.
func TestMessageIsACloudEvent(t *testing.T) {
	t.Parallel()
	e := goldenEvent()
	msg, err := feed.Encode(&e, testkit.ID)
	if err != nil {
		t.Fatal(err)
	}
	var attributes map[string]any
	decoder := json.NewDecoder(bytes.NewReader(msg.Data))
	decoder.UseNumber()
	if err := decoder.Decode(&attributes); err != nil {
		t.Fatal(err)
	}
	for _, required := range []string{"id", "source", "specversion", "type"} {
		if text, ok := attributes[required].(string); !ok || text == "" {
			t.Errorf("%s is %v, a text was expected", required, attributes[required])
		}
	}
	if attributes["specversion"] != "1.0" {
		t.Errorf("specversion is %v", attributes["specversion"])
	}
	if _, err := url.Parse(attributes["source"].(string)); err != nil {
		t.Errorf("source is not a URI reference: %v", err)
	}
	if _, err := time.Parse(time.RFC3339, attributes["time"].(string)); err != nil {
		t.Errorf("time: %v", err)
	}
	if attributes["datacontenttype"] != "application/json" {
		t.Errorf("datacontenttype is %v", attributes["datacontenttype"])
	}
	delete(attributes, "data")
	named := regexp.MustCompile(`^[a-z0-9]{1,20}$`)
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		if !named.MatchString(name) {
			t.Errorf("attribute %q: only a-z and 0-9, up to 20 of them, are allowed", name)
		}
		switch value := attributes[name].(type) {
		case string, bool:
		case json.Number:
			if n, err := value.Int64(); err != nil || n != int64(int32(n)) {
				t.Errorf("attribute %s is %v: integers have 32 bits", name, value)
			}
		default:
			t.Errorf("attribute %s is %v, which no attribute can be", name, value)
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add("default", "a", "ann", "why", "c", `"x"`, int64(1), int64(1), int64(0))
	f.Add("payments", "db.pool.size", "", "", "", `{"b":[1e400,0.10,"<&>\u2028"]}`, int64(1)<<62, int64(1)<<40, int64(-1))
	f.Fuzz(func(t *testing.T, namespace, name, actor, reason, correlation, value string, position, version, micro int64) {
		var compact bytes.Buffer
		for _, s := range []string{namespace, name, actor, reason, correlation, value} {
			if !utf8.ValidString(s) {
				t.Skip("refused when it is written")
			}
		}
		if json.Compact(&compact, []byte(value)) != nil {
			t.Skip("not JSON")
		}
		e := config.Event{
			Position: position, Namespace: namespace, Name: name, Version: version, ID: "i", Type: config.ValueSet,
			SchemaVersion: 1, Commit: position, CommandID: "c", Actor: actor, Reason: reason, CorrelationID: correlation,
			RecordedAt: time.UnixMicro(micro).UTC(), Data: []byte(`{"value":` + compact.String() + `}`),
		}
		e.Hash = e.ChainHash(config.Hash{}, testkit.Epoch)
		msg, err := feed.Encode(&e, testkit.ID)
		if y := e.RecordedAt.Year(); y < 0 || y > 9999 {
			if err == nil {
				t.Fatal("a year that RFC 3339 does not have was encoded")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		got, log, err := feed.Decode(msg.Data)
		if diff := cmp.Diff(e, got); err != nil || diff != "" || log != testkit.ID {
			t.Fatalf("decoded with log %q, error %v (-want +got):\n%s", log, err, diff)
		}
		got, log, err = feed.DecodeAny(msg.Data)
		if diff := cmp.Diff(e, got); err != nil || diff != "" || log != testkit.ID {
			t.Fatalf("decoded the slow way with log %q, error %v (-want +got):\n%s", log, err, diff)
		}
		if msg.Header.Get(feed.HeaderHash) != hex.EncodeToString(e.Hash[:]) {
			t.Fatal("the header has another hash")
		}
	})
}

func encoded(t *testing.T) string {
	t.Helper()
	e := goldenEvent()
	msg, err := feed.Encode(&e, testkit.ID)
	if err != nil {
		t.Fatal(err)
	}
	return string(msg.Data)
}

func TestDecodeRefusesWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"nothing":         ``,
		"half of one":     strings.TrimSuffix(encoded(t), "}}\n"),
		"broken data":     strings.Replace(encoded(t), `"old_value":null`, `"old_value":nul`, 1),
		"no position":     strings.Replace(encoded(t), `"position":"9007199254740993"`, `"position":"x"`, 1),
		"no time":         strings.Replace(encoded(t), `"time":"2026`, `"time":"x`, 1),
		"no JSON":         `hello`,
		"another type":    `{"position":7}`,
		"no hash":         `{"specversion":"1.0","position":"7","version":"1","commit":"7"}`,
		"a broken hash":   `{"position":"7","version":"1","commit":"7","hash":"xy"}`,
		"half of a hash":  `{"position":"7","version":"1","commit":"7","hash":"abcd"}`,
		"too long a hash": `{"position":"7","version":"1","commit":"7","hash":"` + strings.Repeat("ab", 40) + `"}`,
	} {
		if e, _, err := feed.Decode([]byte(body)); err == nil {
			t.Errorf("%s was decoded as %v", name, e)
		}
	}
}

func TestSubject(t *testing.T) {
	t.Parallel()
	for stream, want := range map[string]string{
		"a":                         "config.events.ns.a",
		"db.pool.size":              "config.events.ns.db.pool.size",
		config.SchemaStream("*"):    "config.events.ns.$schema.$any",
		config.SchemaStream("db.*"): "config.events.ns.$schema.db.$any",
	} {
		if got := feed.Subject("ns", stream); got != want {
			t.Errorf("Subject(%q) = %q, want %q", stream, got, want)
		}
	}
}
