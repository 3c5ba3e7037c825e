package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	keys      = 50_000
	valueSize = 100
	warmUp    = 500 * time.Millisecond
)

// key is one of the names, of 20 bytes.
func key(i int) string { return fmt.Sprintf("name-%015d", i) }

// throughput has so many clients call op for as long as span, after a time that
// does not count, and returns the calls a second. The first error ends it.
func throughput(ctx context.Context, clients int, span time.Duration, op func(ctx context.Context, client int, random *rand.Rand) error) (float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var counting atomic.Bool
	var over atomic.Bool
	var total atomic.Int64
	var failed error
	var once sync.Once
	var working sync.WaitGroup
	for client := range clients {
		working.Go(func() {
			random := rand.New(rand.NewPCG(uint64(client), 1)) //nolint:gosec // for load
			for !over.Load() {
				if err := op(ctx, client, random); err != nil {
					once.Do(func() { failed = err; over.Store(true); cancel() })
					return
				}
				if counting.Load() {
					total.Add(1)
				}
			}
		})
	}
	sleep(ctx, min(warmUp, span))
	counting.Store(true)
	began := time.Now()
	sleep(ctx, span)
	counting.Store(false)
	took := time.Since(began)
	over.Store(true)
	working.Wait()
	if failed == nil {
		failed = ctx.Err()
	}
	return float64(total.Load()) / took.Seconds(), failed
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// paced calls op so many times a second for as long as span, each call in a
// goroutine of its own, so that a slow one does not put off the next. It returns
// when all have returned.
func paced(ctx context.Context, rate int, span time.Duration, op func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var working sync.WaitGroup
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	defer ticker.Stop()
	for i := range int(span.Seconds() * float64(rate)) {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		working.Go(func() {
			if err := op(ctx, i); err != nil {
				cancel(err)
			}
		})
	}
	working.Wait()
	return context.Cause(ctx)
}

// quantile of durations, by the nearest rank.
func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// median of figures, one a round.
func median(figures []float64) float64 {
	if len(figures) == 0 {
		return 0
	}
	sorted := slices.Clone(figures)
	slices.Sort(sorted)
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}
