package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The steps run in order, from the version of the event to the last, each once.
func TestUpcastChain(t *testing.T) {
	t.Parallel()
	broken := errors.New("no name")
	steps := []upcast{
		func(_ EventType, data []byte) ([]byte, error) { return append(bytes.Clone(data), " to 2"...), nil },
		func(t EventType, data []byte) ([]byte, error) {
			if t == ValueDeleted {
				return nil, broken
			}
			return append(bytes.Clone(data), " to 3"...), nil
		},
	}
	for version, want := range map[int]string{1: "x to 2 to 3", 2: "x to 3", 3: "x"} {
		data := []byte("x")
		got, err := upcastWith(steps, ValueSet, version, data)
		if err != nil || string(got) != want || string(data) != "x" {
			t.Errorf("version %d became %q, %v; want %q", version, got, err, want)
		}
	}
	for _, version := range []int{0, -1, 4, 1 << 30} {
		var unknown *UnknownEventError
		if _, err := upcastWith(steps, ValueSet, version, nil); !errors.As(err, &unknown) || unknown.SchemaVersion != version {
			t.Errorf("version %d: %v, want that it is unknown", version, err)
		}
	}
	if _, err := upcastWith(steps, ValueDeleted, 1, nil); !errors.Is(err, broken) || !strings.Contains(err.Error(), "from schema version 2") {
		t.Errorf("a step that fails: %v", err)
	}
}

// Every version that was ever written has golden files: see TestGoldenEvents.
func TestEveryVersionHasGoldenEvents(t *testing.T) {
	t.Parallel()
	for version := 1; version <= SchemaVersion; version++ {
		for _, kind := range []EventType{ValueSet, ValueDeleted, SchemaSet, SchemaDeleted} {
			files, err := filepath.Glob(fmt.Sprintf("testdata/event-v%d-*.json", version))
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				found = found || bytes.Contains(text, []byte(`"type": "`+string(kind)+`"`))
			}
			if !found {
				t.Errorf("schema version %d has no golden %s", version, kind)
			}
		}
	}
}
