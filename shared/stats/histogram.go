// Package stats counts and times what happens, so that it can be read while it
// goes on. Observing costs two atomic additions and no allocation; whoever
// shows the figures, for Prometheus or as JSON, does the rest.
package stats

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	// A decade is divided into 90 buckets of equal width: 1.0 to 1.1, up to 9.9
	// to 10.
	perDecade = 90
	decades   = 8 // from a microsecond to 100 seconds
	least     = 1_000
)

// Histogram counts durations in buckets that are as wide as two decimal digits
// tell, from a microsecond to 100 seconds: it is log-linear with base 10, like
// Circllhist (Hartmann and Schlossnagle, arXiv:2001.06561). A quantile is then
// wrong by less than 5 %, and every bound that people use in Prometheus is
// the bound of a bucket, so one histogram does for both. The buckets of a
// Prometheus histogram alone, some ten, would tell a quantile to within a factor
// of two.
//
// The zero value is ready to use.
type Histogram struct {
	sum     atomic.Int64
	buckets [1 + decades*perDecade + 1]atomic.Uint64 // below, within, above
}

// Observe counts a duration.
func (h *Histogram) Observe(d time.Duration) {
	h.sum.Add(int64(d))
	h.buckets[bucketOf(d)].Add(1)
}

// Since observes the time since an instant.
func (h *Histogram) Since(began time.Time) { h.Observe(time.Since(began)) }

// bucketOf returns the bucket of a duration. A bucket's upper bound is part of
// it, as it is in Prometheus.
func bucketOf(d time.Duration) int {
	n := uint64(max(d, 1) - 1)
	if n < least {
		return 0
	}
	width, first := uint64(least/10), 1 // of the decade's buckets
	for n >= 100*width {
		width *= 10
		if first += perDecade; first > decades*perDecade {
			return first
		}
	}
	return first + int(n/width) - 10
}

// upperBound is the upper bound of a bucket.
func upperBound(bucket int) time.Duration {
	if bucket > decades*perDecade {
		return math.MaxInt64
	}
	bound := time.Duration(least)
	for ; bucket > perDecade; bucket -= perDecade {
		bound *= 10
	}
	return bound + bound/10*time.Duration(bucket)
}

// Snapshot is what a histogram has counted up to a moment.
type Snapshot struct {
	Count   uint64
	Sum     time.Duration
	buckets [len(Histogram{}.buckets)]uint64
}

// Read returns what was counted. What is counted at the same moment may be in its
// buckets and not in its sum, or the other way round.
func (h *Histogram) Read() *Snapshot {
	s := &Snapshot{Sum: time.Duration(h.sum.Load())}
	for i := range h.buckets {
		s.buckets[i] = h.buckets[i].Load()
		s.Count += s.buckets[i]
	}
	return s
}

// Below returns how many durations were not longer than one, which must be the
// bound of a bucket: a number of two digits and zeros.
func (s *Snapshot) Below(bound time.Duration) uint64 {
	var count uint64
	for i := range bucketOf(bound) + 1 {
		count += s.buckets[i]
	}
	return count
}

// Quantile returns the duration that a share of all were not longer than: with
// 0.99 the 99th percentile. It is the middle of the bucket; of nothing it is 0.
func (s *Snapshot) Quantile(share float64) time.Duration {
	rank := uint64(math.Ceil(share * float64(s.Count)))
	var count uint64
	for i, n := range &s.buckets {
		if count += n; n > 0 && count >= rank {
			switch i {
			case 0:
				return least / 2
			case len(s.buckets) - 1:
				return upperBound(i - 1)
			}
			return (upperBound(i-1) + upperBound(i)) / 2
		}
	}
	return 0
}
