package testkit

import (
	"testing"
	"time"
)

const (
	eventuallyTimeout = 10 * time.Second
	eventuallyPoll    = 2 * time.Millisecond
)

// Eventually calls check until it returns nil, and fails the test with its last
// error when that takes longer than ten seconds. It is for conditions that
// nothing announces.
func Eventually(t testing.TB, check func() error) {
	t.Helper()
	poll := time.NewTicker(eventuallyPoll)
	defer poll.Stop()
	for deadline := time.Now().Add(eventuallyTimeout); ; <-poll.C {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", eventuallyTimeout, err)
		}
	}
}
