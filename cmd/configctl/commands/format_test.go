package commands

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/config-api/config-api/shared/config"
)

// What is written in a format and read again is the same, whatever the values are.
func TestFormatsRoundTrip(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(
		rapid.String(), rapid.StringMatching(`[ \t\n\r\\"'$#=:!a-z0-9{}\[\],&*%@|>?-]{0,12}`),
		rapid.SampledFrom([]string{"", "30", "true", "null", "~", "yes", "1e3", "0x1f", "2026-11-24", `"quoted"`, "a\n b\n", "\n", " x ", "a: b", "- a", "<<", "é\u2028\ufeff", "\U0001f600"}),
	).Filter(func(s string) bool { _, err := config.StringValue(s); return err == nil })
	number := rapid.SampledFrom([]string{"0", "-0", "1.0", "1e400", "123456789012345678901234567890", "0.1", "-1.5E-3", "9007199254740993"})
	quoted := func(s string) string {
		v, err := config.StringValue(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(v)
	}
	scalar := rapid.OneOf(rapid.Map(text, quoted), number, rapid.SampledFrom([]string{"true", "false", "null"}))
	value := rapid.OneOf(scalar,
		rapid.Map(rapid.SliceOfN(scalar, 0, 3), func(items []string) string { return "[" + strings.Join(items, ",") + "]" }),
		rapid.Map(rapid.MapOfN(text, scalar, 0, 3), func(members map[string]string) string {
			var b []string
			for name, v := range members {
				b = append(b, quoted(name)+":"+v)
			}
			return "{" + strings.Join(b, ",") + "}"
		}))
	for name, format := range fileFormats {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				var entries []entry
				for i, raw := range rapid.SliceOfN(value, 0, 3).Draw(t, "values") {
					v, err := config.ParseValue([]byte(raw))
					if err != nil {
						t.Fatal(err)
					}
					entries = append(entries, entry{fmt.Sprint("a.b-", i), v})
				}
				var file bytes.Buffer
				if err := format.write(&file, entries); err != nil {
					t.Fatal(err)
				}
				got, err := format.read(file.String())
				if err != nil || len(got) != len(entries) {
					t.Fatalf("%d entries, %v, want %d, of\n%s", len(got), err, len(entries), &file)
				}
				for i, e := range entries {
					if got[i].name != e.name || canonical(got[i].value) != canonical(e.value) {
						t.Fatalf("%s is %s, want %s, of\n%s", got[i].name, got[i].value, e.value, &file)
					}
				}
			})
		})
	}
}

func TestReadFiles(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ format, text, want, err string }{
		{format: "yaml", text: "a: 1\nb: [x, ~, 1.50]\nc: &c {on: yes}\nd: *c\ne: 2026-11-24\n", want: `{"a":1,"b":["x",null,1.50],"c":{"on":"yes"},"d":{"on":"yes"},"e":"2026-11-24"}`},
		{format: "yaml", text: "# nothing\n", want: `{}`},
		{format: "yaml", text: "a: 1\na: 2\n", err: "line 2: a is there twice"},
		{format: "yaml", text: "a: {b: 1, b: 2}\n", err: "b is there twice"},
		{format: "yaml", text: "a: 0x1F\n", err: "write the number 0x1F as JSON does"},
		{format: "yaml", text: "a: .inf\n", err: "write the number"},
		{format: "yaml", text: "a: !!binary aGk=\n", err: "can't be of type !!binary"},
		{format: "yaml", text: "- a\n", err: "must be one mapping"},
		{format: "yaml", text: "a: 1\n---\nb: 1\n", err: "more than one document"},
		{format: "yaml", text: "a b: 1\n", err: `name "a b"`},
		{format: "yaml", text: "x: &x {a: 1}\ny:\n  <<: *x\n", err: "must be a plain text"},
		{format: "yaml", text: "a: &a [*a]\n", err: "contains itself"},
		{format: "yaml", text: "a: \"\\0\"\n", err: "NUL"},
		{format: "json", text: `{"b":{"x":1},"a":"t"}`, want: `{"a":"t","b":{"x":1}}`},
		{format: "json", text: `{"a":1,"a":2}`, err: "a"},
		{format: "json", text: `[1]`, err: "must be one object"},
		{format: "env", text: "# c\n\nexport A=30\nB=\"30\"\nC='{\"on\":true}' # c\nd.e = plain text # c\nF=\nG=\"a\\n\\$b\\\"\"\n", want: `{"A":30,"B":"30","C":{"on":true},"F":"","G":"a\n$b\"","d.e":"plain text"}`},
		{format: "env", text: "A", err: "line 1: it is not NAME=value"},
		{format: "env", text: "A=\"x", err: "not closed"},
		{format: "env", text: "A='x", err: "not closed"},
		{format: "env", text: "A=\"x\" y", err: "follows the closing quote"},
		{format: "env", text: "A='x' y", err: "follows the closing quote"},
		{format: "env", text: `A="\q"`, err: `\q means nothing`},
		{format: "env", text: `A="\`, err: "not closed"},
		{format: "env", text: "A=1\nA=2", err: "A is there twice"},
		{format: "properties", text: "# c\n! c\n a = 30\nb:x\\\n   y\r\nc d\\u00e9\\ud83d\\ude00\ne\nf=\\ \\t\\q\n", want: `{"a":30,"b":"xy","c":"dé😀","e":"","f":" \tq"}`},
		{format: "properties", text: "a=\\u12", err: "four hexadecimal digits"},
		{format: "properties", text: "a=\\ud83d\\uzzzz", err: "four hexadecimal digits"},
		{format: "properties", text: "a\\", err: `name`},
	} {
		got, err := fileFormats[test.format].read(test.text)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s %q: %v, want %q", test.format, test.text, err, test.err)
			}
			continue
		}
		if err != nil || string(object(got)) != test.want {
			t.Errorf("%s %q is %s, %v; want %s", test.format, test.text, object(got), err, test.want)
		}
	}
}

func TestParseValue(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"hello": `"hello"`, "30": "30", "true": "true", `"30"`: `"30"`, `{"a": 1}`: `{"a":1}`, "": `""`, "1.10": "1.10", "null": "null", "{a": `"{a"`,
	} {
		if got, err := parseValue(text, false); err != nil || string(got) != want {
			t.Errorf("%q is %s, %v; want %s", text, got, err, want)
		}
		var s string
		got, err := parseValue(text, true)
		if err != nil || json.Unmarshal(got, &s) != nil || s != text {
			t.Errorf("%q as a text is %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"\xff", "a\x00", `{"a":1,"a":2}`} {
		if got, err := parseValue(text, false); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
}
