package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// oldestVersion is the oldest Postgres that the project works with.
const oldestVersion = 14

// binaries is a directory with initdb and postgres, and their major version.
type binaries struct {
	dir   string
	major int
}

// NotFoundError says that there is no Postgres to run, and how to get one.
type NotFoundError struct {
	// TooOld is the newest version found, 0 if there is none.
	TooOld int
	// Install is the command for this system, or a page to read.
	Install string
}

func (e *NotFoundError) Error() string {
	found := "no Postgres binaries (initdb, postgres) on PATH or in the usual places"
	if e.TooOld > 0 {
		found = fmt.Sprintf("Postgres %d is older than %d", e.TooOld, oldestVersion)
	}
	return found + "; to install it: " + e.Install
}

// VersionError says that a cluster was made by a Postgres that isn't here.
type VersionError struct {
	Dir   string // the cluster
	Made  string // the major version that made it
	Found []int  // the major versions installed
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("the data in %s was made by Postgres %s, and only %v is installed: install version %s, or choose another data directory (nothing was changed)",
		e.Dir, e.Made, e.Found, e.Made)
}

// chooseBinaries returns those of the version that made the cluster; for a new
// one the first found.
func (s *Server) chooseBinaries(ctx context.Context, dirs []string) (binaries, error) {
	if dirs == nil {
		dirs = usualDirs()
	}
	notFound := &NotFoundError{Install: thisSystemsInstall()}
	var found []binaries
	for i, dir := range dirs {
		if slices.Contains(dirs[:i], dir) {
			continue
		}
		major, ok := majorVersion(ctx, dir)
		switch {
		case ok && major >= oldestVersion:
			found = append(found, binaries{dir, major})
		case ok:
			notFound.TooOld = max(notFound.TooOld, major)
		}
	}
	if len(found) == 0 {
		return binaries{}, notFound
	}
	made, err := os.ReadFile(filepath.Join(s.dataDir(), "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return found[0], nil
	}
	if err != nil {
		return binaries{}, fmt.Errorf("data directory: %w", err)
	}
	mismatch := &VersionError{Dir: s.dataDir(), Made: strings.TrimSpace(string(made))}
	for _, bin := range found {
		if strconv.Itoa(bin.major) == mismatch.Made {
			return bin, nil
		}
		if !slices.Contains(mismatch.Found, bin.major) {
			mismatch.Found = append(mismatch.Found, bin.major)
		}
	}
	return binaries{}, mismatch
}

// usualDirs lists where installers put the binaries: PATH first, then the
// newest version of each place.
func usualDirs() []string {
	var dirs []string
	if path, err := exec.LookPath("postgres"); err == nil {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(target))
		}
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",                       // Debian, Ubuntu
		"/usr/pgsql-*/bin",                                // postgresql.org's packages for Fedora and RHEL
		"/usr/libexec/postgresql*",                        // Alpine
		"/opt/homebrew/opt/postgresql@*/bin",              // Homebrew on Apple silicon
		"/usr/local/opt/postgresql@*/bin",                 // Homebrew on Intel
		"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin", // Homebrew on Linux
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	} {
		matches, _ := filepath.Glob(pattern) // sorted; an error means a bad pattern
		slices.Reverse(matches)
		dirs = append(dirs, matches...)
	}
	return dirs
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func majorVersion(ctx context.Context, dir string) (int, bool) {
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return 0, false
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	match := versionPattern.FindSubmatch(out)
	if err != nil || match == nil {
		return 0, false
	}
	major, err := strconv.Atoi(string(match[1]))
	return major, err == nil
}

func thisSystemsInstall() string {
	release, _ := os.ReadFile("/etc/os-release")
	return installCommand(runtime.GOOS, string(release), os.Geteuid() == 0)
}

// installCommand returns what to type on a system, given its /etc/os-release.
func installCommand(goos, osRelease string, root bool) string {
	if goos == "darwin" {
		return "brew install postgresql@17"
	}
	var ids string
	for line := range strings.Lines(osRelease) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if name == "ID" || name == "ID_LIKE" {
			ids += " " + strings.Trim(value, `"'`)
		}
	}
	sudo := "sudo "
	if root {
		sudo = ""
	}
	for _, known := range []struct{ id, first, command string }{
		{"debian", "apt-get update && ", "apt-get install -y postgresql"},
		{"ubuntu", "apt-get update && ", "apt-get install -y postgresql"},
		{"fedora", "", "dnf install -y postgresql-server"},
		{"rhel", "", "dnf install -y postgresql-server"},
		{"alpine", "", "apk add postgresql"},
		{"arch", "", "pacman -S --noconfirm postgresql"},
		{"suse", "", "zypper install -y postgresql-server"},
	} {
		if !slices.Contains(strings.Fields(ids), known.id) {
			continue
		}
		if known.first != "" {
			return sudo + known.first + sudo + known.command
		}
		return sudo + known.command
	}
	return "see https://www.postgresql.org/download/"
}
