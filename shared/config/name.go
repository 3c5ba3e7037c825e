package config

import "strings"

const (
	// MaxNameLength is the longest name, in bytes.
	MaxNameLength = 256
	// MaxNamespaceLength is the longest namespace, in bytes.
	MaxNamespaceLength = 63
	// MaxNameLengthV1 is the longest name that the v1 API knows.
	MaxNameLengthV1 = 100
	// DefaultNamespace is where the v1 API lives.
	DefaultNamespace = "default"
)

// CheckName reports whether name is 1 to 256 characters: tokens of letters,
// digits, '_' and '-', joined by single dots. The dots become NATS subject
// tokens, so a subtree of names can be followed with a wildcard.
func CheckName(name string) error {
	if name == "" || len(name) > MaxNameLength {
		return Errorf(Invalid, "a name has 1 to %d characters, this one has %d", MaxNameLength, len(name))
	}
	for token := range strings.SplitSeq(name, ".") {
		if !isToken(token) {
			return Errorf(Invalid, "name %q: use letters, digits, '_' and '-', in parts joined by single dots", name)
		}
	}
	return nil
}

// CheckNameV1 is [CheckName] for the v1 API: no dots, at most 100 characters.
func CheckNameV1(name string) error {
	if len(name) > MaxNameLengthV1 || !isToken(name) {
		return Errorf(Invalid, "Invalid config name: use 1 to %d letters, digits, '_' and '-'", MaxNameLengthV1)
	}
	return nil
}

// CheckNamespace reports whether ns is 1 to 63 characters of lower-case
// letters, digits and '-', neither starting nor ending with '-'.
func CheckNamespace(ns string) error {
	ok := ns != "" && len(ns) <= MaxNamespaceLength && ns[0] != '-' && ns[len(ns)-1] != '-'
	for i := 0; ok && i < len(ns); i++ {
		c := ns[i]
		ok = 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-'
	}
	if !ok {
		return Errorf(Invalid, "namespace %q: use 1 to %d lower-case letters, digits and '-', not at the ends", ns, MaxNamespaceLength)
	}
	return nil
}

func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return s != ""
}
