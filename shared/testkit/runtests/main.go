// Command runtests runs the tests of the packages that it is given, as go test
// -race -shuffle=on with coverage does, but keeps the linked test programs: go
// test links each anew at every run, which on a small machine takes longer than
// the tests. All of them share one private Postgres, whose URL is in
// TEST_DATABASE_URL.
//
//	go run ./shared/testkit/runtests -covered PATTERN,… -dir bin/test PACKAGE…
//
// It prints go test's line for each package, the output of those that fail, and
// writes coverage.out.
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/config-api/config-api/shared/testkit"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// tested is a package that has tests.
type tested struct {
	path, dir string
	program   string // linked
	profile   string // its coverage
	children  string // where processes that it starts of itself leave theirs
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("runtests", flag.ExitOnError)
	covered := flags.String("covered", "./...", "patterns of the packages whose coverage is measured, separated by commas")
	short := flags.Bool("short", false, "leave out the tests that take long")
	dir := flags.String("dir", filepath.Join("bin", "test"), "where the test programs are kept")
	atOnce := flags.Int("p", runtime.GOMAXPROCS(0)+1, "how many packages are tested at once; tests wait more than they work")
	_ = flags.Parse(args) // ExitOnError
	packages, err := list(ctx, *dir, flags.Args())
	if err != nil {
		return err
	}
	remove, err := inMemory()
	if err != nil {
		return err
	}
	defer remove()
	// The server starts while the programs are linked.
	started := make(chan error, 1)
	go func() {
		if os.Getenv("TEST_DATABASE_URL") != "" {
			started <- nil
			return
		}
		url, err := testkit.StartPrivatePostgres(false)
		started <- errors.Join(err, os.Setenv("TEST_DATABASE_URL", url))
	}()
	if err := errors.Join(link(ctx, *dir, *covered, packages), <-started); err != nil {
		return err
	}
	failed := test(ctx, packages, *atOnce, *short)
	if err := mergeProfiles("coverage.out", packages); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("FAIL: %d of %d packages", failed, len(packages))
	}
	return nil
}

// memoryNeeded is how much room there must be for the tests' files, in bytes.
const memoryNeeded = 4 << 30

// inMemory has temporary files made in memory where there is enough: the tests
// make tens of thousands, none of which has to outlive them.
func inMemory() (remove func(), err error) {
	const memory = "/dev/shm"
	var room unix.Statfs_t
	unix.Statfs(memory, &room) //nolint:errcheck // then there is no room
	if os.Getenv("TMPDIR") != "" || room.Bavail*uint64(room.Bsize) < memoryNeeded {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp(memory, "config-api-test-")
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o711), os.Setenv("TMPDIR", dir)) // root's Postgres has another account
	}
	return func() { _ = os.RemoveAll(dir) }, err
}

// list returns the packages of the patterns that have tests, those with the
// most code first: they take longest.
func list(ctx context.Context, dir string, patterns []string) ([]tested, error) {
	format := `{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{len .Deps}} {{.Dir}}{{end}}`
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-f", format}, patterns...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	deps := map[string]int{}
	var packages []tested
	for line := range strings.Lines(string(out)) {
		var p tested
		var n int
		if _, err := fmt.Sscan(line, &p.path, &n); err != nil {
			return nil, fmt.Errorf("go list: %q: %w", line, err)
		}
		p.dir = strings.SplitN(strings.TrimSpace(line), " ", 3)[2]
		if p.program, err = filepath.Abs(filepath.Join(dir, filepath.Base(p.path)+".test")); err != nil {
			return nil, err
		}
		p.profile, p.children = p.program+".coverage", p.program+".children"
		deps[p.path] = n
		packages = append(packages, p)
	}
	slices.SortStableFunc(packages, func(a, b tested) int { return cmp.Compare(deps[b.path], deps[a.path]) })
	return packages, nil
}

// link brings the test programs up to date. Without debug information linking
// takes half as long; vet runs in make lint.
func link(ctx context.Context, dir, covered string, packages []tested) error {
	for _, p := range packages {
		// Emptied: each process leaves a file.
		if err := errors.Join(os.RemoveAll(p.children), os.MkdirAll(p.children, 0o755)); err != nil {
			return err
		}
	}
	args := []string{"test", "-c", "-race", "-trimpath", "-vet=off", "-ldflags=-s -w", "-coverpkg=" + covered, "-o", dir + string(filepath.Separator)}
	for _, p := range packages {
		args = append(args, p.path)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go test -c: %w\n%s", err, out)
	}
	return nil
}

// test runs the programs, atOnce side by side, and returns how many failed.
func test(ctx context.Context, packages []tested, atOnce int, short bool) (failed int) {
	queue := make(chan tested, len(packages))
	for _, p := range packages {
		queue <- p
	}
	close(queue)
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for p := range queue {
				line, err := p.run(ctx, short)
				mu.Lock()
				if fmt.Println(line); err != nil {
					failed++
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return failed
}

// run runs one program in its package's directory and returns what to print.
func (p tested) run(ctx context.Context, short bool) (string, error) {
	cmd := exec.CommandContext(ctx, p.program, "-test.paniconexit0", "-test.timeout=5m", "-test.shuffle=on", "-test.coverprofile="+p.profile, fmt.Sprintf("-test.short=%t", short))
	cmd.Dir = p.dir
	// The race detector otherwise waits for a second at the end, and a program
	// that runs itself as another process is warned about its coverage.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "GOCOVERDIR="+p.children)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(began).Seconds()
	if err != nil {
		return fmt.Sprintf("%sFAIL\t%s\t%.3fs", out, p.path, took), err
	}
	return fmt.Sprintf("ok  \t%s\t%.3fs", p.path, took), nil
}

// mergeProfiles writes the coverage of all programs into one file. A block that
// several programs have comes several times, as from go test.
func mergeProfiles(file string, packages []tested) error {
	merged := []byte("mode: atomic\n")
	for _, p := range packages {
		profile, err := os.ReadFile(p.profile)
		if errors.Is(err, os.ErrNotExist) {
			continue // it crashed
		}
		if err != nil {
			return err
		}
		_, blocks, _ := bytes.Cut(profile, []byte("\n"))
		merged = append(merged, blocks...)
	}
	return os.WriteFile(file, merged, 0o644)
}
