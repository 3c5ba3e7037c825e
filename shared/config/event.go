package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"
)

// EventType says what happened. The names are those of the system this one
// replaces, and part of the v1 contract.
type EventType string

const (
	ValueSet     EventType = "ConfigValueSet"
	ValueDeleted EventType = "ConfigValueDeleted"

	SchemaSet     EventType = "ConfigSchemaSet"
	SchemaDeleted EventType = "ConfigSchemaDeleted"
)

// Hash is a SHA-256 digest.
type Hash [sha256.Size]byte

// Event is one immutable entry of the log.
type Event struct {
	Position  int64 // place in the whole log, from 1, without gaps
	Namespace string
	Name      string // of the config, or the stream of a schema: see [SchemaStream]
	Version   int64  // place in the config's stream, from 1, without gaps

	ID            string // UUIDv7
	Type          EventType
	SchemaVersion int

	// Commit is the position of the last event of the same change set. A
	// reader that stops only where Position == Commit never sees half of one.
	Commit int64

	CommandID     string // UUID of the command that caused it
	Actor         string // who
	Reason        string // why
	CorrelationID string // ties the events of one change set, or of several
	RequestID     string // the HTTP request, as found in the access log

	RecordedAt time.Time // UTC, microseconds, strictly rising with Position
	Data       []byte    // JSON, exactly as written: see [Payload]
	Hash       Hash      // see [Event.ChainHash]

	// Trace is the W3C traceparent of what led to the event, empty if it is not
	// traced. It is about our own work and no part of what happened: neither the
	// hash nor an export has it.
	Trace string
}

// Payload is what an event's Data says.
type Payload struct {
	Value    Value // the whole new value; nil when deleted
	OldValue Value // the value before; nil when there was none
	Deleted  bool
}

// encode writes the payload as Data of SchemaVersion. Name and values need no
// escaping: both were checked.
func (p Payload) encode(name string) []byte {
	b := make([]byte, 0, len(name)+len(p.Value)+len(p.OldValue)+64)
	b = append(b, `{"config_name":"`...)
	b = append(b, name...)
	if p.Deleted {
		b = append(b, `","deleted_value":`...)
		b = appendValue(b, p.OldValue)
	} else {
		b = append(b, `","value":`...)
		b = appendValue(b, p.Value)
		b = append(b, `,"old_value":`...)
		b = appendValue(b, p.OldValue)
	}
	return append(b, '}')
}

func appendValue(b []byte, v Value) []byte {
	if v == nil {
		return append(b, "null"...)
	}
	return append(b, v...)
}

// UnknownEventError says that an event can't be understood by this program:
// it was written by a newer one. Readers halt on it; they never skip.
type UnknownEventError struct {
	Type          EventType
	SchemaVersion int
}

func (e *UnknownEventError) Error() string {
	return fmt.Sprintf("event type %q with schema version %d is newer than this program (which knows up to %d): upgrade it", e.Type, e.SchemaVersion, SchemaVersion)
}

// Payload decodes Data, of whatever schema version. The error is an [*UnknownEventError] for a type or
// schema version that this program does not know. An old_value of JSON null
// reads as none.
func (e *Event) Payload() (Payload, error) {
	text, err := upcastWith(upcasts, e.Type, e.SchemaVersion, e.Data)
	if err != nil {
		return Payload{}, err
	}
	switch e.Type {
	case ValueSet, ValueDeleted, SchemaSet, SchemaDeleted:
	default:
		return Payload{}, &UnknownEventError{e.Type, e.SchemaVersion}
	}
	if !json.Valid(text) || !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		return Payload{}, fmt.Errorf("data of event %d is not a JSON object", e.Position)
	}
	var value, old, deleted Value
	eachMember(text, func(name, text []byte) {
		switch string(name) {
		case "value":
			value = bytes.Clone(text)
		case "old_value":
			old = bytes.Clone(text)
		case "deleted_value":
			deleted = bytes.Clone(text)
		}
	})
	if e.Type == ValueDeleted || e.Type == SchemaDeleted {
		return Payload{OldValue: deleted, Deleted: true}, nil
	}
	if value == nil {
		return Payload{}, fmt.Errorf("data of event %d has no value", e.Position)
	}
	p := Payload{Value: value}
	if !bytes.Equal(old, []byte("null")) {
		p.OldValue = old
	}
	return p, nil
}

// State is what the events of one stream add up to. The zero State is that of
// a config which was never set.
type State struct {
	Version  int64
	Position int64
	Value    Value
	Deleted  bool
}

// Live reports whether there is a value now.
func (s State) Live() bool { return s.Version > 0 && !s.Deleted }

// Apply returns the state after e. It has no rules of its own: whatever was
// recorded happened.
func (s State) Apply(e *Event) (State, error) {
	p, err := e.Payload()
	if err != nil {
		return s, err
	}
	return State{Version: e.Version, Position: e.Position, Value: p.Value, Deleted: p.Deleted}, nil
}

// ChainHash returns the hash that the event must have when prev is that of the
// event before it (zero for the first). It covers every field but Trace, so that a
// changed, removed or reordered row breaks the chain from there on. Each field
// is preceded by its length; Data goes in by its own digest. The origin is that
// of the log: see [LogID].
func (e *Event) ChainHash(prev Hash, origin string) Hash {
	data := sha256.Sum256(e.Data)
	// In one piece: a digest that is fed field by field costs twice as much.
	b := make([]byte, 0, 512)
	b = append(b, prev[:]...)
	b = appendField(b, origin)
	b = appendNumber(b, e.Position)
	b = appendField(b, e.Namespace)
	b = appendField(b, e.Name)
	b = appendNumber(b, e.Version)
	b = appendField(b, e.ID)
	b = appendField(b, string(e.Type))
	b = appendNumber(b, int64(e.SchemaVersion))
	b = appendNumber(b, e.Commit)
	b = appendField(b, e.CommandID)
	b = appendNumber(b, e.RecordedAt.UnixMicro())
	b = appendField(b, e.Actor)
	b = appendField(b, e.Reason)
	b = appendField(b, e.CorrelationID)
	b = appendField(b, e.RequestID)
	b = append(b, data[:]...)
	return sha256.Sum256(b)
}

func appendNumber(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }

func appendField(b []byte, s string) []byte { return append(appendNumber(b, int64(len(s))), s...) }
