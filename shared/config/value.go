package config

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// MaxStringLength is the longest string value, in characters.
	MaxStringLength = 1_000_000
	// MaxValueSize is the largest value that is not a string, in encoded bytes.
	MaxValueSize = 1 << 20
	// MaxBodySize is the largest request body: a string value of the greatest
	// length in which every character is escaped as a surrogate pair fits.
	MaxBodySize = 16 << 20
)

// Value is one JSON value as compact JSON text. Numbers keep their exact text.
// A nil Value is no value at all; JSON null is Value("null").
type Value []byte

// MarshalJSON writes the text as it is, and null for no value.
func (v Value) MarshalJSON() ([]byte, error) {
	if v == nil {
		return []byte("null"), nil
	}
	return v, nil
}

// UnmarshalJSON keeps the text as it is. It does not check it: see [ParseValue].
func (v *Value) UnmarshalJSON(text []byte) error {
	*v = append((*v)[:0], text...)
	return nil
}

// ParseValue checks raw, the text of one JSON value as a client sent it, and
// returns it without insignificant white space. Refused are: anything that is
// not exactly one JSON value, invalid UTF-8, NUL, lone surrogates, an object
// with the same member twice (parsers disagree on what that means), and values
// over the size limits.
func ParseValue(raw []byte) (Value, error) {
	if err := CheckJSON(raw); err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	compact.Grow(len(raw))
	if err := json.Compact(&compact, raw); err != nil {
		return nil, Errorf(Invalid, "the value is not JSON: %v", err)
	}
	v := Value(compact.Bytes())
	if s, ok := v.AsString(); ok {
		return v, checkLength(s)
	}
	if len(v) > MaxValueSize {
		return nil, Errorf(TooLarge, "the value has %d bytes, the most is %d", len(v), MaxValueSize)
	}
	return v, nil
}

// StringValue returns s as a JSON string, under the same limits as [ParseValue].
func StringValue(s string) (Value, error) {
	if !utf8.ValidString(s) {
		return nil, Errorf(Invalid, "the value is not valid UTF-8")
	}
	if strings.IndexByte(s, 0) >= 0 {
		return nil, Errorf(Invalid, "the value contains a NUL character, which can't be stored")
	}
	if err := checkLength(s); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Grow(len(s) + 3)
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return nil, err
	}
	return Value(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// AsString returns the string that v is, and whether v is one.
func (v Value) AsString() (string, bool) {
	if len(v) < 2 || v[0] != '"' {
		return "", false
	}
	if plain := v[1 : len(v)-1]; bytes.IndexByte(plain, '\\') < 0 {
		return string(plain), true
	}
	var s string
	if json.Unmarshal(v, &s) != nil {
		return "", false
	}
	return s, true
}

// TextBytes is Text without a copy, where that is possible. It must not be
// changed.
func (v Value) TextBytes() []byte {
	if len(v) >= 2 && v[0] == '"' {
		if plain := v[1 : len(v)-1]; bytes.IndexByte(plain, '\\') < 0 {
			return plain
		}
	}
	return []byte(v.Text())
}

// Text is what the v1 API shows: the string itself, or the JSON text of any
// other value.
func (v Value) Text() string {
	if s, ok := v.AsString(); ok {
		return s
	}
	return string(v)
}

func checkLength(s string) error {
	if n := utf8.RuneCountInString(s); n > MaxStringLength {
		return Errorf(TooLarge, "the value has %d characters, the most is %d", n, MaxStringLength)
	}
	return nil
}

// CheckJSON reports whether raw is one JSON text that every reader understands
// alike: encoding/json replaces invalid UTF-8 and lone surrogates in silence
// and lets the last of two equal members win; here each is an error.
func CheckJSON(raw []byte) error {
	if !utf8.Valid(raw) {
		return Errorf(Invalid, "the JSON is not valid UTF-8")
	}
	if err := checkEscapes(raw); err != nil {
		return err
	}
	if json.Valid(raw) && surelyUnique(raw) {
		return nil
	}
	// The slow way, which also says what is wrong.
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := checkMembers(dec, ""); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return Errorf(Invalid, "there is more than one JSON value")
	}
	return nil
}

// surelyUnique reports, of valid JSON, that no object has equal members. It gives
// up on names with escapes and on objects with many members.
func surelyUnique(raw []byte) bool {
	const few = 16
	type level struct {
		object, name bool // what comes next is a name
		names        [][]byte
	}
	var levels []level
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; c {
		case '{', '[':
			levels = append(levels, level{object: c == '{', name: c == '{'})
		case '}', ']':
			levels = levels[:len(levels)-1]
		case ',':
			top := &levels[len(levels)-1]
			top.name = top.object
		case '"':
			begin := i + 1
			for i++; raw[i] != '"'; i++ {
				if raw[i] == '\\' {
					i++
				}
			}
			if len(levels) == 0 || !levels[len(levels)-1].name {
				continue
			}
			top, name := &levels[len(levels)-1], raw[begin:i]
			if len(top.names) == few || bytes.IndexByte(name, '\\') >= 0 ||
				slices.ContainsFunc(top.names, func(other []byte) bool { return bytes.Equal(other, name) }) {
				return false
			}
			top.names, top.name = append(top.names, name), false
		}
	}
	return true
}

// checkMembers reads one value from dec and refuses equal members.
func checkMembers(dec *json.Decoder, pointer string) error {
	token, err := dec.Token()
	if err == io.EOF {
		return Errorf(Invalid, "the JSON ends too early")
	}
	if err != nil {
		return Errorf(Invalid, "not JSON: %v", err)
	}
	switch token {
	case json.Delim('{'):
		seen := map[string]bool{}
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return Errorf(Invalid, "not JSON: %v", err)
			}
			name := key.(string)
			at := pointer + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
			if seen[name] {
				e := Errorf(Invalid, "member %q appears twice", name)
				e.Faults = []Fault{{Pointer: at, Detail: "appears twice"}}
				return e
			}
			seen[name] = true
			if err := checkMembers(dec, at); err != nil {
				return err
			}
		}
	case json.Delim('['):
		for i := 0; dec.More(); i++ {
			if err := checkMembers(dec, pointer+"/"+strconv.Itoa(i)); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	if _, err := dec.Token(); err != nil {
		return Errorf(Invalid, "not JSON: %v", err)
	}
	return nil
}

// checkEscapes refuses \u0000 and \u escapes that are half of a surrogate pair.
func checkEscapes(raw []byte) error {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		i++ // the escaped character
		r, ok := unicodeEscape(raw, i-1)
		switch {
		case !ok:
		case r == 0:
			return Errorf(Invalid, "the JSON contains a NUL character, which can't be stored")
		case r >= 0xD800 && r < 0xDC00:
			low, ok := unicodeEscape(raw, i+5)
			if !ok || low < 0xDC00 || low > 0xDFFF {
				return Errorf(Invalid, "the JSON contains half of a surrogate pair")
			}
			i += 10
		case r >= 0xDC00 && r <= 0xDFFF:
			return Errorf(Invalid, "the JSON contains half of a surrogate pair")
		}
	}
	return nil
}

// unicodeEscape reads the \uXXXX that starts at raw[at].
func unicodeEscape(raw []byte, at int) (uint64, bool) {
	if at+6 > len(raw) || raw[at] != '\\' || raw[at+1] != 'u' {
		return 0, false
	}
	r, err := strconv.ParseUint(string(raw[at+2:at+6]), 16, 32)
	return r, err == nil
}

// CheckText reports whether s can be stored as text: valid UTF-8 without NUL.
// what names it in the error.
func CheckText(what, s string) error {
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return Errorf(Invalid, "the %s is not text: it must be valid UTF-8 without NUL", what)
	}
	return nil
}
