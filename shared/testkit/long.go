package testkit

import "testing"

// Long leaves a test out of make test, which is to be done before one loses the
// thread: it takes long, or much of the machine. make test-all runs it.
func Long(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes long: make test-all runs it")
	}
}
