package commands

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/config-api/config-api/shared/config"
)

func readYAMLFile(text string) ([]entry, error) {
	d := yaml.NewDecoder(strings.NewReader(text))
	var document yaml.Node
	if err := d.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("the file has more than one document")
	}
	if len(document.Content) == 0 { // only comments
		return nil, nil
	}
	top := document.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: the file must be one mapping, with a name and its value a line", top.Line)
	}
	if err := checkKeys(top); err != nil {
		return nil, err
	}
	var entries []entry
	for pair := range slices.Chunk(top.Content, 2) {
		raw, err := appendNode(nil, pair[1], 0)
		if err != nil {
			return nil, err
		}
		value, err := config.ParseValue(raw)
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", pair[0].Line, pair[0].Value, err)
		}
		entries = append(entries, entry{pair[0].Value, value})
	}
	return entriesOf(entries)
}

// checkKeys refuses what JSON has no word for.
func checkKeys(mapping *yaml.Node) error {
	seen := map[string]bool{}
	for pair := range slices.Chunk(mapping.Content, 2) {
		key := pair[0]
		switch {
		case key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge":
			return fmt.Errorf("line %d: a name must be a plain text", key.Line)
		case seen[key.Value]:
			return fmt.Errorf("line %d: %s is there twice", key.Line, key.Value)
		}
		seen[key.Value] = true
	}
	return nil
}

// maxDepth is how deep values may be in each other.
const maxDepth = 1000

// appendNode appends a node as JSON. Numbers keep their text, so that nothing is
// lost on the way.
func appendNode(b []byte, n *yaml.Node, depth int) ([]byte, error) {
	var err error
	// Aliases of aliases grow without end, and one can be inside of itself.
	if len(b) > config.MaxValueSize*8 || depth > maxDepth {
		return nil, fmt.Errorf("line %d: the value is too large, or contains itself", n.Line)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return appendNode(b, n.Alias, depth+1)
	case yaml.SequenceNode:
		b = append(b, '[')
		for i, item := range n.Content {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendNode(b, item, depth+1); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case yaml.MappingNode:
		if err := checkKeys(n); err != nil {
			return nil, err
		}
		b = append(b, '{')
		for i, item := range n.Content {
			switch {
			case i%2 == 1:
				b, err = appendNode(append(b, ':'), item, depth+1)
			case i > 0:
				b, err = appendText(append(b, ','), item.Value)
			default:
				b, err = appendText(b, item.Value)
			}
			if err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
	return appendScalar(b, n)
}

func appendText(b []byte, s string) ([]byte, error) {
	text, err := config.StringValue(s)
	return append(b, text...), err
}

func appendScalar(b []byte, n *yaml.Node) ([]byte, error) {
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!timestamp": // JSON has no times
		return appendText(b, n.Value)
	case "!!null":
		return append(b, "null"...), nil
	case "!!bool":
		return append(b, strings.ToLower(n.Value)...), nil
	case "!!int", "!!float":
		if !json.Valid([]byte(n.Value)) {
			return nil, fmt.Errorf("line %d: write the number %s as JSON does, or quote it", n.Line, n.Value)
		}
		return append(b, n.Value...), nil
	default:
		return nil, fmt.Errorf("line %d: a value can't be of type %s", n.Line, tag)
	}
}

func writeYAMLFile(w io.Writer, entries []entry) error {
	if len(entries) == 0 {
		_, err := io.WriteString(w, "{}\n")
		return err
	}
	return writeYAML(w, object(entries))
}

// writeYAML writes a JSON text as YAML; members keep their order, and numbers their
// text.
func writeYAML(w io.Writer, raw []byte) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	n, err := nodeOf(d)
	if err != nil {
		return err
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	return errors.Join(e.Encode(n), e.Close())
}

// nodeOf reads one JSON value.
func nodeOf(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.MappingNode}
		if v == '[' {
			n.Kind = yaml.SequenceNode
		}
		for d.More() {
			item, err := nodeOf(d) // of an object, names and values in turn
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, item)
		}
		_, err := d.Token()
		return n, err
	case string:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v, Style: styleOf(v)}, nil
	case json.Number:
		n := &yaml.Node{Kind: yaml.ScalarNode, Value: v.String()}
		if n.Tag = n.ShortTag(); n.Tag != "!!int" {
			n.Tag = "!!float"
		}
		return n, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(v)}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
}

// styleOf quotes what YAML would fold, trim or not take as it is.
func styleOf(s string) yaml.Style {
	odd := func(r rune) bool { return isControl(r) && r != '\n' || r == '\u2028' || r == '\u2029' || r == '\ufeff' }
	lines := strings.Contains(s, "\n")
	switch {
	case strings.IndexFunc(s, odd) >= 0, strings.TrimSpace(s) != strings.TrimSuffix(s, "\n"), strings.Contains(s, " \n"):
		return yaml.DoubleQuotedStyle
	case lines:
		return yaml.LiteralStyle
	}
	return 0
}
