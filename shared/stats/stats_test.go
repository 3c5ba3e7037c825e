package stats_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/stats"
)

// Whatever was observed, a quantile is within 5 % of the one of the sorted list.
func TestQuantilesAreThoseOfTheSortedList(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() float64{
		"uniform":     func() float64 { return 1e6 * (1 + 9*random.Float64()) },
		"exponential": func() float64 { return 1e5 * (0.1 + random.ExpFloat64()) },
		"log-normal":  func() float64 { return 2e3 + 5e7*math.Exp(2*random.NormFloat64()) },
		"constant":    func() float64 { return 1_100_000 },
	} {
		var h stats.Histogram
		var sorted []time.Duration
		var sum time.Duration
		for range 20_000 {
			d := time.Duration(min(draw(), 9e10))
			h.Observe(d)
			sum += d
			sorted = append(sorted, d)
		}
		slices.Sort(sorted)
		read := h.Read()
		if read.Count != 20_000 || read.Sum != sum {
			t.Errorf("%s: %d observed, together %v; want 20000 and %v", name, read.Count, read.Sum, sum)
		}
		for _, share := range []float64{0.001, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 1} {
			want := sorted[int(math.Ceil(share*20_000))-1]
			if got := read.Quantile(share); math.Abs(float64(got-want)) > 0.05*float64(want) {
				t.Errorf("%s: quantile %v is %v, want %v", name, share, got, want)
			}
		}
		for _, bound := range []time.Duration{100 * time.Microsecond, 2500 * time.Microsecond, time.Millisecond, 50 * time.Millisecond, 10 * time.Second} {
			want, _ := slices.BinarySearch(sorted, bound+1)
			if got := read.Below(bound); got != uint64(want) {
				t.Errorf("%s: %d are at most %v, want %d", name, got, bound, want)
			}
		}
	}
}

func TestHistogramAtItsEdges(t *testing.T) {
	t.Parallel()
	var h stats.Histogram
	if read := h.Read(); read.Count != 0 || read.Quantile(0.5) != 0 || read.Below(time.Hour) != 0 {
		t.Errorf("of nothing: %d, %v", read.Count, read.Quantile(0.5))
	}
	for _, d := range []time.Duration{-time.Second, 0, time.Microsecond, 100 * time.Second, time.Hour, math.MaxInt64 / 2} {
		h.Observe(d)
	}
	read := h.Read()
	for bound, want := range map[time.Duration]uint64{time.Microsecond: 3, 99 * time.Second: 3, 100 * time.Second: 4, time.Hour: 6} {
		if got := read.Below(bound); got != want {
			t.Errorf("%d are at most %v, want %d", got, bound, want)
		}
	}
	if first, last := read.Quantile(0.01), read.Quantile(1); first > time.Microsecond || last != 100*time.Second {
		t.Errorf("the least is %v and the most %v", first, last)
	}
	h.Since(time.Now().Add(-time.Minute))
	if got := h.Read().Below(61*time.Second) - h.Read().Below(59*time.Second); got != 1 {
		t.Errorf("%d took about a minute, want 1", got)
	}
}

// A batch of one event is in the bucket up to 1, and not in the next.
func TestSizesAreExact(t *testing.T) {
	t.Parallel()
	var s stats.Sizes
	for n := range 101 {
		s.Observe(n)
	}
	read := s.Read()
	for n := range 101 {
		if got := read.Below(time.Duration(n) * time.Microsecond); n > 0 && got != uint64(n)+1 {
			t.Errorf("%d are at most %d, want %d", got, n, n+1)
		}
	}
}

func TestObservedAtTheSameTime(t *testing.T) {
	t.Parallel()
	var timings stats.Timings
	var highest stats.Highest
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 1000 {
				timings.Since([]string{"a", "b"}[j%2], time.Now())
				highest.See(int64(i*1000 + j))
			}
		})
	}
	all.Wait()
	var seen []string
	timings.Each(func(name string, h *stats.Histogram) {
		seen = append(seen, name)
		if got := h.Read().Count; got != 4000 {
			t.Errorf("%s: %d, want 4000", name, got)
		}
	})
	if !slices.Equal(seen, []string{"a", "b"}) || highest.Load() != 7999 {
		t.Errorf("names %v, highest %d", seen, highest.Load())
	}
}

func TestRateIsOfTheLastMinute(t *testing.T) {
	t.Parallel()
	var r stats.Rate
	now := time.Unix(1_000_000_000, 0)
	for range 90 { // the first thirty seconds are forgotten
		r.Add(now, 20)
		r.Add(now, 10)
		now = now.Add(time.Second)
	}
	last := now.Add(-time.Second)
	for at, want := range map[time.Time]float64{last: 30, last.Add(15 * time.Second): 22.5, last.Add(time.Minute): 0} {
		if got := r.PerSecond(at); got != want {
			t.Errorf("%v later: %v a second, want %v", at.Sub(last), got, want)
		}
	}
	if stats.Flag(true) != 1 || stats.Flag(false) != 0 {
		t.Error("a flag is 1 when it is set")
	}
}

func TestObservingAllocatesNothing(t *testing.T) {
	var h stats.Histogram
	var timings stats.Timings
	timings.Since("head", time.Now())
	if n := testing.AllocsPerRun(100, func() { h.Observe(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	b.ReportAllocs()
	var h stats.Histogram
	b.RunParallel(func(p *testing.PB) {
		for d := time.Duration(1_000); p.Next(); d = d*3 + 1 {
			h.Observe(d & (1<<36 - 1))
		}
	})
}
