package query

// DropBehind makes watches that are more than so many events behind end: with
// the usual number a test would take long.
func (s *Service) DropBehind(events int64) { s.watchers.behind = events }
