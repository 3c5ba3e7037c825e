package localpg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clearLeftovers deals with postmaster.pid, which a killed run leaves behind. If
// its process still is a server of this directory, it is stopped. If the number
// belongs to somebody else by now (common in containers, where numbers start
// again), Postgres would refuse to start, so the file is removed.
func (s *Server) clearLeftovers(ctx context.Context, logger *slog.Logger) error {
	file := filepath.Join(s.dataDir(), "postmaster.pid")
	content, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("postgres lock file: %w", err)
	}
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 {
		logger.WarnContext(ctx, "postgres was killed while it started: removing its broken lock file")
		return os.Remove(file)
	}
	if !s.isOurServer(ctx, pid) {
		logger.InfoContext(ctx, "postgres was not stopped cleanly the last time: it recovers now")
		if syscall.Kill(pid, 0) == nil {
			return os.Remove(file)
		}
		return nil // Postgres sees by itself that nobody is there
	}
	logger.WarnContext(ctx, "postgres of a killed run is still there: stopping it", "pid", pid)
	return s.stopOrphan(ctx, pid)
}

// isOurServer reports whether the process is a Postgres on our data directory.
func (s *Server) isOurServer(ctx context.Context, pid int) bool {
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil { // no such process, or not Linux
		command, err = exec.CommandContext(ctx, "ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	}
	line := strings.ReplaceAll(string(command), "\x00", " ")
	return err == nil && strings.Contains(line, "postgres") && strings.Contains(line, "-D "+s.dataDir()+" ")
}

// stopOrphan tells a server to stop, first with a flush of its data, and waits
// for it. It isn't our child, so all one can do is to look; and its number alone
// says little, as nobody may reap it.
func (s *Server) stopOrphan(ctx context.Context, pid int) error {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		_ = syscall.Kill(pid, signal) // an error means that it is gone
		for deadline := time.Now().Add(killTimeout); time.Now().Before(deadline); {
			if !s.isOurServer(ctx, pid) {
				return nil
			}
			select {
			case <-poll.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return fmt.Errorf("postgres of a killed run (pid %d) does not stop: stop it by hand", pid)
}
