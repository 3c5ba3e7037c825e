package readmodel

// SetSnapshotEvery makes a store take snapshots more often than it would.
func (s *Store) SetSnapshotEvery(events int64) { s.snapshotEvery = events }
