package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// prepareDir makes the directory and returns the account that the server runs
// under: nil for our own; for root, which Postgres refuses, another one.
func (s *Server) prepareDir() (*syscall.Credential, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil, writable(s.dir)
	}
	account, err := serverAccount(s.dir)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(s.dir, int(account.Uid), int(account.Gid)); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	probe := exec.Command("/bin/sh", "-c", ":")
	probe.Dir = s.dir
	probe.SysProcAttr = &syscall.SysProcAttr{Credential: account}
	if err := probe.Run(); err != nil {
		return nil, fmt.Errorf("data directory %s: Postgres refuses to run as root, and user %d, which it would run as, can't reach it: choose one that everybody can reach, such as under /var/lib",
			s.dir, account.Uid)
	}
	return account, nil
}

// serverAccount is the owner of a directory that another account made (so that
// what exists stays readable), otherwise postgres or nobody.
func serverAccount(dir string) (*syscall.Credential, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 {
		return &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(account.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(account.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("postgres refuses to run as root, and there is neither a user postgres nor nobody to run it: start as another user")
}

func writable(dir string) error {
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return fmt.Errorf("data directory %s is not writable: %w", dir, errors.Unwrap(err))
	}
	_ = probe.Close()
	return os.Remove(probe.Name())
}

// command prepares one of the binaries. It gets a clean environment: PGDATA,
// PGPORT and their like of the user's shell are for other servers.
//
// The C library may keep 16 MiB of what a session has freed. Its default of 128 KiB
// gives memory back to the system after almost every statement, to be asked for again
// at the next: a tenth of a short transaction's time.
func (s *Server) command(ctx context.Context, bin binaries, name string, account *syscall.Credential, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(bin.dir, name), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + bin.dir + ":/usr/bin:/bin", "LC_ALL=C", "TZ=UTC", "MALLOC_TRIM_THRESHOLD_=16777216"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: account}
	return cmd
}

// launch starts the server. Ctrl-C in a terminal goes to a whole process group:
// the server has one of its own, so that it outlives those who use it.
func (s *Server) launch(bin binaries, account *syscall.Credential, durable bool) error {
	_ = os.Rename(s.LogFile(), s.LogFile()+".1")
	log, err := os.OpenFile(s.LogFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("postgres log: %w", err)
	}
	defer func() { _ = log.Close() }()

	settings := map[string]string{
		"unix_socket_directories": "", "listen_addresses": "", "port": strconv.Itoa(s.port),
		"logging_collector": "off", "log_destination": "stderr", "max_connections": "200",
	}
	if s.host == s.dir { // quoted: the setting is a list
		settings["unix_socket_directories"] = `"` + strings.ReplaceAll(s.dir, `"`, `""`) + `"`
	} else {
		settings["listen_addresses"] = s.host
	}
	if !durable {
		settings["fsync"], settings["synchronous_commit"], settings["full_page_writes"] = "off", "off", "off"
		settings["unix_socket_permissions"] = "0700"
	}
	args := []string{"-D", s.dataDir()}
	for name, value := range settings {
		args = append(args, "-c", name+"="+value)
	}
	cmd := s.command(context.Background(), bin, "postgres", account, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr.Setpgid = true
	dieWithParent(cmd.SysProcAttr)

	started := make(chan error)
	go func() {
		// The signal of a parent's death is sent when the thread that forked
		// ends, so that thread has to stay for as long as the server runs.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		s.process = cmd.Process
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(s.done)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	return nil
}
