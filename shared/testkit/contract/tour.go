package contract

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Tour runs the README's commands as a newcomer would type them, on a system
// that has no data yet. root is the repository's directory, relative or not.
func Tour(t *testing.T, a API, root string) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl, which the README uses, is not installed")
	}
	readme, tour := read(t, root+"/README.md"), read(t, root+"/e2e/tour.sh")
	_, lines, _ := strings.Cut(tour, "\n\n") // after the comment about itself
	if !strings.Contains(readme, "<!-- tour -->\n```sh\n"+lines+"```\n<!-- /tour -->") {
		t.Error("the README's tour differs from e2e/tour.sh")
	}
	watching := a.startWatch(t, "/v2/namespaces/shop/watch?from_position=0")

	t.Run("first five commands", func(t *testing.T) {
		_, section, _ := strings.Cut(readme, "## First five commands\n\n```sh\n")
		commands, _, found := strings.Cut(section, "```")
		if !found {
			t.Fatal("the README has no first five commands")
		}
		out := a.shell(t, commands)
		for _, want := range []string{"OKhello", "good morning", `"stream_version":2`, `[{"name":"greeting","value":"good morning"}]`} {
			if !strings.Contains(out, want) {
				t.Errorf("the output lacks %s:\n%s", want, out)
			}
		}
	})
	t.Run("tour", func(t *testing.T) {
		out := a.shell(t, lines)
		for _, want := range []string{
			`"change":"changed","old_value":10,"new_value":0`, `"change":"removed","old_value":{"on":true,"share":0.25}`,
			`"final":true`, `"dry_run":true`, `"reason":"cleanup"`, `"valid":true`,
		} {
			if !strings.Contains(out, want) {
				t.Errorf("the output lacks %s:\n%s", want, out)
			}
		}
		path := "/v2/namespaces/shop/configs/"
		for name, want := range map[string]string{"checkout.timeout": `"value":15,"version":5`, "flags.new-cart": `"value":{"on":true,"share":0.25},"version":3`} {
			if got := a.Do(t, "GET", path+name+"?consistency=strong", ""); !strings.Contains(got.Body, want) {
				t.Errorf("%s is %s, want %s", name, got.Body, want)
			}
		}
	})
	// The second terminal has seen it all: eight changes, in order.
	var types []string
	for len(types) < 8 {
		select {
		case line := <-watching:
			if event, is := strings.CutPrefix(line, "event: "); is && event != "bookmark" {
				types = append(types, strings.TrimPrefix(event, "ConfigValue"))
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("the watch has shown only %v", types)
		}
	}
	if got, want := strings.Join(types, " "), "Set Set Set Set Deleted Set Set Set"; got != want {
		t.Errorf("the watch has shown %s, want %s", got, want)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// curlThatWaits has each read show the write before it, wherever it is answered. Who
// types takes longer than that anyway.
const curlThatWaits = `seen=
curl() {
	command curl --fail-with-body --silent --show-error --dump-header "$HEADERS" ${seen:+--header "Config-Min-Position: $seen"} "$@" || return
	case " $* " in *" -X "*) seen=$(awk 'tolower($1) == "config-position:" { sub(/\r/, "", $2); print $2 }' "$HEADERS") ;; esac
}
`

// shell runs lines as they stand in the README, except for the address, and
// fails the test when a request is refused.
func (a API) shell(t *testing.T, lines string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", curlThatWaits+strings.ReplaceAll(lines, "http://127.0.0.1:4000", a.URL))
	cmd.Env = append(os.Environ(), "HEADERS="+filepath.Join(t.TempDir(), "headers"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	return string(out)
}

// startWatch runs curl -N and returns its lines, once it has shown where it is.
func (a API) startWatch(t *testing.T, path string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, "curl", "-sSN", a.URL+path)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			lines <- scanner.Text()
		}
		_ = cmd.Wait() // it is always killed
	}()
	t.Cleanup(func() { cancel(); <-ended })
	select {
	case <-lines:
	case <-time.After(10 * time.Second):
		t.Fatal("the watch shows nothing")
	}
	return lines
}
