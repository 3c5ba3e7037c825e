package commands

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/config-api/config-api/shared/config"
)

// answer is what a command has found, in its forms.
type answer struct {
	data  any      // for json and yaml
	table table    // for people
	text  string   // for people, instead of a table
	value []string // the bare thing, a line each; nil if there is none
}

// table is for people. A row may have a colour.
type table struct {
	head []string
	rows []row
}

type row struct {
	cells  []string
	colour string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, row{cells: cells}) }

// The colours of a terminal.
const (
	red, green, yellow, bold, plain = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[1m", "\x1b[0m"
)

// column is a column of a table, as bare values.
func column(t table, i int) []string {
	cells := make([]string, 0, len(t.rows))
	for _, r := range t.rows {
		cells = append(cells, r.cells[i])
	}
	return cells
}

func (c *cli) checkFormat() error {
	switch c.flags.format {
	case "", "table", "json", "yaml", "value", "env", "properties":
		return nil
	}
	return usagef("-o %s: use table, json, yaml or value", c.flags.format)
}

// print writes an answer in the form that was asked for; a table if none was.
func (c *cli) print(a answer) error {
	switch {
	case c.flags.format == "json":
		return writeJSON(c.Out, a.data, "  ")
	case c.flags.format == "yaml":
		raw, err := compactJSON(a.data)
		if err != nil {
			return err
		}
		return writeYAML(c.Out, raw)
	case c.flags.format == "value" && a.value != nil:
		for _, line := range a.value {
			fmt.Fprintln(c.Out, line)
		}
		return nil
	case c.flags.format == "value", c.flags.format == "env", c.flags.format == "properties":
		return usagef("this has no form %s: use -o json, yaml or table", c.flags.format)
	case a.text != "":
		_, err := io.WriteString(c.Out, a.text+"\n")
		return err
	}
	return a.table.write(c.Out, c.colour())
}

// write lays the columns out. Colours are put around whole lines at the end, since
// they have no width.
func (t table) write(w io.Writer, coloured bool) error {
	rows := t.rows
	if t.head != nil {
		rows = append([]row{{t.head, bold}}, rows...)
	}
	var widths []int
	for _, r := range rows {
		for i, cell := range r.cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b bytes.Buffer
	for _, r := range rows {
		var line strings.Builder
		for i, cell := range r.cells {
			line.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		text := strings.TrimRight(line.String(), " ")
		if coloured && r.colour != "" {
			text = r.colour + text + plain
		}
		b.WriteString(text + "\n")
	}
	_, err := w.Write(b.Bytes())
	return err
}

// colour reports whether colours help: on a terminal whose user has not refused
// them (https://no-color.org).
func (c *cli) colour() bool {
	return isTerminal(c.Out) && c.Env("NO_COLOR") == "" && c.Env("TERM") != "dumb"
}

func isTerminal(stream any) bool {
	f, is := stream.(*os.File)
	return is && term.IsTerminal(int(f.Fd()))
}

// writeJSON leaves <, > and & as they are.
func writeJSON(w io.Writer, v any, indent string) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	return e.Encode(v)
}

func compactJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	err := writeJSON(&b, v, "")
	return b.Bytes(), err
}

// bare is a value as a person wrote it: a text without its quotes.
func bare(raw json.RawMessage) string { return config.Value(raw).Text() }

// maxCell is how much of a value a table shows.
const maxCell = 60

// cell is a value in a table: one line, not too long. A text that looks like
// something else, or like nothing, keeps its quotes.
func cell(raw json.RawMessage) string {
	text := string(raw)
	if s, is := config.Value(raw).AsString(); is && s != "" && !json.Valid([]byte(s)) && strings.IndexFunc(s, isControl) < 0 {
		text = s
	}
	text = controls.ReplaceAllStringFunc(text, func(c string) string {
		r, _ := utf8.DecodeRuneInString(c)
		return fmt.Sprintf(`\u%04x`, r)
	})
	if utf8.RuneCountInString(text) <= maxCell {
		return text
	}
	return string([]rune(text)[:maxCell-1]) + "…"
}

// controls are what a terminal acts on, and JSON does not escape.
var controls = regexp.MustCompile(`[\x7f-\x{9f}]`)

func isControl(r rune) bool { return r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 }

// oneLine keeps what others wrote from breaking a table, or a terminal.
func oneLine(s string) string {
	if strings.IndexFunc(s, isControl) < 0 {
		return s
	}
	return fmt.Sprintf("%q", s)
}

// clock is how tables show times: in the time zone of this machine.
func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}
