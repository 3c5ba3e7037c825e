package config

import (
	"encoding/hex"
	"encoding/json"
	"time"
)

// Record is an event as the log's own routes and exports show it: with all that
// its hash covers.
type Record struct {
	Position      int64           `json:"position"`
	Namespace     string          `json:"namespace"`
	Name          string          `json:"name"`
	Version       int64           `json:"version"`
	EventID       string          `json:"event_id"`
	Type          EventType       `json:"type"`
	SchemaVersion int             `json:"schema_version"`
	Commit        int64           `json:"commit_position"`
	CommandID     string          `json:"command_id"`
	Actor         string          `json:"actor"`
	Reason        string          `json:"reason"`
	CorrelationID string          `json:"correlation_id"`
	RequestID     string          `json:"request_id"`
	RecordedAt    time.Time       `json:"recorded_at"`
	Data          json.RawMessage `json:"data"`
	Hash          string          `json:"hash"` // hexadecimal
}

// RecordOf returns the record of an event.
func RecordOf(e *Event) Record {
	return Record{
		e.Position, e.Namespace, e.Name, e.Version, e.ID, e.Type, e.SchemaVersion, e.Commit, e.CommandID,
		e.Actor, e.Reason, e.CorrelationID, e.RequestID, e.RecordedAt, e.Data, hex.EncodeToString(e.Hash[:]),
	}
}

// Event returns the event of a record. The error is an [Invalid] one: the hash is
// none. Whether it is the right one is for [Event.ChainHash].
func (r *Record) Event() (Event, error) {
	e := Event{
		Position: r.Position, Namespace: r.Namespace, Name: r.Name, Version: r.Version, ID: r.EventID, Type: r.Type,
		SchemaVersion: r.SchemaVersion, Commit: r.Commit, CommandID: r.CommandID, Actor: r.Actor, Reason: r.Reason,
		CorrelationID: r.CorrelationID, RequestID: r.RequestID, RecordedAt: r.RecordedAt.UTC(), Data: r.Data,
	}
	var err error
	e.Hash, err = ParseHash(r.Hash)
	return e, err
}

// ParseHash reads a hash in hexadecimal.
func ParseHash(text string) (Hash, error) {
	hash, err := hex.DecodeString(text)
	if err != nil || len(hash) != len(Hash{}) {
		return Hash{}, Errorf(Invalid, "%q is not a SHA-256 hash in hexadecimal", text)
	}
	return Hash(hash), nil
}

// ExportFormat is the format of an [ExportHeader].
const ExportFormat = "config-api-log/1"

// ExportHeader is the first line of an exported log. The lines after it are its
// events from the first to that at Position, a [Record] each.
type ExportHeader struct {
	Format     string    `json:"format"` // ExportFormat
	Origin     string    `json:"origin"`
	Epoch      string    `json:"epoch"`
	Position   int64     `json:"position"`
	RecordedAt time.Time `json:"recorded_at"`
	Hash       string    `json:"hash"` // of the event at Position; zeros of an empty log
}
