package config

import "bytes"

// eachMember hands on the members of a valid JSON object: the text between the
// quotes of the name, and that of the value. Of a JSON text that is no object there
// are none. encoding/json decodes them several times as slowly.
func eachMember(object []byte, member func(name, value []byte)) {
	rest, found := bytes.CutPrefix(bytes.TrimSpace(object), []byte("{"))
	for found {
		open := bytes.IndexByte(rest, '"')
		if open < 0 {
			return // an empty object
		}
		name := rest[open : open+stringEnd(rest[open:])]
		rest = rest[open+len(name):]
		rest = rest[bytes.IndexByte(rest, ':')+1:]
		end := valueEnd(rest)
		member(name[1:len(name)-1], bytes.TrimSpace(rest[:end]))
		rest, found = bytes.CutPrefix(rest[end:], []byte(","))
	}
}

// valueEnd returns where the value ends that a valid object's text begins with:
// at the comma or the bracket behind it.
func valueEnd(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += stringEnd(text[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return len(text)
}

// stringEnd returns the length of the string that a valid text begins with, with
// its quotes.
func stringEnd(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}
