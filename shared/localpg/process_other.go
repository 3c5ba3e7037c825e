//go:build !linux

package localpg

import "syscall"

// dieWithParent does nothing here: an orphan is stopped by the next Start.
func dieWithParent(*syscall.SysProcAttr) {}
