package config

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The members are those that encoding/json finds. The last of equal ones counts.
func FuzzEachMember(f *testing.F) {
	for _, text := range []string{
		`{}`, ` { } `, `null`, `[1,{"a":2}]`, `"{"`, `{"config_name":"a","value":{"n":[1,"}",{}]},"old_value":null}`,
		"{ \"a\" :\t1.50 , \"b\" : \"x\\\"y,}\" ,\"a\":[ ] }", `{"":"","é":"\\"}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			t.Skip("not JSON")
		}
		found, decoded := map[string]string{}, map[string]json.RawMessage{}
		eachMember([]byte(text), func(name, value []byte) {
			var s string
			if err := json.Unmarshal([]byte(`"`+string(name)+`"`), &s); err != nil {
				t.Fatalf("name %q: %v", name, err)
			}
			found[s] = string(value)
		})
		want := map[string]string{}
		if json.Unmarshal([]byte(text), &decoded) == nil {
			for name, value := range decoded {
				want[name] = string(value)
			}
		}
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("members (-want +got):\n%s", diff)
		}
	})
}
