package testkit

import (
	"testing"
	"time"
)

const (
	eventuallyTimeout = 30 * time.Second
	// The first look again is soon; those after it take their time, since what
	// is waited for needs the processor too.
	eventuallyPoll, eventuallyMaxPoll = time.Millisecond, 25 * time.Millisecond
)

// Eventually calls check until it returns nil, and fails the test with its last
// error when that takes longer than half a minute. It is for conditions that
// nothing announces.
func Eventually(t testing.TB, check func() error) {
	t.Helper()
	poll := eventuallyPoll
	for deadline := time.Now().Add(eventuallyTimeout); ; poll = min(poll*3/2, eventuallyMaxPoll) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", eventuallyTimeout, err)
		}
		time.Sleep(poll)
	}
}
