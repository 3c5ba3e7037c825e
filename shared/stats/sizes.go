package stats

import "time"

// Sizes is a histogram of whole numbers, like the events of a batch: exact up to
// 100, with two digits up to 100 million. The zero value is ready to use.
type Sizes struct{ h Histogram }

// unit is the one of sizes, as a duration.
const unit = time.Microsecond

// Observe counts a size.
func (s *Sizes) Observe(n int) { s.h.Observe(time.Duration(n) * unit) }

// Read returns what was counted, in microseconds.
func (s *Sizes) Read() *Snapshot { return s.h.Read() }
