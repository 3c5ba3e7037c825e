package service_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/config-api/config-api/shared/service"
)

func TestLog(t *testing.T) {
	t.Parallel()
	for level, lines := range map[string]int{"debug": 4, "info": 3, "warn": 2, "error": 1} {
		var text, structured strings.Builder
		for format, out := range map[string]*strings.Builder{"text": &text, "json": &structured} {
			logger := service.LogOptions{Format: format, Level: level}.New(out, "demo")
			logger.Debug("d")
			logger.Info("i")
			logger.Warn("w")
			logger.Error("it broke", "name", "a b")
			if got := strings.Count(out.String(), "\n"); got != lines {
				t.Errorf("%s, %s: %d lines, want %d", format, level, got, lines)
			}
		}
		if !strings.HasSuffix(text.String(), `level=ERROR msg="it broke" service=demo name="a b"`+"\n") {
			t.Errorf("as text: %s", &text)
		}
		written := strings.Split(strings.TrimSpace(structured.String()), "\n")
		var last map[string]any
		if err := json.Unmarshal([]byte(written[len(written)-1]), &last); err != nil {
			t.Fatal(err)
		}
		if last["level"] != "ERROR" || last["msg"] != "it broke" || last["service"] != "demo" || last["name"] != "a b" || last["time"] == nil {
			t.Errorf("as JSON: %v", last)
		}
	}
}
