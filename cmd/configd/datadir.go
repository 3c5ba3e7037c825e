package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// defaultDataDir is where the data lies when nobody says otherwise. Root's
// Postgres runs under another account, which can't reach root's home.
func defaultDataDir(goos string, uid int, getenv func(string) string) string {
	switch home, data := getenv("HOME"), getenv("XDG_DATA_HOME"); {
	case uid == 0:
		return "/var/lib/config-api"
	case goos == "darwin" && home != "":
		return filepath.Join(home, "Library", "Application Support", "config-api")
	case filepath.IsAbs(data):
		return filepath.Join(data, "config-api")
	case home != "":
		return filepath.Join(home, ".local", "share", "config-api")
	default:
		return ""
	}
}

// claimDataDir makes the directory and takes its lock, which holds until the
// returned function is called or the process ends, however it ends.
func claimDataDir(dir string) (release func(), err error) {
	if dir == "" {
		return nil, errors.New("there is no home directory to keep the data in: say where with --data-dir")
	}
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711 // Postgres's account has to get through
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return nil, fmt.Errorf("can't make the data directory %s (choose another with --data-dir): %w", dir, err)
	}
	path := filepath.Join(dir, "lock")
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("can't write to the data directory %s (choose another with --data-dir): %w", dir, err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(path)
		_ = lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another configd (process %s) uses the data directory %s: stop it, or give this one another with --data-dir",
				strings.TrimSpace(string(holder)), dir)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	// The number is only for the message above; the lock is what counts.
	if err := errors.Join(lock.Truncate(0), writePID(lock)); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("can't write to the data directory %s (choose another with --data-dir): %w", dir, err)
	}
	return func() { _ = lock.Close() }, nil
}

func writePID(lock *os.File) error {
	_, err := fmt.Fprintln(lock, os.Getpid())
	return err
}
