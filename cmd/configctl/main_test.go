package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Against a server that answers what the v1 API answers: what is sent, and what
// is printed. The pipeline behind it is tested elsewhere.
func TestCommands(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"GET /v1/config/motd":                              "hello",
		"GET /v1/config/motd/at/2026-01-02T03:04:05+01:00": "then",
		`PUT /v1/config/motd {"value":"a b"}`:              "OK",
		`PUT /v1/config/motd {"value":"line\n"}`:           "OK",
		"DELETE /v1/config/motd":                           "OK",
		"GET /v1/config":                                   `[{"name":"a","value":"1"},{"name":"long","value":"x\ny"}]`,
		"GET /v1/config/motd/history": `[
			{"event_type":"ConfigValueSet","data":{"value":"1"},"created_at":"T1","stream_version":1},
			{"event_type":"ConfigValueDeleted","data":{"deleted_value":"1"},"created_at":"T2","stream_version":2}]`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		answer, ok := answers[strings.TrimSpace(r.Method+" "+r.URL.Path+" "+string(body))]
		if !ok {
			http.Error(w, "Not Found", http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)

	for _, test := range []struct {
		args        string
		stdin, want string
		err         string
	}{
		{args: "get motd", want: "hello\n"},
		{args: "get motd --at 2026-01-02T03:04:05+01:00", want: "then\n"},
		{args: "get --at 2026-01-02T03:04:05+01:00 motd", want: "then\n"},
		{args: "get nothing", err: "404 Not Found: Not Found"},
		{args: "set motd a|b"},
		{args: "set motd -", stdin: "line\n"},
		{args: "set motd -", stdin: "\xff", err: "not UTF-8"},
		{args: "delete motd"},
		{args: "list", want: "a     1\nlong  \"x\\ny\"\n"},
		{args: "history motd", want: "1  T1  ConfigValueSet      1\n2  T2  ConfigValueDeleted  deleted\n"},
		{args: "--help", want: usage},
		{args: "help", want: usage},
		{args: "", err: "wrong usage: no command"},
		{args: "get", err: "wrong usage"},
		{args: "--port 1 list", err: "wrong usage"},
		{args: "--server http://127.0.0.1:1 list", err: "refused"},
	} {
		args := strings.Fields(test.args)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "|", " ")
		}
		var out bytes.Buffer
		getenv := func(string) string { return server.URL + "/" }
		err := run(t.Context(), args, getenv, strings.NewReader(test.stdin), &out)
		if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%s: error %v, want %q", test.args, err, test.err)
		}
		if errors.Is(err, errUsage) != strings.HasPrefix(test.err, "wrong usage") {
			t.Errorf("%s: error %v; is it wrong usage?", test.args, err)
		}
		if out.String() != test.want {
			t.Errorf("%s: printed %q, want %q", test.args, out.String(), test.want)
		}
	}
	if version() == "" {
		t.Error("no version")
	}
}
