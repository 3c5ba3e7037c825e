package commands

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/config-api/config-api/shared/config"
)

const valueHelp = `A value that is valid JSON (30, true, {"a":1}, "text") is taken as that, anything else
as a text; --string takes it as a text in any case. A value of - is read from standard
input, @file from a file; without --string, a line end at its end is left out.`

// parseValue reads a value as a person wrote it.
func parseValue(text string, isText bool) (config.Value, error) {
	if !isText && json.Valid([]byte(text)) {
		return config.ParseValue([]byte(text))
	}
	return config.StringValue(text)
}

// argument reads a value argument.
func (c *cli) argument(text string, isText bool) (config.Value, error) {
	source, fromFile := strings.CutPrefix(text, "@")
	if text != "-" && !fromFile {
		return parseValue(text, isText)
	}
	if !fromFile {
		source = "-"
	}
	input, err := c.readFile(source)
	if err != nil {
		return nil, err
	}
	if !isText {
		input = strings.TrimSuffix(strings.TrimSuffix(input, "\n"), "\r")
	}
	return parseValue(input, isText)
}

// readFile reads a file, or standard input as -.
func (c *cli) readFile(name string) (string, error) {
	if name == "-" {
		text, err := io.ReadAll(c.In)
		if err != nil {
			return "", fmt.Errorf("standard input: %w", err)
		}
		return string(text), nil
	}
	text, err := os.ReadFile(name)
	return string(text), err
}
