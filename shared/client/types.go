package client

import (
	"encoding/json"
	"time"

	"github.com/config-api/config-api/shared/config"
)

// Config is a config as a read answers it.
type Config struct {
	Namespace     string          `json:"namespace"`
	Name          string          `json:"name"`
	Value         json.RawMessage `json:"value"`
	Version       int64           `json:"version"` // of this name: 1, 2, 3 …
	Position      int64           `json:"position"`
	UpdatedAt     time.Time       `json:"updated_at"`
	UpdatedBy     string          `json:"updated_by"`
	Reason        string          `json:"reason"`
	CorrelationID string          `json:"correlation_id"`
	// Final says of a read of the past that no later write can change it.
	Final bool `json:"final"`
}

// Decode stores the value in what v points to, as json.Unmarshal does.
func (c Config) Decode(v any) error { return json.Unmarshal(c.Value, v) }

// Page is a part of a list.
type Page struct {
	Items    []Config `json:"items"`
	Next     string   `json:"next_page_token"` // "" on the last page
	Position int64    `json:"position"`        // of the state that it shows
	Final    bool     `json:"final"`
	Parked   []string `json:"parked"` // names that are left out, since an event of them can't be applied
}

// Event is one change, as history, diff, audit and watch show it.
type Event struct {
	Type      config.EventType `json:"type"`
	Namespace string           `json:"namespace"`
	Name      string           `json:"name"`
	Version   int64            `json:"version"`
	Position  int64            `json:"position"`
	// Commit is the position of the last event of the change set.
	Commit        int64           `json:"commit_position"`
	Value         json.RawMessage `json:"value"`     // null after a delete
	OldValue      json.RawMessage `json:"old_value"` // null if there was none
	RecordedAt    time.Time       `json:"recorded_at"`
	Actor         string          `json:"actor"`
	Reason        string          `json:"reason"`
	CorrelationID string          `json:"correlation_id"`
	RequestID     string          `json:"request_id"`
	EventID       string          `json:"event_id"`
}

// NamespaceInfo is a namespace in the list of all.
type NamespaceInfo struct {
	Namespace string    `json:"namespace"`
	Configs   int64     `json:"configs"`
	Position  int64     `json:"position"` // of its last change
	UpdatedAt time.Time `json:"updated_at"`
}

// Written is what a write of one config did.
type Written struct {
	Namespace     string    `json:"namespace"`
	Name          string    `json:"name"`
	Version       int64     `json:"version"`
	Position      int64     `json:"position"`
	UpdatedAt     time.Time `json:"updated_at"`
	CorrelationID string    `json:"correlation_id"`
}

// Change is one of a change set.
type Change struct {
	Op    config.Op `json:"op"` // config.Set or config.Delete
	Name  string    `json:"name"`
	Value any       `json:"value,omitempty"`
	// Expected, if not nil, is the version that the config must have, or the
	// whole set is refused; 0 is for none.
	Expected *int64 `json:"expected_version,omitempty"`
}

// Set sets a config in a change set; the value is anything that json.Marshal
// takes.
func Set(name string, value any) Change {
	if value == nil {
		value = json.RawMessage("null")
	}
	return Change{Op: config.Set, Name: name, Value: value}
}

// Delete deletes a config in a change set.
func Delete(name string) Change { return Change{Op: config.Delete, Name: name} }

// If returns the change with the version it expects.
func (c Change) If(version int64) Change {
	c.Expected = &version
	return c
}

// ChangeSet is what an accepted change set did.
type ChangeSet struct {
	Namespace     string    `json:"namespace"`
	Position      int64     `json:"position"`
	RecordedAt    time.Time `json:"recorded_at"`
	CorrelationID string    `json:"correlation_id"`
	Changes       []struct {
		Name     string `json:"name"`
		Version  int64  `json:"version"`
		Position int64  `json:"position"`
		Created  bool   `json:"created"`
		Deleted  bool   `json:"deleted"`
	} `json:"changes"`
}

// Diff is what differs in a namespace between two positions, and the events in
// between.
type Diff struct {
	Namespace string       `json:"namespace"`
	From      int64        `json:"from_position"`
	To        int64        `json:"to_position"`
	Changes   []Difference `json:"changes"`
	Events    []Event      `json:"events"`
	// Truncated says that there were more events than are listed.
	Truncated bool `json:"events_truncated"`
	Final     bool `json:"final"`
}

// Difference is a config before and after; a version of 0 means that there was
// none.
type Difference struct {
	Name       string          `json:"name"`
	Change     string          `json:"change"` // added, removed or changed
	OldValue   json.RawMessage `json:"old_value"`
	NewValue   json.RawMessage `json:"new_value"`
	OldVersion int64           `json:"old_version"`
	NewVersion int64           `json:"new_version"`
}

// Rewrite is what a revert or a copy did, or would do.
type Rewrite struct {
	Namespace     string `json:"namespace"`
	DryRun        bool   `json:"dry_run"`
	Position      int64  `json:"position"` // after it; of a dry run, before it
	CorrelationID string `json:"correlation_id"`
	Changes       []struct {
		Op       config.Op       `json:"op"`
		Name     string          `json:"name"`
		Version  int64           `json:"version"`
		OldValue json.RawMessage `json:"old_value"`
		Value    json.RawMessage `json:"value"`
	} `json:"changes"`
}

// Schema is the JSON Schema that the values of a pattern of names keep.
type Schema struct {
	Namespace string          `json:"namespace"`
	Pattern   string          `json:"pattern"`
	Schema    json.RawMessage `json:"schema"`
	Version   int64           `json:"version"`
	Position  int64           `json:"position"`
	UpdatedAt time.Time       `json:"updated_at"`
	UpdatedBy string          `json:"updated_by"`
	Reason    string          `json:"reason"`
	Final     bool            `json:"final"`
}

// Head is the end of the log.
type Head struct {
	Epoch      string    `json:"epoch"`
	Origin     string    `json:"origin"` // what the chain of hashes begins with
	Position   int64     `json:"position"`
	RecordedAt time.Time `json:"recorded_at"`
	Hash       string    `json:"hash"` // of the chain, hex
	// Note is the head as a signed note, if the service has a key: keep it
	// elsewhere, and nothing before it can be rewritten unseen.
	Note string `json:"note"`
}

// Verification is what checking a stretch of the chain found.
type Verification struct {
	Epoch string `json:"epoch"`
	From  int64  `json:"from"`
	To    int64  `json:"to"`
	Valid bool   `json:"valid"`
	// FirstInvalid is the first position that does not hold, and Detail what is
	// wrong with it.
	FirstInvalid int64  `json:"first_invalid"`
	Detail       string `json:"detail"`
}
