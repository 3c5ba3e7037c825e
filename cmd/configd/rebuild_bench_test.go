package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/client"
)

var rebuildEvents = flag.Int("rebuild-events", 20_000, "how many events BenchmarkReadsDuringRebuild rebuilds from")

// BenchmarkReadsDuringRebuild reads a current value over HTTP with 16 clients, for
// as long as a rebuild takes, and then for as long without one, and puts the two
// beside each other.
func BenchmarkReadsDuringRebuild(b *testing.B) {
	const clients, setSize = 16, 1000
	s := startSystem(b)
	c, err := client.New(s.url)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < *rebuildEvents; i += setSize {
		changes := make([]client.Change, setSize)
		for j := range changes {
			changes[j] = client.Set(benchName(j), fmt.Sprintf("%0100d", i+j))
		}
		if _, err := c.Namespace("default").Apply(b.Context(), changes); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := c.Namespace("default").Get(b.Context(), benchName(1), client.AtPosition(int64(*rebuildEvents)), client.Wait(30*time.Second)); err != nil {
		b.Fatal(err)
	}
	transport := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer transport.CloseIdleConnections()
	measure := func(until <-chan struct{}) []time.Duration {
		var mu sync.Mutex
		var all []time.Duration
		var reading sync.WaitGroup
		for range clients {
			reading.Go(func() {
				var mine []time.Duration
				for i := 0; ; i++ {
					select {
					case <-until:
						mu.Lock()
						all = append(all, mine...)
						mu.Unlock()
						return
					default:
					}
					began := time.Now()
					response, err := transport.Get(s.url + "/v1/config/" + benchName(i%setSize))
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, response.Body)
					_ = response.Body.Close()
					mine = append(mine, time.Since(began))
				}
			})
		}
		reading.Wait()
		slices.Sort(all)
		return all
	}
	for b.Loop() {
		done := make(chan struct{})
		began := time.Now()
		if _, err := c.StartRebuild(b.Context(), 0); err != nil {
			b.Fatal(err)
		}
		go func() {
			defer close(done)
			if _, err := c.AwaitRebuild(b.Context(), nil); err != nil {
				b.Error(err)
			}
		}()
		during := measure(done)
		took := time.Since(began)
		without := make(chan struct{})
		time.AfterFunc(took, func() { close(without) })
		idle := measure(without)
		for _, q := range []struct {
			name string
			part int
		}{{"p50", 2}, {"p99", 100}} {
			at := func(all []time.Duration) float64 {
				return float64(all[len(all)-1-len(all)/q.part].Microseconds()) / 1000
			}
			b.ReportMetric(at(during), q.name+"-ms-during")
			b.ReportMetric(at(idle), q.name+"-ms-without")
		}
		b.ReportMetric(took.Seconds(), "s/rebuild")
	}
	b.ReportMetric(0, "ns/op")
}
