// Package localpg runs a private Postgres server as a child process: for configd
// on a laptop, and for tests. It finds installed binaries, makes a database
// cluster in a directory of its own and serves it on a unix socket in that
// directory, or on a free loopback port where the path does not do for one.
package localpg

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// superuser is the role that initdb makes and that URL logs in as.
	superuser = "config_api"
	// socketPort only names the socket's file; nothing listens on it.
	socketPort = 5432
	// readyTimeout bounds the wait for a started server, crash recovery included.
	readyTimeout = 60 * time.Second
	// killTimeout bounds the wait for a server that was told to stop at once.
	killTimeout = 5 * time.Second
)

// Options say what to run, and where.
type Options struct {
	// Dir holds everything of the server: the cluster in data/, the password,
	// the socket, the log. It is made when it is missing. The caller makes sure
	// that no other Start uses it: a server found running there is taken for
	// the orphan of a killed run, and is stopped.
	Dir string
	// Durable is for data that matters. Without it the server never waits for
	// the disk, and a crash of the machine can lose or break everything; and who
	// can open the socket, which is this account, needs no password: to hash one
	// takes as long as a short test.
	Durable bool
	// BinDirs are searched for the binaries in this order; nil means PATH and
	// the usual places of this system.
	BinDirs []string
	Logger  *slog.Logger
}

// Server is a running Postgres.
type Server struct {
	dir      string
	password string
	host     string // the socket's directory, or 127.0.0.1
	port     int
	process  *os.Process
	done     chan struct{}
}

// Start finds the binaries, makes the cluster if there is none, and returns once
// the server answers. Errors: *NotFoundError without binaries, *VersionError
// for a cluster of a Postgres that isn't installed, and otherwise one that says
// which path or step failed. A cluster that exists is never removed.
func Start(ctx context.Context, o Options) (*Server, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, done: make(chan struct{})}
	bin, err := s.chooseBinaries(ctx, o.BinDirs)
	if err != nil {
		return nil, err
	}
	account, err := s.prepareDir()
	if err != nil {
		return nil, err
	}
	if err := s.clearLeftovers(ctx, o.Logger); err != nil {
		return nil, err
	}
	if err := s.initCluster(ctx, bin, account, o.Durable); err != nil {
		return nil, err
	}
	if err := s.chooseAddress(ctx, o.Logger); err != nil {
		return nil, err
	}
	if err := s.launch(bin, account, o.Durable); err != nil {
		return nil, err
	}
	if err := s.awaitReady(ctx); err != nil {
		_ = s.Stop(ctx)
		return nil, err
	}
	return s, nil
}

// URL returns the connection URL of a database, as superuser, with the password.
func (s *Server) URL(database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(superuser, s.password), Path: "/" + database}
	// Postgres clients take a plus sign for itself, not for a space.
	u.RawQuery = "host=" + strings.ReplaceAll(url.QueryEscape(s.host), "+", "%20") + "&port=" + strconv.Itoa(s.port) + "&sslmode=disable"
	return u.String()
}

// Done is closed when the server has ended, by Stop or by itself.
func (s *Server) Done() <-chan struct{} { return s.done }

// LogFile is where the server writes its messages; the run before is beside it
// with the ending .1.
func (s *Server) LogFile() string { return filepath.Join(s.dir, "postgres.log") }

// EnsureDatabase creates a database if it is missing.
func (s *Server) EnsureDatabase(ctx context.Context, name string) error {
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var exists bool
	err = conn.QueryRow(ctx, `select exists (select from pg_database where datname = $1)`, name).Scan(&exists)
	if err == nil && !exists {
		_, err = conn.Exec(ctx, `create database `+pgx.Identifier{name}.Sanitize())
	}
	if err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	return nil
}

// Stop ends the server: sessions are cut, data is flushed. When ctx ends first,
// the server is stopped without flushing, which its next start repairs. Stop
// returns when the process is gone.
func (s *Server) Stop(ctx context.Context) error {
	_ = s.process.Signal(syscall.SIGINT) // "fast"; an error means that it is gone
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
	}
	_ = s.process.Signal(syscall.SIGQUIT) // "immediate"
	select {
	case <-s.done:
		return nil
	case <-time.After(killTimeout):
		return fmt.Errorf("postgres (pid %d) does not stop", s.process.Pid)
	}
}

func (s *Server) dataDir() string { return filepath.Join(s.dir, "data") }

// initCluster makes the cluster, or reads the password of the one that exists.
// A new one is built beside its place and renamed, so that a half-made one is
// never taken for whole.
func (s *Server) initCluster(ctx context.Context, bin binaries, account *syscall.Credential, durable bool) error {
	if err := s.removeHalfMade(); err != nil {
		return err
	}
	passwordFile := filepath.Join(s.dir, "password")
	if _, err := os.Stat(s.dataDir()); err == nil {
		password, err := os.ReadFile(passwordFile)
		s.password = strings.TrimSpace(string(password))
		if err != nil {
			return fmt.Errorf("the database's password: %w", err)
		}
		return nil
	}
	s.password = rand.Text()
	if err := writePrivate(passwordFile, s.password, account); err != nil {
		return fmt.Errorf("the database's password: %w", err)
	}
	building := filepath.Join(s.dir, halfMade+rand.Text()[:8])
	args := []string{
		"--pgdata=" + building, "--username=" + superuser, "--pwfile=" + passwordFile,
		"--encoding=UTF8", "--no-locale",
	}
	if durable {
		args = append(args, "--auth=scram-sha-256", "--data-checksums")
	} else {
		args = append(args, "--auth-local=trust", "--auth-host=password", "--no-sync")
	}
	if out, err := s.command(ctx, bin, "initdb", account, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return os.Rename(building, s.dataDir())
}

// halfMade begins the name of a cluster that is being made. The rest is another each
// time: the processes of a run that was killed may still work on theirs.
const halfMade = "data.new"

// removeHalfMade removes what killed runs have left behind. Where one of their
// processes still writes it may fail, and a later start does it.
func (s *Server) removeHalfMade() error {
	entries, err := os.ReadDir(s.dir)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), halfMade) {
			_ = os.RemoveAll(filepath.Join(s.dir, entry.Name()))
		}
	}
	return err
}

// chooseAddress prefers a socket, which nobody else on the machine can reach.
func (s *Server) chooseAddress(ctx context.Context, logger *slog.Logger) error {
	s.host, s.port = s.dir, socketPort
	socket := filepath.Join(s.dir, ".s.PGSQL."+strconv.Itoa(socketPort))
	longest := len(syscall.RawSockaddrUnix{}.Path) - 1
	// A comma in a URL's host separates several.
	if len(socket) <= longest && !strings.Contains(s.dir, ",") {
		return nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("a free port for postgres: %w", err)
	}
	s.host, s.port = "127.0.0.1", listener.Addr().(*net.TCPAddr).Port
	logger.InfoContext(ctx, "the data directory's path is too long for a unix socket, or has a comma: postgres listens on a loopback port",
		"port", s.port, "path_bytes", len(socket), "most", longest)
	return listener.Close()
}

// awaitReady polls: the server has no way to call back.
func (s *Server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-poll.C:
		case <-s.done:
			return fmt.Errorf("postgres ended at its start: %s", lastLines(s.LogFile(), 5))
		case <-ctx.Done():
			return fmt.Errorf("postgres does not answer (%w): %s", errors.Join(ctx.Err(), err), lastLines(s.LogFile(), 5))
		}
	}
}

func writePrivate(path, content string, owner *syscall.Credential) error {
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return err
	}
	if owner == nil {
		return nil
	}
	return os.Chown(path, int(owner.Uid), int(owner.Gid))
}

// lastLines returns the end of a log for an error message.
func lastLines(path string, n int) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
