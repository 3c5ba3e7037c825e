package projector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/config-api/config-api/shared/pg"
)

// Advisory locks of those that work alone. They are for economy: what makes two
// harmless is the checkpoint's compare-and-swap.
const (
	projectorLock = 7_263_101
	changelogLock = 7_263_102
	rebuildLock   = 7_263_103
)

// leadPause is how often a standby asks for the lock, how often a leader makes
// sure that it still has it, and how long it waits after a failure.
const leadPause = 500 * time.Millisecond

// halted is an error that only a person can mend.
type haltedError struct{ why string }

func (h *haltedError) Error() string { return h.why }

// haltedPause is how often it is looked whether a person has mended what halted.
const haltedPause = 10 * time.Second

// worker is what of several processes one does.
type worker struct {
	lock int64
	// run works until its context ends, which is also when the lock is lost.
	run func(context.Context) error
	// standBy is called again and again while another process has the lock.
	standBy func(context.Context) error
	// again has what has halted look at once whether that is mended; it may be nil.
	again <-chan struct{}
}

func standBy(context.Context) error { return nil }

// lead works whenever this process has the lock, until ctx ends.
func lead(ctx context.Context, pool *pgxpool.Pool, logger *slog.Logger, w worker) {
	for ctx.Err() == nil {
		err := leadOnce(ctx, pool, w)
		var halted *haltedError
		switch {
		case ctx.Err() != nil:
			return
		case errors.As(err, &halted):
			logger.Error("halted: see docs/operations.md", "error", err)
			select {
			case <-time.After(haltedPause):
			case <-w.again:
				continue
			case <-ctx.Done():
			}
		case err != nil:
			logger.Warn("interrupted, trying again", "error", err)
		}
		pause(ctx, leadPause)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func leadOnce(ctx context.Context, pool *pgxpool.Pool, w worker) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	defer conn.Release()
	locked, err := pg.TryLock(ctx, conn, w.lock)
	if err != nil {
		return err
	}
	if !locked {
		return w.standBy(ctx)
	}
	defer pg.Unlock(context.WithoutCancel(ctx), conn, w.lock)
	working, cancel := context.WithCancel(ctx)
	defer cancel()
	worked := make(chan error, 1)
	go func() { worked <- w.run(working) }()
	for {
		select {
		case err := <-worked:
			return err
		case <-time.After(leadPause):
			if err := conn.Ping(ctx); err != nil {
				cancel()
				return errors.Join(fmt.Errorf("lock lost: %w", err), <-worked)
			}
		}
	}
}
