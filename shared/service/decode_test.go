package service_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/service"
)

type form struct {
	Value   string           `json:"value"`
	Force   bool             `json:"force"`
	Names   []string         `json:"names"`
	Version *int64           `json:"expected_version"`
	Nested  struct{ A int }  `json:"nested"`
	Members map[string]int64 `json:"members"`
	Changes []struct {
		Op string `json:"op"`
	} `json:"changes"`
}

func TestBodyIsOneObject(t *testing.T) {
	t.Parallel()
	var got form
	err := service.DecodeJSON([]byte(` {"value":"<a>&\u00e9","names":["x","y"],"expected_version":9007199254740993,"nested":{"A":1}} `+"\n"), &got)
	if err != nil || got.Value != "<a>&é" || len(got.Names) != 2 || got.Version == nil || *got.Version != 9007199254740993 || got.Nested.A != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestBodiesThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ body, pointer, detail string }{
		{"", "", "the body is empty"},
		{" \n", "", "the body is empty"},
		{`[]`, "", "not a JSON object"},
		{`"value"`, "", "not a JSON object"},
		{`null`, "", "not a JSON object"},
		{`{"value":"a"} {}`, "", ""},
		{`{"value":"a",}`, "", ""},
		{`{"value":"a"`, "", ""},
		{`{"value":"a","value":"b"}`, "", "value"},
		{`{"nested":{"A":1,"A":2}}`, "", "A"},
		{"{\"value\":\"\xff\"}", "", ""},
		{`{"value":"\ud800"}`, "", ""},
		{`{"vale":"a"}`, "/vale", "is not a member that is known here"},
		{`{"value":1}`, "/value", "is a JSON number, expected a string"},
		{`{"value":{}}`, "/value", "is a JSON object, expected a string"},
		{`{"force":"yes"}`, "/force", "is a JSON string, expected true or false"},
		{`{"names":"x"}`, "/names", "is a JSON string, expected an array"},
		{`{"nested":[]}`, "/nested", "is a JSON array, expected an object"},
		{`{"members":true}`, "/members", "is a JSON bool, expected an object"},
		{`{"nested":{"A":"x"}}`, "/nested/A", "is a JSON string, expected a number"},
		{`{"expected_version":1.5}`, "/expected_version", "expected a number"},
	} {
		var refused *config.Error
		err := service.DecodeJSON([]byte(test.body), new(form))
		if !errors.As(err, &refused) || refused.Code != config.Invalid || !strings.Contains(refused.Detail, test.detail) {
			t.Errorf("%s: error %v, want %q", test.body, err, test.detail)
			continue
		}
		if test.pointer != "" && (len(refused.Faults) != 1 || refused.Faults[0].Pointer != test.pointer) {
			t.Errorf("%s: faults %+v, want one at %s", test.body, refused.Faults, test.pointer)
		}
	}
}

func TestAnswersKeepWhatWasWritten(t *testing.T) {
	t.Parallel()
	text, err := service.EncodeJSON(map[string]string{"v": "<b>&\u2028</b>"})
	if want := `{"v":"<b>&\u2028</b>"}`; err != nil || string(text) != want {
		t.Errorf("got %s, %v, want %s", text, err, want)
	}
	if _, err := service.EncodeJSON(func() {}); err == nil {
		t.Error("a function was encoded")
	}
}
