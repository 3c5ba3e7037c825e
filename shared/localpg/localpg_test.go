package localpg_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/config-api/config-api/shared/localpg"
	"github.com/config-api/config-api/shared/testkit"
)

// newDir is a directory that the account of root's server can reach too, unlike
// that of testing.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "localpg-")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func start(t *testing.T, dir string) *localpg.Server {
	t.Helper()
	s, err := localpg.Start(t.Context(), localpg.Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *localpg.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// exec runs one statement and returns the first column of its first row.
func exec(t *testing.T, s *localpg.Server, sql string) (result string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL("things"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	err = conn.QueryRow(t.Context(), sql).Scan(&result)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatal(err)
	}
	return result
}

// One cluster lives through everything that a laptop does to it.
func TestData(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(newDir(t), `a "place" + mine`)
	stillThere := func(t *testing.T, s *localpg.Server) {
		t.Helper()
		if got := exec(t, s, `select name from thing`); got != "kept" {
			t.Fatalf("read %q, want what was written before", got)
		}
	}

	s := start(t, dir)
	for range 2 { // the second finds it there
		if err := s.EnsureDatabase(t.Context(), "things"); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, s, `create table thing (name text)`)
	exec(t, s, `insert into thing values ('kept')`)
	// No password is asked for, so nobody else may open it.
	if sockets, err := filepath.Glob(filepath.Join(dir, ".s.PGSQL.*[0-9]")); err != nil || len(sockets) != 1 {
		t.Errorf("the sockets are %v, %v", sockets, err)
	} else if info, err := os.Stat(sockets[0]); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket is %v, %v", info, err)
	}
	stop(t, s)

	t.Log("a second start after a clean stop")
	s = start(t, dir)
	stillThere(t, s)

	t.Log("a start beside a server that a killed run left behind")
	orphan := s
	s = start(t, dir)
	stillThere(t, s)
	select {
	case <-orphan.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the orphan still runs")
	}

	t.Log("lock files of dead servers whose number is another process's, or unreadable")
	lock := filepath.Join(dir, "data", "postmaster.pid")
	for _, content := range []string{fmt.Sprintf("%d\n%s\n", os.Getpid(), filepath.Join(dir, "data")), ""} {
		stop(t, s)
		if err := os.WriteFile(lock, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		s = start(t, dir)
		stillThere(t, s)
	}

	t.Log("data of another version")
	stop(t, s)
	version := filepath.Join(dir, "data", "PG_VERSION")
	ours, err := os.ReadFile(version)
	if err == nil {
		err = os.WriteFile(version, []byte("11\n"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = localpg.Start(t.Context(), localpg.Options{Dir: dir, Logger: slog.Default()})
	var mismatch *localpg.VersionError
	if !errors.As(err, &mismatch) || mismatch.Made != "11" || !strings.Contains(err.Error(), "nothing was changed") {
		t.Fatalf("error %v, want a *VersionError about version 11", err)
	}
	if err := os.WriteFile(version, ours, 0o600); err != nil {
		t.Fatal(err)
	}

	t.Log("a lost password")
	password := filepath.Join(dir, "password")
	if err := os.Rename(password, password+".old"); err != nil {
		t.Fatal(err)
	}
	if _, err = localpg.Start(t.Context(), localpg.Options{Dir: dir, Logger: slog.Default()}); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("error %v, want that the password is missing", err)
	}
	if err := os.Rename(password+".old", password); err != nil {
		t.Fatal(err)
	}

	t.Log("a directory that was moved to where no socket can be")
	moved := filepath.Join(filepath.Dir(dir), "with, comma")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	s = start(t, moved)
	stillThere(t, s)
	if url := s.URL("things"); !strings.Contains(url, "127.0.0.1") {
		t.Errorf("the server is at %s, want a loopback port", url)
	}

	t.Log("a server that is not there any more")
	stop(t, s)
	if err := s.EnsureDatabase(t.Context(), "more"); err == nil || !strings.Contains(err.Error(), "create database more: ") {
		t.Errorf("error %v, want one that names the database", err)
	}
}

func TestNoBinaries(t *testing.T) {
	t.Parallel()
	old := t.TempDir()
	for name, script := range map[string]string{"initdb": "exit 1", "postgres": "echo 'postgres (PostgreSQL) 13.4'"} {
		if err := os.WriteFile(filepath.Join(old, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		dirs   []string
		tooOld int
		text   string
	}{
		"none":    {[]string{t.TempDir()}, 0, "no Postgres binaries"},
		"too old": {[]string{t.TempDir(), old}, 13, "Postgres 13 is older than 14"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := localpg.Start(t.Context(), localpg.Options{Dir: t.TempDir(), BinDirs: test.dirs, Logger: slog.Default()})
			var notFound *localpg.NotFoundError
			if !errors.As(err, &notFound) || notFound.TooOld != test.tooOld || notFound.Install == "" {
				t.Fatalf("error %#v, want a *NotFoundError", err)
			}
			if !strings.Contains(err.Error(), test.text) || !strings.Contains(err.Error(), notFound.Install) {
				t.Errorf("%q should say %q and how to install", err, test.text)
			}
		})
	}
}

func TestDirectoriesThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(t.TempDir(), "locked")
	if err := os.Mkdir(locked, 0o500); err != nil {
		t.Fatal(err)
	}
	lockedError := "not writable"
	if os.Geteuid() == 0 { // the server's account can't get through testing's directories
		lockedError = "can't reach it"
	}
	for dir, text := range map[string]string{filepath.Join(file, "pg"): "not a directory", locked: lockedError} {
		_, err := localpg.Start(t.Context(), localpg.Options{Dir: dir, Logger: slog.Default()})
		if err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), file[:4]) {
			t.Errorf("%s: error %v, want the path and %q", dir, err, text)
		}
	}
}

// startIn names a directory in which this program, instead of testing, starts a
// server, to be killed.
const startIn = "LOCALPG_TEST_START_IN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(startIn); dir != "" {
		_, err := localpg.Start(context.Background(), localpg.Options{Dir: dir, Logger: slog.Default()})
		fmt.Fprintln(os.Stderr, "not killed in time:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// A program that is killed while it makes its database leaves processes behind that
// still work on it. The next start does not meet them, and those after it clear up.
func TestKilledWhileItIsMade(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	dir := newDir(t)
	halfMade := func(file string) []string {
		found, err := filepath.Glob(filepath.Join(dir, "data.new*", file))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	for range 2 {
		before := halfMade("postmaster.pid")
		child := osexec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), startIn+"="+dir)
		var said bytes.Buffer
		child.Stderr = &said
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- child.Wait() }()
		eventually(t, "a database is being made", func() bool {
			select {
			case err := <-ended:
				t.Fatalf("%v: %s", err, said.String())
			default:
			}
			return slices.ContainsFunc(halfMade("postmaster.pid"), func(file string) bool { return !slices.Contains(before, file) })
		})
		_ = child.Process.Kill()
		if err := <-ended; err == nil {
			t.Fatal("it was to be killed, and ended well")
		}
	}
	stop(t, start(t, dir))
	// The processes that were left behind end by themselves; then nothing is left.
	eventually(t, "nothing is left", func() bool {
		stop(t, start(t, dir))
		return halfMade("") == nil
	})
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(30 * time.Second); !is(); <-poll.C {
		if time.Now().After(deadline) {
			t.Fatalf("after 30 s still not: %s", what)
		}
	}
}
