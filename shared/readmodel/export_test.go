package readmodel

import "context"

// SetSnapshotEvery makes a store take snapshots more often than it would.
func (s *Store) SetSnapshotEvery(events int64) { s.snapshotEvery = events }

// Read does what the reads do, with the statement that sql returns.
func (s *Store) Read(ctx context.Context, sql func() string) error {
	_, err := s.snapshot(ctx, "test", func(v snapshot) error {
		_, err := v.tx.Exec(v.ctx, sql())
		return err
	})
	return err
}
