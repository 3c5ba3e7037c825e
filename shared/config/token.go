package config

import (
	"strconv"
	"strings"
)

// LogID says which log. Both are UUIDs made with the log, and the same at first.
type LogID struct {
	// Epoch changes when the log is recovered from a backup: positions of
	// before can then be of events that it no longer has.
	Epoch string
	// Origin never changes, and goes along when the log is exported and
	// imported: the chain of hashes begins with it.
	Origin string
}

// Token is a position together with the log that it belongs to. Its text form
// is "epoch:position". A log that was restored from a backup has a new epoch,
// so that a position of the lost tail can't be mistaken for one of the new. The
// zero Token, ":0", is of a state that has seen no event and so does not know its
// log; as a wish it asks for nothing.
type Token struct {
	Epoch    string
	Position int64
}

func (t Token) String() string { return t.Epoch + ":" + strconv.FormatInt(t.Position, 10) }

// OfOtherLog reports whether the two are of different logs, as far as both know
// theirs.
func (t Token) OfOtherLog(u Token) bool { return t.Epoch != "" && u.Epoch != "" && t.Epoch != u.Epoch }

// ParseToken reads "epoch:position".
func ParseToken(s string) (Token, error) {
	if s == (Token{}).String() {
		return Token{}, nil
	}
	epoch, number, ok := strings.Cut(s, ":")
	position, err := strconv.ParseInt(number, 10, 64)
	if !ok || epoch == "" || err != nil || position < 0 {
		return Token{}, Errorf(Invalid, "%q is not a position: use the text of a Config-Position header, like 0191f3a2-…:42", s)
	}
	return Token{Epoch: epoch, Position: position}, nil
}
