//go:build crash && linux

package e2e

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/config-api/config-api/shared/client"
)

var soakTime = flag.Duration("soak", 10*time.Minute, "how long the soak test takes")

const (
	soakFault  = 20 * time.Second // between two faults
	soakSample = 2 * time.Second  // between two looks at the processes
	// A process may need as much more in the last third of the time than in the
	// first: it is about what grows without end.
	soakFactor = 2
	soakMore   = 64 << 20
	// goroutines may double, too.
	soakGoroutines = 200
)

// sample is what a process uses.
type sample struct {
	rss        int64
	goroutines int // 0 if it does not tell
}

// TestSoak lets the cluster work for long, with a fault every 20 seconds. After
// each nothing may be behind, and at the end no process may have grown.
func TestSoak(t *testing.T) {
	t.Logf("to repeat this run: -seed=%d", *crashSeed)
	c := newCluster(t, size{commands: 2, projectors: 2, queries: 2})
	s := &survival{cluster: c, t: t, random: rand.New(rand.NewPCG(*crashSeed, 2))}
	s.load = c.load(40*time.Millisecond).start(t, *crashSeed, 4, 4)
	f := s.load.follow(t, c.js, client.Begin)
	samples := map[string][]sample{}
	sampling, stop := context.WithCancel(t.Context())
	var sampled sync.WaitGroup
	sampled.Go(func() { c.sample(sampling, samples) })
	defer stop()

	began := time.Now()
	var did []injected
	for at := soakFault; at < *soakTime; at += soakFault {
		select {
		case <-time.After(time.Until(began.Add(at))):
		case <-t.Context().Done():
			return
		}
		did = append(did, s.inject(faults[s.random.IntN(len(faults))]))
	}
	<-time.After(time.Until(began.Add(*soakTime)))
	took := time.Since(began)
	stop()
	sampled.Wait()
	s.load.end()
	checkCluster(t, c, s.load, f)
	t.Log(summary(did, s.load.history, took, *crashSeed))
	t.Log(growth(t, samples))
}

func (c *cluster) sample(ctx context.Context, into map[string][]sample) {
	every := time.NewTicker(soakSample)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
		for _, p := range append(c.services(), c.nats) {
			if rss := residentOf(p.pid()); rss > 0 {
				into[p.name] = append(into[p.name], sample{rss, p.goroutines(ctx)})
			}
		}
	}
}

// residentOf returns the bytes of a process in memory, 0 if it is not there.
func residentOf(pid int) int64 {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid)) // size resident …, in pages
	fields := strings.Fields(string(statm))
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

var goroutinesMetric = regexp.MustCompile(`(?m)^go_goroutines (\d+)`)

// goroutines asks the service's metrics.
func (p *process) goroutines(ctx context.Context) int {
	if p.address == "" || ctx.Err() != nil {
		return 0
	}
	resp, err := probe.Get(p.url() + "/metrics")
	if err != nil {
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)
	found := goroutinesMetric.FindSubmatch(body)
	if found == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(found[1]))
	return n
}

// growth compares the first third of the samples with the last.
func growth(t *testing.T, samples map[string][]sample) string {
	t.Helper()
	var text strings.Builder
	fmt.Fprintln(&text, "medians of the first third of the time, and of the last")
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "process\tMB, first\tMB, last\tgoroutines, first\tgoroutines, last\t")
	names := []string{}
	for name := range samples {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		all := samples[name]
		first, last := median(all[:len(all)/3]), median(all[len(all)-len(all)/3:])
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t\n", name, first.rss>>20, last.rss>>20, first.goroutines, last.goroutines)
		if last.rss > soakFactor*first.rss+soakMore {
			t.Errorf("%s grew from %d MB to %d MB", name, first.rss>>20, last.rss>>20)
		}
		if last.goroutines > 2*first.goroutines+soakGoroutines {
			t.Errorf("%s grew from %d goroutines to %d", name, first.goroutines, last.goroutines)
		}
	}
	_ = table.Flush()
	return text.String()
}

func median(of []sample) sample {
	if len(of) == 0 {
		return sample{}
	}
	rss, goroutines := make([]int64, len(of)), make([]int, len(of))
	for i, s := range of {
		rss[i], goroutines[i] = s.rss, s.goroutines
	}
	slices.Sort(rss)
	slices.Sort(goroutines)
	return sample{rss[len(rss)/2], goroutines[len(goroutines)/2]}
}
