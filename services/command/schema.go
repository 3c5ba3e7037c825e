package command

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/config-api/config-api/shared/config"
)

// schemaLocation is the base URI of every schema. It is never fetched. It has a
// path, so that a relative reference leads out of the schema, where it is
// refused: against an opaque URI it would mean the schema itself.
const schemaLocation = "config-api:///schema"

// schemas compiles JSON Schemas (draft 2020-12) and keeps the compiled ones.
type schemas struct {
	mu       sync.Mutex
	compiled map[string]*jsonschema.Schema // by text
}

func newSchemas() *schemas { return &schemas{compiled: map[string]*jsonschema.Schema{}} }

// maxCompiled bounds the cache; over it the cache starts anew.
const maxCompiled = 1000

// denyLoader refuses every reference out of the schema itself: the library's
// own loader would read local files and show their content in its errors.
type denyLoader struct{}

func (denyLoader) Load(string) (any, error) {
	return nil, errors.New("references to other documents are not allowed: use $defs")
}

// compile returns the compiled schema, or an [config.Invalid] error that says
// what is wrong with it.
func (s *schemas) compile(text config.Value) (*jsonschema.Schema, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if schema, ok := s.compiled[string(text)]; ok {
		return schema, nil
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, config.Errorf(config.Invalid, "the schema is not JSON: %v", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	compiler.UseLoader(denyLoader{})
	if err := compiler.AddResource(schemaLocation, document); err != nil {
		return nil, config.Errorf(config.Invalid, "the schema can't be used: %v", err)
	}
	schema, err := compiler.Compile(schemaLocation)
	if err != nil {
		refusal := config.Errorf(config.Invalid, "the schema is no JSON Schema of draft 2020-12: %v", err)
		var invalid *jsonschema.SchemaValidationError
		if errors.As(err, &invalid) {
			refusal.Detail = "the schema is no JSON Schema of draft 2020-12"
			refusal.Faults = prefixed("/schema", faultsOf(invalid.Err))
		}
		return nil, refusal
	}
	if len(s.compiled) >= maxCompiled {
		clear(s.compiled)
	}
	s.compiled[string(text)] = schema
	return schema, nil
}

// check returns what is wrong with value by any of the schemas, with pointers
// into the value. It is the Check of [eventlog.Options].
func (s *schemas) check(all []config.Schema, value config.Value) []config.Fault {
	var faults []config.Fault
	for _, schema := range all {
		compiled, err := s.compile(schema.Text)
		if err != nil { // it was compiled before it was stored
			faults = append(faults, config.Fault{Detail: fmt.Sprintf("can't be checked by the schema of %s: %v", schema.Pattern, err)})
			continue
		}
		for _, f := range s.faults(compiled, value) {
			f.Detail += " (schema of " + schema.Pattern + ")"
			faults = append(faults, f)
		}
	}
	return faults
}

// faults returns what is wrong with value by one schema.
func (s *schemas) faults(schema *jsonschema.Schema, value config.Value) []config.Fault {
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err != nil {
		return []config.Fault{{Detail: "is not JSON: " + err.Error()}}
	}
	return faultsOf(schema.Validate(instance))
}

var english = message.NewPrinter(language.English)

// faultsOf lists the leaves of a validation error's tree: those are the faults
// that a person can mend.
func faultsOf(err error) []config.Fault {
	var invalid *jsonschema.ValidationError
	if err == nil {
		return nil
	}
	if !errors.As(err, &invalid) { // it can't be checked, so it does not pass
		return []config.Fault{{Detail: err.Error()}}
	}
	var faults []config.Fault
	var walk func(e *jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		if len(e.Causes) == 0 {
			faults = append(faults, config.Fault{Pointer: pointer(e.InstanceLocation), Detail: e.ErrorKind.LocalizedString(english)})
		}
		for _, cause := range e.Causes {
			walk(cause)
		}
	}
	walk(invalid)
	return faults
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

func pointer(location []string) string {
	var b strings.Builder
	for _, token := range location {
		b.WriteString("/" + pointerEscapes.Replace(token))
	}
	return b.String()
}

func prefixed(prefix string, faults []config.Fault) []config.Fault {
	for i := range faults {
		faults[i].Pointer = prefix + faults[i].Pointer
	}
	return faults
}
