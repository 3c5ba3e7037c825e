package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/config-api/config-api/cmd/configctl/commands"
	"github.com/config-api/config-api/shared/testkit"
)

var update = flag.Bool("update", false, "write what the commands in the README print into it")

const (
	transcriptBegin = "<!-- configctl -->\n```console\n"
	transcriptEnd   = "```\n<!-- /configctl -->"
)

// What the README shows of configctl is what it prints.
func TestTranscript(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	const readme = "../../README.md"
	text, err := os.ReadFile(readme)
	mustBe(t, err)
	before, rest, begins := strings.Cut(string(text), transcriptBegin)
	shown, after, ends := strings.Cut(rest, transcriptEnd)
	if !begins || !ends {
		t.Fatalf("%s has no part between %q and %q", readme, transcriptBegin, transcriptEnd)
	}
	printed := transcript(t, startSystem(t).url, shown)
	if printed == shown {
		return
	}
	if !*update {
		t.Fatalf("%s shows\n%s\nand this is printed (go test -run TestTranscript -update ./cmd/configd writes it):\n%s", readme, shown, printed)
	}
	mustBe(t, os.WriteFile(readme, []byte(before+transcriptBegin+printed+transcriptEnd+after), 0o600))
}

// transcript runs the commands of a transcript, and returns it with what they print.
// What follows $ cat FILE is what the file has.
func transcript(t *testing.T, url, shown string) string {
	t.Helper()
	dir := t.TempDir()
	env := map[string]string{"CONFIGCTL_SERVER": url, "CONFIGCTL_ACTOR": "ann", "CONFIGCTL_CONFIG": filepath.Join(dir, "none")}
	var out bytes.Buffer
	ran := 0
	for _, part := range strings.Split(shown, "$ ")[1:] {
		line, output, _ := strings.Cut(part, "\n")
		words := regexp.MustCompile(`"[^"]*"|\S+`).FindAllString(line, -1)
		out.WriteString("$ " + line + "\n")
		if words[0] == "cat" {
			mustBe(t, os.WriteFile(filepath.Join(dir, words[1]), []byte(output), 0o600))
			out.WriteString(output)
			continue
		}
		for i, word := range words {
			words[i] = strings.Trim(word, `"`)
			if _, err := os.Stat(filepath.Join(dir, word)); err == nil {
				words[i] = filepath.Join(dir, word)
			}
		}
		commands.Main(t.Context(), words[1:], commands.Streams{In: strings.NewReader(""), Out: &out, Err: &out, Env: func(name string) string { return env[name] }})
		ran++
	}
	if ran == 0 {
		t.Error("it has no commands")
	}
	return settled(out.String())
}

var (
	anyTime = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)
	anyUUID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
)

// settled has one time and one id instead of those that are new each time.
func settled(s string) string {
	return anyUUID.ReplaceAllString(anyTime.ReplaceAllString(s, "2026-11-24 14:00:00"), "0191f3a2-7c1e-7000-8000-0d3c5a6b7e8f")
}
