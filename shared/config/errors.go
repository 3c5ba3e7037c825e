package config

import (
	"errors"
	"fmt"
)

// Code is the closed set of reasons for which a request is refused. The HTTP
// layer maps each to one status; the domain knows nothing of HTTP.
type Code string

const (
	Invalid            Code = "invalid"                // the request itself is wrong
	TooLarge           Code = "too-large"              // a body, value or change set over its limit
	NotFound           Code = "not-found"              // never existed, or not at the instant asked for
	Gone               Code = "gone"                   // existed and is deleted
	Conflict           Code = "conflict"               // the state of other things forbids it
	Parked             Code = "parked"                 // an event of the name can't be applied
	PreconditionFailed Code = "precondition-failed"    // an expected version does not hold
	EpochMismatch      Code = "epoch-mismatch"         // a position token of another log
	KeyReused          Code = "idempotency-key-reused" // the same key with another request
	SchemaViolation    Code = "schema-violation"       // a value breaks the schema of its name
	TooManyRequests    Code = "too-many-requests"      // a limit that protects the service
	Unavailable        Code = "unavailable"            // a dependency is down or behind; retry
	Internal           Code = "internal"               // our fault
)

// Error is a refusal. Detail is one sentence that says what to do about it; it
// never contains a stored value.
type Error struct {
	Code      Code
	Detail    string
	Faults    []Fault           // where in the request, if the request is at fault
	Conflicts []VersionConflict // what is there now, for PreconditionFailed and Conflict
}

// Fault is one fault of a request. Pointer is an RFC 6901 JSON pointer into the
// request body.
type Fault struct {
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

// VersionConflict names a config whose present state forbids a change.
type VersionConflict struct {
	Name     string `json:"name"`
	Expected *int64 `json:"expected_version,omitempty"`
	Version  int64  `json:"version"`
	Deleted  bool   `json:"deleted"`
	Position int64  `json:"position"`
	Value    Value  `json:"value,omitempty"`
	// Faults is what is wrong with the value, when a schema is the reason.
	Faults []Fault `json:"faults,omitempty"`
}

func (e *Error) Error() string { return e.Detail }

// Errorf makes an [Error].
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the first [Error] in err's tree, or [Internal].
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Internal
}
