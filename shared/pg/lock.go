package pg

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
)

// lockLife is how long a lock outlives the last word of who holds it. A process
// that is stopped (SIGSTOP, a frozen machine) keeps its connections, and would
// keep the lock for as long.
const lockLife = "10s"

// TryLock takes an advisory lock on the connection, if nobody has it. Who has it
// must use the connection, a ping will do, more often than every ten seconds:
// otherwise the server ends the session, and the lock with it.
func TryLock(ctx context.Context, conn *pgxpool.Conn, lock int64) (bool, error) {
	var locked bool
	err := conn.QueryRow(ctx, `select pg_try_advisory_lock($1)`, lock).Scan(&locked)
	if err == nil && locked {
		_, err = conn.Exec(ctx, `set idle_session_timeout = '`+lockLife+`'`)
	}
	if err != nil {
		return locked, fmt.Errorf("lock: %w", err)
	}
	return locked, nil
}

// Unlock gives the lock back. If the connection is broken it is gone with it.
func Unlock(ctx context.Context, conn *pgxpool.Conn, lock int64) {
	_, err := conn.Exec(ctx, `select pg_advisory_unlock($1)`, lock)
	if err == nil {
		_, err = conn.Exec(ctx, `reset idle_session_timeout`)
	}
	if err != nil {
		_ = conn.Conn().Close(ctx) // so that nobody gets it out of the pool
	}
}
