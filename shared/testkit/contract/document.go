package contract

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/config-api/config-api/shared/api"
)

// document is the OpenAPI document, ready to hold answers against it. kin-openapi
// reads it and finds the route; whether it is a valid one is for make lint. Its own validation of answers
// compiles the schema of every answer and header anew, and falls back to the
// rules of OpenAPI 3.0 where schemas refer to others; a schema of 3.1 is a JSON
// Schema as it stands, so here each is compiled once, from its place in the
// document.
type document struct {
	routes   routers.Router
	mu       sync.Mutex
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema // by reference
}

// theDocument is read by the first answer.
var theDocument = sync.OnceValues(func() (*document, error) {
	spec, err := openapi3.NewLoader().LoadFromData(api.OpenAPI)
	if err != nil {
		return nil, err
	}
	spec.Servers = nil // the system under test is anywhere
	d := &document{compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	if d.routes, err = gorillamux.NewRouter(spec); err != nil {
		return nil, err
	}
	text, err := spec.MarshalJSON()
	if err != nil {
		return nil, err
	}
	raw, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		return nil, err
	}
	closeObjects(raw)
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	d.compiler.AssertFormat()
	return d, d.compiler.AddResource(documentURL, raw)
})

const documentURL = "config-api:openapi"

// closeObjects makes every object whose members are listed refuse others: users
// may meet members that they don't know, tests may not.
func closeObjects(node any) {
	switch node := node.(type) {
	case map[string]any:
		if node["type"] == "object" && node["properties"] != nil && node["additionalProperties"] == nil {
			node["additionalProperties"] = false
		}
		for _, child := range node {
			closeObjects(child)
		}
	case []any:
		for _, child := range node {
			closeObjects(child)
		}
	}
}

// check returns what in an answer is not as the document says. A route that the
// document does not have must be answered as undefined.
func (d *document) check(request *http.Request, got Answer) error {
	route, _, err := d.routes.FindRoute(request)
	switch {
	case errors.Is(err, routers.ErrPathNotFound) || errors.Is(err, routers.ErrMethodNotAllowed):
		if got.Status != http.StatusNotFound {
			return fmt.Errorf("the route is not documented: %w", err)
		}
		return nil
	case err != nil:
		return err
	}
	documented := route.Operation.Responses.Value(strconv.Itoa(got.Status))
	if documented == nil {
		return errors.New("the status is not documented")
	}
	for name, header := range documented.Value.Headers {
		value := got.Header.Get(name)
		switch {
		case value == "" && header.Value.Required:
			return fmt.Errorf("the header %s is missing", name)
		case value == "":
			continue
		}
		if err := d.matches(header.Ref+"/schema", value); err != nil {
			return fmt.Errorf("the header %s: %w", name, err)
		}
	}
	content := documented.Value.Content
	if len(content) == 0 {
		if got.Body != "" {
			return errors.New("a body is not documented")
		}
		return nil
	}
	mediaType, _, _ := strings.Cut(got.Header.Get("Content-Type"), ";")
	media := content[mediaType]
	if media == nil {
		return fmt.Errorf("the Content-Type %s is not documented", mediaType)
	}
	if mediaType == "application/x-ndjson" { // the schema is that of a line
		for line := range strings.Lines(got.Body) {
			value, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
			if err == nil {
				err = d.matches(media.Schema.Ref, value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	var body any = got.Body
	if strings.HasSuffix(mediaType, "json") {
		if body, err = jsonschema.UnmarshalJSON(strings.NewReader(got.Body)); err != nil {
			return err
		}
	}
	return d.matches(media.Schema.Ref, body)
}

// matches checks a value by the schema at a reference. Schemas without a name
// have none, and are not for answers.
func (d *document) matches(ref string, value any) error {
	if !strings.HasPrefix(ref, "#/components/") {
		return fmt.Errorf("the schema %q has no name in the document's components", ref)
	}
	d.mu.Lock()
	schema, err := d.schemas[ref], error(nil)
	if schema == nil {
		if schema, err = d.compiler.Compile(documentURL + ref); err == nil {
			d.schemas[ref] = schema
		}
	}
	d.mu.Unlock()
	if err != nil {
		return err
	}
	return schema.Validate(value)
}
