package commands

import (
	"fmt"
	"io"
	"strings"

	"github.com/config-api/config-api/shared/config"
)

// readEnv reads NAME=value lines, as shells and docker's --env-file have them:
// in "double quotes" it is a text, with escapes; in 'single quotes' and without
// any it is read as configctl set reads its argument.
func readEnv(text string) ([]entry, error) {
	var entries []entry
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, is := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		if !is {
			return nil, fmt.Errorf("line %d: it is not NAME=value", n)
		}
		value, err := envValue(strings.TrimSpace(rest))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		entries = append(entries, entry{strings.TrimSpace(name), value})
	}
	return entriesOf(entries)
}

func envValue(text string) (config.Value, error) {
	switch {
	case strings.HasPrefix(text, `"`):
		inner, rest, err := unquote(text[1:])
		if err != nil {
			return nil, err
		}
		if err := onlyComment(rest); err != nil {
			return nil, err
		}
		return config.StringValue(inner)
	case strings.HasPrefix(text, "'"):
		inner, rest, is := strings.Cut(text[1:], "'")
		if !is {
			return nil, fmt.Errorf("the quote ' is not closed")
		}
		if err := onlyComment(rest); err != nil {
			return nil, err
		}
		return parseValue(inner, false)
	}
	if i := strings.Index(text, " #"); i >= 0 {
		text = strings.TrimSpace(text[:i])
	}
	return parseValue(text, false)
}

func onlyComment(rest string) error {
	if rest = strings.TrimSpace(rest); rest != "" && rest[0] != '#' {
		return fmt.Errorf("%q follows the closing quote", rest)
	}
	return nil
}

// envEscapes are those of double quotes: what a shell would act on is among them.
var envEscapes = map[byte]string{'n': "\n", 'r': "\r", 't': "\t", '"': `"`, '\\': `\`, '$': "$", '`': "`"}

// unquote reads up to the closing quote.
func unquote(text string) (inner, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			return b.String(), text[i+1:], nil
		case '\\':
			if i++; i == len(text) {
				continue
			}
			s, known := envEscapes[text[i]]
			if !known {
				return "", "", fmt.Errorf(`\%c means nothing here: use \n, \r, \t, \", \\, \$`, text[i])
			}
			b.WriteString(s)
		default:
			b.WriteByte(c)
		}
	}
	return "", "", fmt.Errorf(`the quote " is not closed`)
}

var envEscaper = strings.NewReplacer("\n", `\n`, "\r", `\r`, "\t", `\t`, `"`, `\"`, `\`, `\\`, "$", `\$`, "`", "\\`")

func writeEnv(w io.Writer, entries []entry) error {
	for _, e := range entries {
		text := string(e.value)
		if s, is := e.value.AsString(); is {
			text = `"` + envEscaper.Replace(s) + `"`
		} else if strings.ContainsAny(text, `{["' #`) {
			text = "'" + strings.ReplaceAll(text, "'", `\u0027`) + "'" // in JSON the same
		}
		if _, err := fmt.Fprintf(w, "%s=%s\n", e.name, text); err != nil {
			return err
		}
	}
	return nil
}
