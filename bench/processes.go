package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/config-api/config-api/shared/localpg"
)

// bench is a run: its processes and its tables.
type bench struct {
	options
	dir     string
	logger  *slog.Logger
	started []func()
	tables  []*table
}

// stop ends all processes, the last started first.
func (b *bench) stop() {
	for i := len(b.started) - 1; i >= 0; i-- {
		b.started[i]()
	}
	b.started = nil
}

// process is one that was started.
type process struct {
	cmd  *exec.Cmd
	dir  string // its data
	stop func()
}

// run starts a program, and ends it with the run if not before.
func (b *bench) run(program string, args, environ []string, ready func(*bufio.Scanner) (string, error)) (*process, string, error) {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), environ...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	p := &process{cmd: cmd}
	stopped := false
	p.stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = in.Close()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	b.started = append(b.started, p.stop)
	lines := bufio.NewScanner(out)
	address, err := ready(lines)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", filepath.Base(program), err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return p, address, nil
}

// peer starts one of our own making: see serve.
func (b *bench) peer(what string) (*process, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	dir, err := os.MkdirTemp(b.dir, what)
	if err != nil {
		return nil, "", err
	}
	p, address, err := b.run(self, []string{"serve", what, dir}, nil, func(lines *bufio.Scanner) (string, error) {
		if !lines.Scan() {
			return "", errStopped
		}
		return lines.Text(), nil
	})
	if p != nil {
		p.dir = dir
	}
	return p, address, err
}

// system is Config API: configd as make run starts it.
type system struct {
	*process
	url, nats string
}

func (b *bench) system() (*system, error) {
	dir, err := os.MkdirTemp(b.dir, "configd")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // Postgres runs as another user where we are root
		return nil, err
	}
	s := &system{}
	args := []string{"--listen=127.0.0.1:0", "--nats-listen=127.0.0.1:0", "--data-dir=" + dir, "--log-level=error"}
	s.process, _, err = b.run(filepath.Join(b.configd, "configd"), args, nil, func(lines *bufio.Scanner) (string, error) {
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			switch {
			case len(fields) > 1 && fields[0] == "HTTP":
				s.url = fields[1]
			case len(fields) > 1 && fields[0] == "NATS":
				s.nats = fields[1]
			case len(fields) > 0 && fields[0] == "Ctrl-C":
				return "", nil
			}
		}
		return "", errStopped
	})
	if err == nil {
		s.dir = dir
	}
	return s, err
}

// postgres is a server of its own, which waits for the disk.
func (b *bench) postgres(ctx context.Context) (*localpg.Server, error) {
	dir, err := os.MkdirTemp(b.dir, "postgres")
	if err == nil {
		err = os.Chmod(dir, 0o755) //nolint:gosec // Postgres runs as another user where we are root
	}
	if err != nil {
		return nil, err
	}
	server, err := localpg.Start(ctx, localpg.Options{Dir: dir, Durable: true, Logger: b.logger})
	if err != nil {
		return nil, err
	}
	b.started = append(b.started, func() { _ = server.Stop(context.WithoutCancel(ctx)) })
	return server, nil
}

// service starts one of the three as a process of its own, and waits until it is
// ready.
func (b *bench) service(ctx context.Context, name string, environ ...string) (url string, err error) {
	address, err := freePort()
	if err != nil {
		return "", err
	}
	_, _, err = b.run(filepath.Join(b.configd, name), []string{"--listen=" + address, "--log-level=error"}, environ, func(*bufio.Scanner) (string, error) { return "", nil })
	if err != nil {
		return "", err
	}
	url = "http://" + address
	for range 300 {
		if _, err = do(ctx, http.DefaultClient, http.MethodGet, url+"/readyz", ""); err == nil {
			return url, nil
		}
		sleep(ctx, 100*time.Millisecond)
	}
	return "", fmt.Errorf("%s is not ready: %w", name, err)
}

// resident is the memory of a process and of those that it has started, in bytes:
// what they share is counted once, so far as the system tells.
func resident(p *process) (int64, error) {
	children := map[int][]int{}
	entries, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, entry := range entries {
		text, err := os.ReadFile(entry)
		if err != nil {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(entry)))
		_, rest, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 {
			parent, _ := strconv.Atoi(fields[1])
			children[parent] = append(children[parent], pid)
		}
	}
	var total int64
	for all := []int{p.cmd.Process.Pid}; len(all) > 0; all = all[1:] {
		all = append(all, children[all[0]]...)
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", all[0]))
		if err != nil && all[0] != p.cmd.Process.Pid {
			continue // it has ended
		}
		if err != nil {
			return 0, fmt.Errorf("memory of a process is read on Linux only: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Pss:" {
				kilobytes, _ := strconv.ParseInt(fields[1], 10, 64)
				total += kilobytes << 10
			}
		}
	}
	return total, nil
}

// diskUsage is what a directory takes on the disk, in bytes.
func diskUsage(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil //nolint:nilerr // a file may go while we look
		}
		info, err := entry.Info()
		if err != nil {
			return nil //nolint:nilerr // the same
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			total += stat.Blocks * 512
		}
		return nil
	})
	return total, err
}
