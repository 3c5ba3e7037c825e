package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/config-api/config-api/shared/config"
)

// DecodeJSON reads a request body that must be one JSON object into dst, a
// pointer to a struct. It is strict: an unknown member, a member of the wrong
// type, or a member that comes twice is refused by name.
func DecodeJSON(body []byte, dst any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return config.Errorf(config.Invalid, "the body is empty: a JSON object was expected")
	}
	if err := config.CheckJSON(body); err != nil {
		return err
	}
	if bytes.TrimSpace(body)[0] != '{' {
		return config.Errorf(config.Invalid, "the body is not a JSON object")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(dst)
	var wrongType *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrongType):
		return fault("/"+strings.ReplaceAll(wrongType.Field, ".", "/"), "is a JSON "+wrongType.Value+", expected "+kindName(wrongType.Type))
	default:
		// encoding/json has no type for this error: json: unknown field "x"
		if _, quoted, ok := strings.Cut(err.Error(), "unknown field "); ok {
			return fault("/"+strings.Trim(quoted, `"`), "is not a member that is known here")
		}
		return config.Errorf(config.Invalid, "the body can't be read: %v", err)
	}
}

func fault(pointer, detail string) error {
	return &config.Error{
		Code:   config.Invalid,
		Detail: strings.TrimPrefix(pointer, "/") + " " + detail,
		Faults: []config.Fault{{Pointer: pointer, Detail: detail}},
	}
}

// kindName is a Go type in the words of JSON.
func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return "a number"
	}
}

// EncodeJSON is [json.Marshal] that leaves <, > and & as they are: stored values
// are answered as they were written.
func EncodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// exactJSON makes echo answer with [EncodeJSON].
type exactJSON struct{}

func (exactJSON) Serialize(c echo.Context, v any, _ string) error {
	text, err := EncodeJSON(v)
	if err != nil {
		return err
	}
	_, err = c.Response().Write(append(text, '\n'))
	return err
}

func (exactJSON) Deserialize(c echo.Context, v any) error {
	return json.NewDecoder(c.Request().Body).Decode(v)
}
