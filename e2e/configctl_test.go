//go:build contract

package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestConfigctl runs bin/configctl as a person does, at a terminal and with Ctrl-C:
// what it does otherwise, cmd/configd tests.
func TestConfigctl(t *testing.T) {
	d := newDaemon(t)
	d.start(t)
	d.awaitReady(t)
	t.Cleanup(func() { d.interrupt(t) })
	bin, err := filepath.Abs("../bin")
	if err != nil {
		t.Fatal(err)
	}
	// In a test of its own, which ends when the scripts have.
	t.Run("scripts", func(t *testing.T) {
		testscript.Run(t, testscript.Params{
			Dir: "testdata/configctl",
			Setup: func(env *testscript.Env) error {
				env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
				env.Setenv("CONFIGCTL_SERVER", d.url)
				env.Setenv("CONFIGCTL_CONFIG", filepath.Join(env.WorkDir, "config.yaml"))
				return nil
			},
		})
	})

	// Ctrl-C ends a watch, and that is no failure.
	watch := exec.CommandContext(t.Context(), filepath.Join(bin, "configctl"), "watch", "--from", "0", "--server", d.url, "-n", "tty")
	out, err := watch.StdoutPipe()
	if err == nil {
		err = watch.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, "a = 1") {
		t.Errorf("the watch prints %q, %v", line, err)
	}
	if err := watch.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := watch.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
}
