package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeFile(path string) error { return os.WriteFile(path, nil, 0o600) }

func TestDefaultDataDir(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		goos, home, xdg, want string
		uid                   int
	}{
		{goos: "linux", home: "/root", want: "/var/lib/config-api"},
		{goos: "linux", uid: 1, home: "/home/ada", want: "/home/ada/.local/share/config-api"},
		{goos: "linux", uid: 1, home: "/home/ada", xdg: "/data/ada", want: "/data/ada/config-api"},
		{goos: "linux", uid: 1, home: "/home/ada", xdg: "relative", want: "/home/ada/.local/share/config-api"},
		{goos: "darwin", uid: 1, home: "/Users/ada", want: "/Users/ada/Library/Application Support/config-api"},
		{goos: "linux", uid: 1, want: ""},
	} {
		env := map[string]string{"HOME": test.home, "XDG_DATA_HOME": test.xdg}
		if got := defaultDataDir(test.goos, test.uid, func(name string) string { return env[name] }); got != test.want {
			t.Errorf("%+v: got %q", test, got)
		}
	}
}

func TestDataDirIsClaimedOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "deep", "data")
	release, err := claimDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = claimDataDir(dir)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("another configd (process %d)", os.Getpid())) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second claim: error %v", err)
	}
	release()
	release, err = claimDataDir(dir)
	if err != nil {
		t.Fatalf("after the first has gone: %v", err)
	}
	release()
}

func TestDataDirThatCannotBeMade(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := writeFile(file); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", file, filepath.Join(file, "data")} {
		if _, err := claimDataDir(dir); err == nil || !strings.Contains(err.Error(), "--data-dir") || !strings.Contains(err.Error(), dir) {
			t.Errorf("%q: error %v, want one that names the way out", dir, err)
		}
	}
}
