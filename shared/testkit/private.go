package testkit

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/config-api/config-api/shared/localpg"
)

// StartPrivatePostgres starts a server and returns its URL. Unless it is durable
// it never waits for the disk. It lives as long as this process; its files are
// removed then, however the process ends.
func StartPrivatePostgres(durable bool) (string, error) {
	dir, err := os.MkdirTemp("", "config-api-test-")
	if err != nil {
		return "", err
	}
	// Root's server runs under another account, which has to get in.
	if err := os.Chmod(dir, 0o711); err != nil {
		return "", err
	}
	if err := removeAtExit(dir); err != nil {
		return "", err
	}
	server, err := localpg.Start(context.Background(), localpg.Options{
		Dir:     filepath.Join(dir, "pg"),
		Durable: durable,
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return "", fmt.Errorf("a private Postgres (set TEST_DATABASE_URL to use another): %w", err)
	}
	return server.URL("postgres"), nil
}

// removeAtExit leaves a shell behind, which waits until its input closes: that
// is the moment when this process is gone, for whatever reason. A go test has no
// other hook that runs after a panic or a timeout.
func removeAtExit(dir string) error {
	const script = `trap '' INT TERM
cat >/dev/null
lock=$0/pg/data/postmaster.pid
if pid=$(head -n 1 "$lock" 2>/dev/null); then
	kill -QUIT "$pid" 2>/dev/null
	tries=0
	while [ -e "$lock" ] && [ $tries -lt 100 ]; do sleep 0.05; tries=$((tries + 1)); done
fi
rm -rf "$0"`
	shell := exec.Command("/bin/sh", "-c", script, dir)
	input, err := shell.StdinPipe()
	if err != nil {
		return err
	}
	if err := shell.Start(); err != nil {
		return fmt.Errorf("the shell that clears up: %w", err)
	}
	keepOpen = append(keepOpen, input)
	return nil
}

// keepOpen keeps the garbage collector from closing the pipes early.
var keepOpen []any
