package pg_test

import (
	"errors"
	"testing"

	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/testkit"
)

var errHeld = errors.New("the lock is still held")

// One has it, then the other; a connection that held it goes back as it was.
func TestLock(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	first, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Release()
	second, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Release()
	const key = 42
	if locked, err := pg.TryLock(t.Context(), first, key); !locked || err != nil {
		t.Fatalf("a free lock: %v, %v", locked, err)
	}
	if locked, err := pg.TryLock(t.Context(), second, key); locked || err != nil {
		t.Errorf("a lock that another has: %v, %v", locked, err)
	}
	if _, err := first.Exec(t.Context(), `set idle_session_timeout = '50ms'`); err != nil { // the server's part, sooner
		t.Fatal(err)
	}
	testkit.Eventually(t, func() error {
		locked, err := pg.TryLock(t.Context(), second, key)
		if err == nil && !locked {
			err = errHeld
		}
		return err
	})
	if err := first.Ping(t.Context()); err == nil {
		t.Error("who was silent for longer than the lock lives still has his session")
	}
	pg.Unlock(t.Context(), second, key)
	var timeout string
	if err := second.QueryRow(t.Context(), `show idle_session_timeout`).Scan(&timeout); err != nil || timeout != "0" {
		t.Errorf("after the lock was given back, idle sessions end after %q, %v", timeout, err)
	}
}
