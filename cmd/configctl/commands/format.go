package commands

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/config-api/config-api/shared/config"
)

// entry is a config in a file.
type entry struct {
	name  string
	value config.Value
}

// fileFormat is how a file holds configs: reading what was written gives the same
// values.
type fileFormat struct {
	read  func(text string) ([]entry, error)
	write func(w io.Writer, entries []entry) error
}

var fileFormats = map[string]fileFormat{
	"json":       {readJSONFile, writeJSONFile},
	"yaml":       {readYAMLFile, writeYAMLFile},
	"env":        {readEnv, writeEnv},
	"properties": {readProperties, writeProperties},
}

// formatOf finds the format by the flag, or by the file's name.
func formatOf(flag, file string) (fileFormat, error) {
	name := cmp.Or(flag, strings.TrimPrefix(filepath.Ext(file), "."))
	if name == "yml" {
		name = "yaml"
	}
	f, there := fileFormats[name]
	if !there {
		return f, usagef("%q is no format of files: use yaml, json, env or properties, as the file's ending or with a flag", name)
	}
	return f, nil
}

// entriesOf checks the names, and puts them in order.
func entriesOf(entries []entry) ([]entry, error) {
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	for i, e := range entries {
		if err := config.CheckName(e.name); err != nil {
			return nil, err
		}
		if i > 0 && entries[i-1].name == e.name {
			return nil, fmt.Errorf("%s is there twice", e.name)
		}
	}
	return entries, nil
}

func readJSONFile(text string) ([]entry, error) {
	if err := config.CheckJSON([]byte(text)); err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &members); err != nil || members == nil {
		return nil, fmt.Errorf("the file must be one object, with a member for each config")
	}
	entries := make([]entry, 0, len(members))
	for name, raw := range members {
		value, err := config.ParseValue(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		entries = append(entries, entry{name, value})
	}
	return entriesOf(entries)
}

func writeJSONFile(w io.Writer, entries []entry) error {
	var b bytes.Buffer
	if err := json.Indent(&b, object(entries), "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

// object is the JSON object of the entries. Names need no escaping.
func object(entries []entry) []byte {
	b := []byte{'{'}
	for i, e := range entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `"`+e.name+`":`...)
		b = append(b, e.value...)
	}
	return append(b, '}')
}

// canonical is the text of a value in which two that mean the same are the same:
// members in order, escapes written alike. Numbers keep their text.
func canonical(raw []byte) string {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return string(raw)
	}
	text, err := compactJSON(v)
	if err != nil {
		return string(raw)
	}
	return string(text)
}

// loose is a value as formats without types hold it: what parseValue reads back.
func loose(v config.Value) string {
	if s, is := v.AsString(); is && !json.Valid([]byte(s)) {
		return s
	}
	return string(v)
}
