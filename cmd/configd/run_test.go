package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/testkit"
)

// process is a configd in this process.
type process struct {
	url    string
	stop   context.CancelFunc
	ended  chan error
	output *output
}

// output is what it prints. It may be read while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

var printedURL = regexp.MustCompile(`HTTP +(http://\S+)`)

// launch returns when it has printed that it is ready.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	p := &process{stop: stop, ended: make(chan error, 1), output: &output{}}
	args = append(args, "--listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--log-level", "warn")
	go func() { p.ended <- run(ctx, args, nil, p.output) }()
	t.Cleanup(stop)
	testkit.Eventually(t, func() error {
		select {
		case err := <-p.ended:
			t.Fatalf("ended with %v; it printed:\n%s", err, p.output)
		default:
		}
		match := printedURL.FindStringSubmatch(p.output.String())
		if match == nil {
			return fmt.Errorf("not ready; it printed:\n%s", p.output)
		}
		p.url = match[1]
		return nil
	})
	return p
}

// wait returns what run returned.
func (p *process) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
		return nil
	}
}

// ask returns the status and the body.
func (p *process) ask(t *testing.T, method, path, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, answer)
}

// dataDir is one that root's Postgres can reach, unlike testing's own.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "configd-")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "data")
}

func TestOwnServers(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	dir := dataDir(t)
	p := launch(t, "--data-dir", dir)
	if got := p.ask(t, "PUT", "/v1/config/greeting", `{"value":"hello"}`); got != "200 OK" {
		t.Fatalf("PUT: %s", got)
	}
	if got := p.ask(t, "GET", "/readyz", ""); !strings.HasPrefix(got, "200") {
		t.Errorf("GET /readyz: %s", got)
	}
	second := run(t.Context(), []string{"--data-dir", dir, "--listen", "127.0.0.1:0"}, nil, io.Discard)
	if second == nil || !strings.Contains(second.Error(), "another configd") {
		t.Errorf("a second configd on the same data: %v", second)
	}
	p.stop()
	if err := p.wait(t); err != nil {
		t.Fatalf("Ctrl-C: %v", err)
	}

	p = launch(t, "--data-dir", dir)
	if got := p.ask(t, "GET", "/v1/config/greeting", ""); got != "200 hello" {
		t.Errorf("after a restart: %s", got)
	}
	if err := syscall.Kill(postgresPID(t, dir), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := p.wait(t); err == nil || !strings.Contains(err.Error(), "postgres.log") {
		t.Errorf("postgres stopped behind its back: %v, want an error that names its log", err)
	}
}

func postgresPID(t *testing.T, dir string) int {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "postgres", "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestOthersServers(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	dir, nats := t.TempDir(), testkit.NATS(t)
	p := launch(t, "--data-dir", dir, "--database-url", testkit.DatabaseURL(t), "--nats-url", nats.URL)
	if got := p.ask(t, "PUT", "/v1/config/greeting", `{"value":"hello"}`); got != "200 OK" {
		t.Fatalf("PUT: %s", got)
	}
	p.stop()
	if err := p.wait(t); err != nil {
		t.Fatalf("Ctrl-C: %v", err)
	}
	for _, own := range []string{"postgres", "nats"} {
		if _, err := os.Stat(filepath.Join(dir, own)); err == nil {
			t.Errorf("it made a %s of its own", own)
		}
	}
}

func TestStartsThatFail(t *testing.T) {
	t.Parallel()
	taken := testkit.NATS(t).URL[len("nats://"):]
	for name, test := range map[string]struct{ args, err string }{
		"port in use":      {"--listen " + taken, "is in use by another program"},
		"NATS port in use": {"--listen 127.0.0.1:0 --nats-listen " + taken + " --database-url postgres://nobody@127.0.0.1:1/x", "another program listens on " + taken},
		"all faults":       {"--log-level loud --log-format xml", "--log-format"},
		"no such option":   {"--lisen x", "lisen"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"--data-dir", t.TempDir()}, strings.Fields(test.args)...)
			if err := run(t.Context(), args, nil, io.Discard); err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("error %v, want %q", err, test.err)
			}
		})
	}
}
