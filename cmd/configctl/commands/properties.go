package commands

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
)

// readProperties reads Java's .properties, in UTF-8: comments with # and !, a
// separator = or : or a space, a \ at the end that goes on in the next line. A value
// is read as configctl set reads its argument.
func readProperties(text string) ([]entry, error) {
	var entries []entry
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimLeft(lines[i], " \t\f")
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		first := i + 1
		for goesOn(line) && i+1 < len(lines) {
			i++
			line = line[:len(line)-1] + strings.TrimLeft(lines[i], " \t\f")
		}
		e, err := property(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", first, err)
		}
		entries = append(entries, e)
	}
	return entriesOf(entries)
}

// goesOn reports whether a line ends with a \ that is not escaped itself.
func goesOn(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

func property(line string) (entry, error) {
	end := 0
	for end < len(line) && !strings.ContainsRune("=: \t\f", rune(line[end])) {
		if line[end] == '\\' {
			end++
		}
		end++
	}
	end = min(end, len(line))
	rest := strings.TrimLeft(line[end:], " \t\f")
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		rest = strings.TrimLeft(rest[1:], " \t\f")
	}
	name, err := unescape(line[:end])
	if err != nil {
		return entry{}, err
	}
	text, err := unescape(rest)
	if err != nil {
		return entry{}, err
	}
	value, err := parseValue(text, false)
	return entry{name, value}, err
}

// unescape takes the escapes of .properties away. A \ before anything else than a
// letter with a meaning is left out, as Java has it.
func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			unit, err := hexUnit(s[i:])
			if err != nil {
				return "", err
			}
			i += 4
			if utf16.IsSurrogate(unit) && strings.HasPrefix(s[i+1:], `\u`) {
				second, err := hexUnit(s[i+2:])
				if err != nil {
					return "", err
				}
				unit = utf16.DecodeRune(unit, second)
				i += 6
			}
			b.WriteRune(unit)
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}

// hexUnit reads u and four digits.
func hexUnit(s string) (rune, error) {
	if len(s) >= 5 {
		if unit, err := strconv.ParseUint(s[1:5], 16, 16); err == nil {
			return rune(unit), nil
		}
	}
	return 0, errors.New(`\u needs four hexadecimal digits`)
}

var propertyEscaper = strings.NewReplacer("\n", `\n`, "\r", `\r`, "\t", `\t`, "\f", `\f`, `\`, `\\`)

// writeProperties needs no escapes in names, which are letters, digits and _-. only.
func writeProperties(w io.Writer, entries []entry) error {
	for _, e := range entries {
		text := propertyEscaper.Replace(loose(e.value))
		if strings.HasPrefix(text, " ") {
			text = `\` + text
		}
		if _, err := fmt.Fprintf(w, "%s = %s\n", e.name, text); err != nil {
			return err
		}
	}
	return nil
}
