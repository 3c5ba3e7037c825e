package config

import (
	"fmt"
)

const (
	// MaxChanges is the most changes in one set. A set is published as one
	// JetStream atomic batch, which holds at most 1000 messages.
	MaxChanges = 1000
	// MaxSetSize is the most bytes of event data that one change set may make,
	// old values included.
	MaxSetSize = 32 << 20
	// MaxTextLength is the longest actor, reason or correlation id, in bytes.
	MaxTextLength = 1024
)

// Op is what a [Change] does.
type Op string

const (
	Set          Op = "set"
	Delete       Op = "delete"
	SetSchema    Op = "set-schema"
	DeleteSchema Op = "delete-schema"
)

// eventTypes is the closed set of ops.
var eventTypes = map[Op]EventType{Set: ValueSet, Delete: ValueDeleted, SetSchema: SchemaSet, DeleteSchema: SchemaDeleted}

func (o Op) deletes() bool { return o == Delete || o == DeleteSchema }

// AnyVersion as an expected version means: it exists, whatever the version.
const AnyVersion int64 = -1

// Change is one change of one config.
type Change struct {
	Op    Op
	Name  string // of the config, or the stream of a schema
	Value Value  // what to set
	// Expected is the version that must be there, 0 for "does not exist",
	// AnyVersion for "exists"; nil expects nothing.
	Expected *int64
}

// ChangeSet is a request to change configs of one namespace, all or nothing.
type ChangeSet struct {
	Namespace     string
	Changes       []Change
	Actor         string
	Reason        string
	CorrelationID string
	RequestID     string
	Trace         string // see [Event]
}

// Check reports every fault of the set that can be seen without the state.
func (s *ChangeSet) Check() error {
	if err := CheckNamespace(s.Namespace); err != nil {
		return err
	}
	if len(s.Changes) == 0 || len(s.Changes) > MaxChanges {
		return Errorf(Invalid, "a change set has 1 to %d changes, this one has %d", MaxChanges, len(s.Changes))
	}
	if err := s.CheckTexts(); err != nil {
		return err
	}
	var faults []Fault
	fault := func(i int, member, format string, args ...any) {
		faults = append(faults, Fault{Pointer: fmt.Sprintf("/changes/%d/%s", i, member), Detail: fmt.Sprintf(format, args...)})
	}
	first := make(map[string]int, len(s.Changes))
	for i, c := range s.Changes {
		if err := c.checkName(); err != nil {
			fault(i, "name", "%s", err)
		}
		if at, twice := first[c.Name]; twice {
			fault(i, "name", "%q is already changed at /changes/%d", c.Name, at)
		}
		first[c.Name] = i
		switch {
		case eventTypes[c.Op] == "":
			fault(i, "op", "use %q or %q", Set, Delete)
		case !c.Op.deletes() && c.Value == nil:
			fault(i, "value", "is missing")
		case c.Op.deletes() && c.Value != nil:
			fault(i, "value", "a deletion has no value")
		}
		if c.Expected != nil && *c.Expected < AnyVersion {
			fault(i, "expected_version", "use a version, or 0 for one that does not exist")
		}
	}
	if faults == nil {
		return nil
	}
	return &Error{Code: Invalid, Detail: "the change set is not valid: " + faults[0].Detail, Faults: faults}
}

// CheckTexts is the part of [ChangeSet.Check] that is not about the changes.
func (s *ChangeSet) CheckTexts() error {
	for _, text := range []struct{ what, s string }{
		{"actor", s.Actor}, {"reason", s.Reason}, {"correlation id", s.CorrelationID}, {"request id", s.RequestID},
	} {
		if err := checkText(text.what, text.s); err != nil {
			return err
		}
	}
	return nil
}

func (c *Change) checkName() error {
	if c.Op != SetSchema && c.Op != DeleteSchema {
		return CheckName(c.Name)
	}
	pattern, ok := SchemaPattern(c.Name)
	if !ok {
		return Errorf(Invalid, "%q is not the stream of a schema", c.Name)
	}
	return CheckPattern(pattern)
}

// Present is what a set is decided against: its namespace as it is now.
type Present struct {
	// State returns the state of a name.
	State func(name string) State
	// Check returns what is wrong with a value by the schemas of its name,
	// with pointers into the value. Nil means that there are no schemas.
	Check func(name string, value Value) []Fault
}

// Decide turns a set that passed [ChangeSet.Check] into its events, in order,
// or refuses the whole of it. The events have everything but what only the log
// can give: Position, Commit, ID, CommandID, RecordedAt and Hash.
func Decide(s *ChangeSet, now Present) ([]Event, error) {
	if err := checkExpected(s, now.State); err != nil {
		return nil, err
	}
	if err := checkSchemas(s, now.Check); err != nil {
		return nil, err
	}
	events := make([]Event, 0, len(s.Changes))
	size := 0
	for _, c := range s.Changes {
		old := now.State(c.Name)
		switch {
		case c.Op.deletes() && old.Version == 0:
			return nil, Errorf(NotFound, "%s in %s was never set", c.Name, s.Namespace)
		case c.Op.deletes() && old.Deleted:
			return nil, Errorf(Gone, "%s in %s is already deleted", c.Name, s.Namespace)
		}
		payload := Payload{Value: c.Value, OldValue: old.Value, Deleted: c.Op.deletes()}
		e := Event{
			Namespace: s.Namespace, Name: c.Name, Version: old.Version + 1,
			Type: eventTypes[c.Op], SchemaVersion: SchemaVersion, Data: payload.encode(c.Name),
			Actor: s.Actor, Reason: s.Reason, CorrelationID: s.CorrelationID, RequestID: s.RequestID, Trace: s.Trace,
		}
		if size += len(e.Data); size > MaxSetSize {
			return nil, Errorf(TooLarge, "the change set makes more than %d bytes of events: split it", MaxSetSize)
		}
		events = append(events, e)
	}
	return events, nil
}

func checkSchemas(s *ChangeSet, check func(name string, value Value) []Fault) error {
	if check == nil {
		return nil
	}
	var faults []Fault
	for i, c := range s.Changes {
		if c.Op != Set {
			continue
		}
		for _, f := range check(c.Name, c.Value) {
			faults = append(faults, Fault{Pointer: fmt.Sprintf("/changes/%d/value%s", i, f.Pointer), Detail: f.Detail})
		}
	}
	if faults == nil {
		return nil
	}
	return &Error{Code: SchemaViolation, Detail: "a value breaks the schema of its name: " + faults[0].Detail, Faults: faults}
}

func checkExpected(s *ChangeSet, state func(name string) State) error {
	var conflicts []VersionConflict
	for _, c := range s.Changes {
		if c.Expected == nil {
			continue
		}
		now := state(c.Name)
		holds := *c.Expected == now.Version ||
			*c.Expected == 0 && !now.Live() ||
			*c.Expected == AnyVersion && now.Live()
		if !holds {
			conflicts = append(conflicts, VersionConflict{
				Name: c.Name, Expected: c.Expected,
				Version: now.Version, Deleted: now.Deleted, Position: now.Position, Value: now.Value,
			})
		}
	}
	if conflicts == nil {
		return nil
	}
	c := conflicts[0]
	return &Error{
		Code:      PreconditionFailed,
		Detail:    fmt.Sprintf("%s in %s is at version %d, not as expected: read it again and decide anew", c.Name, s.Namespace, c.Version),
		Conflicts: conflicts,
	}
}

func checkText(what, s string) error {
	if len(s) > MaxTextLength {
		return Errorf(Invalid, "the %s has %d bytes, the most is %d", what, len(s), MaxTextLength)
	}
	return CheckText(what, s)
}
