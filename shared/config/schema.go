package config

import "strings"

// A schema is stored in a stream of its own, whose name no config can have, so
// that schemas have versions, history and time travel like configs.
const schemaPrefix = "$schema."

// Schema is a JSON Schema (2020-12) that the values of all names matching
// Pattern must keep.
type Schema struct {
	Pattern string
	Version int64
	Text    Value
}

// CheckPattern reports whether pattern is a name, or a name whose last part is
// '*', which stands for one or more parts.
func CheckPattern(pattern string) error {
	base := pattern
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		base = prefix + "x"
	}
	if len(pattern) > MaxNameLength-len(schemaPrefix) {
		return Errorf(Invalid, "a pattern has at most %d characters, this one has %d", MaxNameLength-len(schemaPrefix), len(pattern))
	}
	if prefix := strings.TrimSuffix(pattern, "*"); CheckName(base) != nil || prefix != pattern && prefix != "" && !strings.HasSuffix(prefix, ".") {
		return Errorf(Invalid, "pattern %q: use a name, or one whose last part is '*', like db.* or *", pattern)
	}
	return nil
}

// MatchPattern reports whether name is one that pattern stands for.
func MatchPattern(pattern, name string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

// SchemaStream is the name of the stream of a pattern's schema.
func SchemaStream(pattern string) string { return schemaPrefix + pattern }

// SchemaPattern returns the pattern whose schema a stream holds, and whether it
// holds one.
func SchemaPattern(stream string) (string, bool) { return strings.CutPrefix(stream, schemaPrefix) }
