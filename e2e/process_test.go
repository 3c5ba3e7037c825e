//go:build crash && linux

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is one program of the cluster. It is started again at the same
// address, and its log goes on in the same file.
type process struct {
	name, program string
	args, env     []string
	address       string // host:port of its HTTP, "" if it has none
	dir           string // of its log and of the file that arms its failpoints

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	wanted bool // it should be running: an end is a fault of its own
}

func (p *process) url() string     { return "http://" + p.address }
func (p *process) logFile() string { return filepath.Join(p.dir, p.name+".log") }
func (p *process) armFile() string { return filepath.Join(p.dir, p.name+".failpoint") }

func (p *process) start() error {
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(p.program, p.args...)
	cmd.Env = slices.Concat(p.env, []string{"CONFIG_API_FAILPOINT_FILE=" + p.armFile()})
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	exited, started := make(chan struct{}), make(chan error)
	go func() {
		// The signal of a parent's death comes when the thread that forked ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(exited)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("%w: make test-crash builds it", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd, p.exited, p.wanted = cmd, exited, true
	return nil
}

func (p *process) now() (*exec.Cmd, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd, p.exited
}

func (p *process) pid() int {
	cmd, _ := p.now()
	return cmd.Process.Pid
}

// signal sends one; SIGKILL returns when the process is gone.
func (p *process) signal(s syscall.Signal) {
	cmd, exited := p.now()
	if cmd == nil {
		return
	}
	if s == syscall.SIGKILL || s == syscall.SIGTERM {
		p.mu.Lock()
		p.wanted = false
		p.mu.Unlock()
	}
	_ = cmd.Process.Signal(s)
	if s == syscall.SIGKILL {
		<-exited
	}
}

// arm has the process die at the n-th hit of a failpoint from now on.
func (p *process) arm(point string, n int) error {
	p.mu.Lock()
	p.wanted = false
	p.mu.Unlock()
	// Renamed into place: half a number would be another one.
	if err := os.WriteFile(p.armFile()+".new", []byte(fmt.Sprintf("%s=%d", point, n)), 0o600); err != nil {
		return err
	}
	return os.Rename(p.armFile()+".new", p.armFile())
}

func (p *process) disarm() { _ = os.Remove(p.armFile()) }

// diedIn reports whether the process ends within a time.
func (p *process) diedIn(d time.Duration) bool {
	_, exited := p.now()
	select {
	case <-exited:
		return true
	case <-time.After(d):
		return false
	}
}

// endedByItself reports whether it is gone without having been told to go.
func (p *process) endedByItself() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.wanted {
		return false
	}
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

var probe = &http.Client{Timeout: 3 * time.Second}

// ready returns why the process is not ready, if so.
func (p *process) ready() error { return p.answers("/readyz") }

func (p *process) answers(path string) error {
	if p.address == "" {
		return nil
	}
	resp, err := probe.Get(p.url() + path)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s%s: %s", p.name, path, resp.Status)
	}
	return nil
}

// logged returns the lines of the process's log that have a text.
func (p *process) logged(t *testing.T, text string) []string {
	t.Helper()
	content, err := os.ReadFile(p.logFile())
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(content)) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}
