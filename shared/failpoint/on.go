//go:build failpoints

// Package failpoint lets a crash test kill a program at a named place of its
// code, built with the tag failpoints.
package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// File is the environment variable that names the file which arms a failpoint:
// it holds name=N, and the program ends at the N-th hit of that name from then
// on. It is read at each hit, so that a running program can be armed.
const File = "CONFIG_API_FAILPOINT_FILE"

var (
	mu   sync.Mutex
	hits = map[string]int{} // by what the file holds
)

// Hit kills the program, as SIGKILL does, if this place is armed.
func Hit(name string) {
	armed, err := os.ReadFile(os.Getenv(File))
	if err != nil {
		return // not armed
	}
	at, count, _ := strings.Cut(strings.TrimSpace(string(armed)), "=")
	n, err := strconv.Atoi(count)
	if at != name || err != nil {
		return
	}
	mu.Lock()
	defer mu.Unlock()
	if hits[string(armed)]++; hits[string(armed)] < n {
		return
	}
	fmt.Fprintln(os.Stderr, "failpoint", name)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal comes
}
