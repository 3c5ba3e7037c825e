package config_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/config-api/config-api/shared/config"
)

func TestNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", config.MaxNameLength)
	for name, ok := range map[string]bool{
		"a": true, "db.pool.size": true, "A-b_9": true, long: true,
		"": false, long + "a": false, ".": false, "a.": false, ".a": false, "a..b": false,
		"a b": false, "a*": false, "a>": false, "é": false, "a\x00": false, "$a": false,
	} {
		if err := config.CheckName(name); (err == nil) != ok {
			t.Errorf("CheckName(%q) = %v, want ok = %v", name, err, ok)
		}
	}
	for name, ok := range map[string]bool{
		strings.Repeat("a", 100): true, strings.Repeat("a", 101): false, "a.b": false, "": false, "a_b-C": true,
	} {
		if err := config.CheckNameV1(name); (err == nil) != ok {
			t.Errorf("CheckNameV1(%q) = %v, want ok = %v", name, err, ok)
		}
	}
	for ns, ok := range map[string]bool{
		"default": true, "a": true, "a-b": true, "0": true, strings.Repeat("a", 63): true,
		"": false, "-a": false, "a-": false, "A": false, "a.b": false, strings.Repeat("a", 64): false,
	} {
		if err := config.CheckNamespace(ns); (err == nil) != ok {
			t.Errorf("CheckNamespace(%q) = %v, want ok = %v", ns, err, ok)
		}
	}
}

func TestParseValue(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		` "x" `:                  `"x"`,
		`{"a" : [1, 2.50, 1e3]}`: `{"a":[1,2.50,1e3]}`,
		`12345678901234567890.5`: `12345678901234567890.5`,
		`null`:                   `null`,
		`"<&>\ud83d\ude00"`:      `"<&>\ud83d\ude00"`,
		`"\\u0000"`:              `"\\u0000"`, // an escaped backslash, not NUL
	} {
		got, err := config.ParseValue([]byte(raw))
		if err != nil || string(got) != want {
			t.Errorf("ParseValue(%s) = %s, %v; want %s", raw, got, err, want)
		}
	}
	for name, raw := range map[string]string{
		"empty": ``, "two values": `1 2`, "truncated": `{"a":`, "comma": `[1,]`, "bare": `x`, "trailing": `{} x`,
		"NUL": `"\u0000"`, "high surrogate": `"\ud800"`, "low surrogate": `"\uDC00"`, "swapped": `"\ude00\ud83d"`,
		"invalid UTF-8": "\"\xff\"", "member twice": `{"a":{"b":1,"b":2}}`, "unclosed": `[1`, "key": `{1:2}`,
	} {
		if _, err := config.ParseValue([]byte(raw)); config.CodeOf(err) != config.Invalid {
			t.Errorf("%s: ParseValue(%q) = %v, want %s", name, raw, err, config.Invalid)
		}
	}
}

func TestMemberTwiceIsNamed(t *testing.T) {
	t.Parallel()
	var e *config.Error
	if err := config.CheckJSON([]byte(`{"list":[{"a/b":1,"a/b":2}]}`)); !errors.As(err, &e) || len(e.Faults) != 1 || e.Faults[0].Pointer != "/list/0/a~1b" {
		t.Errorf("CheckJSON = %+v, want a fault at /list/0/a~1b", e)
	}
}

func TestValueLimits(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes long: make test-all runs it")
	}
	most := strings.Repeat("é", config.MaxStringLength)
	if v, err := config.StringValue(most); err != nil || v.Text() != most {
		t.Errorf("a string of %d characters: %v", config.MaxStringLength, err)
	}
	if _, err := config.StringValue(most + "x"); config.CodeOf(err) != config.TooLarge {
		t.Errorf("a string that is too long: %v", err)
	}
	if _, err := config.ParseValue([]byte(`"` + most + `x"`)); config.CodeOf(err) != config.TooLarge {
		t.Errorf("a JSON string that is too long: %v", err)
	}
	array := func(n int) []byte { return []byte("[" + strings.Repeat("1", n-2) + "]") }
	if _, err := config.ParseValue(array(config.MaxValueSize)); err != nil {
		t.Errorf("a value of %d bytes: %v", config.MaxValueSize, err)
	}
	if _, err := config.ParseValue(array(config.MaxValueSize + 1)); config.CodeOf(err) != config.TooLarge {
		t.Errorf("a value that is too large: %v", err)
	}
	for _, s := range []string{"a\x00b", "\xff"} {
		if _, err := config.StringValue(s); config.CodeOf(err) != config.Invalid {
			t.Errorf("StringValue(%q) = %v", s, err)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{`"a\nb"`: "a\nb", `"plain"`: "plain", `{"a":1}`: `{"a":1}`, `""`: "", `7`: "7"} {
		if got := config.Value(value).Text(); got != want {
			t.Errorf("Text of %s = %q, want %q", value, got, want)
		}
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	for _, want := range []config.Token{{Epoch: "0191f3a2-0000-7000-8000-000000000000", Position: 42}, {}} {
		if got, err := config.ParseToken(want.String()); err != nil || got != want {
			t.Errorf("ParseToken = %v, %v; want %v", got, err, want)
		}
	}
	for _, s := range []string{"", "42", ":42", "e:", "e:-1", "e:x", "e:1:2"} {
		if _, err := config.ParseToken(s); config.CodeOf(err) != config.Invalid {
			t.Errorf("ParseToken(%q) = %v", s, err)
		}
	}
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"a", "a.b", "a..b", "é", "a>", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if config.CheckName(name) != nil {
			return
		}
		if strings.ContainsAny(name, " *>\t\r\n\x00\"\\") || strings.HasPrefix(name, ".") ||
			strings.HasSuffix(name, ".") || strings.Contains(name, "..") || len(name) > config.MaxNameLength {
			t.Errorf("%q is no valid NATS subject and JSON string, but passed", name)
		}
	})
}

// Whatever JSON comes in, a value that is accepted is the same value to
// encoding/json before and after, survives an event, and holds nothing that
// Postgres text can't.
func FuzzValueThroughEvent(f *testing.F) {
	for _, s := range []string{`"x"`, `{"a":[1,2.50]}`, `null`, `"\ud83d\ude00"`, `"\u0000"`, `"\ud800"`, `{"a":1,"a":2}`, `-0`, `1e999`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := config.ParseValue(raw)
		if err != nil {
			return
		}
		if !utf8.Valid(v) || !json.Valid(v) {
			t.Fatalf("%q became %q", raw, v)
		}
		set := config.ChangeSet{Namespace: "ns", Changes: []config.Change{{Op: config.Set, Name: "n", Value: v}}}
		events, err := config.Decide(&set, config.Present{State: func(string) config.State { return config.State{} }})
		if err != nil {
			t.Fatal(err)
		}
		p, err := events[0].Payload()
		if err != nil {
			t.Fatalf("payload of %s: %v", events[0].Data, err)
		}
		if diff := cmp.Diff(string(v), string(p.Value)); diff != "" {
			t.Errorf("value through an event (-want +got):\n%s", diff)
		}
		if s, ok := v.AsString(); ok && strings.IndexByte(s, 0) >= 0 {
			t.Errorf("%q contains NUL", s)
		}
	})
}
