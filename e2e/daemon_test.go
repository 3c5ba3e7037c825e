//go:build crash || contract

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/testkit"
)

const startTimeout = 60 * time.Second

// daemon is bin/configd on one data directory.
type daemon struct {
	dir, url string
	nats     string
	client   *http.Client
	cmd      *exec.Cmd
	log      *os.File
	exited   chan struct{}
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	// Not testing's directory: root's Postgres could not get through it.
	dir, err := os.MkdirTemp("", "config-api-e2e-")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "configd.log"))
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{dir: dir, log: log, url: "http://" + freeAddress(t), nats: freeAddress(t), client: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64},
		Timeout:   20 * time.Second,
	}}
	t.Cleanup(func() {
		if d.cmd != nil {
			_ = d.cmd.Process.Kill()
			<-d.exited
		}
		_ = log.Close()
		if t.Failed() {
			t.Logf("the data and the log of the failed run are in %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	return d
}

func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
}

func (d *daemon) start(t *testing.T) {
	t.Helper()
	d.cmd = exec.Command("../bin/configd", "--data-dir", filepath.Join(d.dir, "data"),
		"--listen", strings.TrimPrefix(d.url, "http://"), "--nats-listen", d.nats)
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	if err := d.cmd.Start(); err != nil {
		t.Fatalf("%v: make build makes it", err)
	}
	exited := make(chan struct{})
	d.exited = exited
	cmd := d.cmd
	go func() {
		defer close(exited)
		_ = cmd.Wait()
	}()
}

// killAfter kills configd at a moment of its life that only the clock decides.
func (d *daemon) killAfter(t *testing.T, wait time.Duration) {
	t.Helper()
	select {
	case <-time.After(wait):
	case <-d.exited:
		t.Fatalf("configd ended by itself: see %s", d.log.Name())
	}
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-d.exited
	d.client.CloseIdleConnections()
}

// interrupt is Ctrl-C, after which configd ends cleanly.
func (d *daemon) interrupt(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.exited:
	case <-time.After(startTimeout):
		t.Fatal("configd does not stop")
	}
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("configd ended with %d after Ctrl-C, want 0", code)
	}
}

func (d *daemon) awaitReady(t *testing.T) {
	t.Helper()
	began := time.Now()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		resp, err := d.client.Get(d.url + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				t.Logf("ready after %v", time.Since(began).Round(time.Millisecond))
				return
			}
		}
		select {
		case <-poll.C:
		case <-d.exited:
			t.Fatalf("configd ended by itself: see %s", d.log.Name())
		}
		if time.Since(began) > startTimeout {
			t.Fatalf("configd does not get ready: %v; see %s", err, d.log.Name())
		}
	}
}
