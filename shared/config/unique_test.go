package config

import (
	"bytes"
	"encoding/json"
	"testing"
)

// What the fast look lets pass, the slow one would have let pass too.
func FuzzSurelyUnique(f *testing.F) {
	for _, text := range []string{`{"a":1,"b":{"a":2}}`, `{"a":1,"a":2}`, `[{"a":"}"},{"a":"\""}]`, `{"a":[{"b":1,"b":2}]}`, `{"\u0061":1,"a":2}`, `"{"`, `{}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) || !surelyUnique(raw) {
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber()
		if err := checkMembers(decoder, ""); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	})
}
