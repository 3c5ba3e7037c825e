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
	Set    Op = "set"
	Delete Op = "delete"
)

// AnyVersion as an expected version means: it exists, whatever the version.
const AnyVersion int64 = -1

// Change is one change of one config.
type Change struct {
	Op    Op
	Name  string
	Value Value // for Set
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
}

// Check reports every fault of the set that can be seen without the state.
func (s *ChangeSet) Check() error {
	if err := CheckNamespace(s.Namespace); err != nil {
		return err
	}
	if len(s.Changes) == 0 || len(s.Changes) > MaxChanges {
		return Errorf(Invalid, "a change set has 1 to %d changes, this one has %d", MaxChanges, len(s.Changes))
	}
	for _, text := range []struct{ what, s string }{
		{"actor", s.Actor}, {"reason", s.Reason}, {"correlation id", s.CorrelationID}, {"request id", s.RequestID},
	} {
		if err := checkText(text.what, text.s); err != nil {
			return err
		}
	}
	var faults []Fault
	fault := func(i int, member, format string, args ...any) {
		faults = append(faults, Fault{Pointer: fmt.Sprintf("/changes/%d/%s", i, member), Detail: fmt.Sprintf(format, args...)})
	}
	first := make(map[string]int, len(s.Changes))
	for i, c := range s.Changes {
		if err := CheckName(c.Name); err != nil {
			fault(i, "name", "%s", err)
		}
		if at, twice := first[c.Name]; twice {
			fault(i, "name", "%q is already changed at /changes/%d", c.Name, at)
		}
		first[c.Name] = i
		switch {
		case c.Op != Set && c.Op != Delete:
			fault(i, "op", "use %q or %q", Set, Delete)
		case c.Op == Set && c.Value == nil:
			fault(i, "value", "is missing")
		case c.Op == Delete && c.Value != nil:
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

// Decide turns a set that passed [ChangeSet.Check] into its events, in order,
// or refuses the whole of it. state returns the present state of a name in the
// set's namespace. The events have everything but what only the log can give:
// Position, Commit, ID, CommandID, RecordedAt and Hash.
func Decide(s *ChangeSet, state func(name string) State) ([]Event, error) {
	if err := checkExpected(s, state); err != nil {
		return nil, err
	}
	events := make([]Event, 0, len(s.Changes))
	size := 0
	for _, c := range s.Changes {
		old := state(c.Name)
		e := Event{
			Namespace: s.Namespace, Name: c.Name, Version: old.Version + 1,
			Type: ValueSet, SchemaVersion: SchemaVersion,
			Actor: s.Actor, Reason: s.Reason, CorrelationID: s.CorrelationID, RequestID: s.RequestID,
		}
		p := Payload{Value: c.Value, OldValue: old.Value}
		if c.Op == Delete {
			switch {
			case old.Version == 0:
				return nil, Errorf(NotFound, "%s in %s was never set", c.Name, s.Namespace)
			case old.Deleted:
				return nil, Errorf(Gone, "%s in %s is already deleted", c.Name, s.Namespace)
			}
			e.Type, p.Deleted = ValueDeleted, true
		}
		e.Data = p.encode(c.Name)
		if size += len(e.Data); size > MaxSetSize {
			return nil, Errorf(TooLarge, "the change set makes more than %d bytes of events: split it", MaxSetSize)
		}
		events = append(events, e)
	}
	return events, nil
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
