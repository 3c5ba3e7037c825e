package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/config-api/config-api/shared/client"
)

const (
	maxBenchClients = 256
	// benchNamespace keeps a benchmark's names apart from those that somebody uses.
	benchNamespace = "configctl-bench"
	benchNames     = 100
)

// load is what a benchmark does.
type load struct {
	clients  int
	duration time.Duration
	reads    float64 // share of all requests
}

func (c *cli) bench() *cobra.Command {
	l := load{clients: 8, duration: 5 * time.Second, reads: 0.9}
	var yes bool
	cmd := &cobra.Command{
		Use: "bench", Short: "measure reads and writes, to see whether an installation is well", Args: cobra.NoArgs, Annotations: long,
		Long: fmt.Sprintf("Reads and writes %d names of the namespace %s, or of that of -n, and prints the rate and\n"+
			"the times. The writes stay in the log for ever, as all do; --reads 1 makes none.", benchNames, benchNamespace),
		Example: "  configctl bench --yes\n  configctl bench --clients 64 --duration 30s --reads 0.5",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if l.clients < 1 || l.clients > maxBenchClients || l.reads < 0 || l.reads > 1 || l.duration <= 0 {
				return usagef("use --clients from 1 to %d, --reads from 0 to 1, and a --duration", maxBenchClients)
			}
			if c.flags.namespace == "" {
				c.flags.namespace = benchNamespace
			}
			if l.reads < 1 {
				if err := c.confirm(yes, fmt.Sprintf("This writes to the namespace %s for %s.", c.flags.namespace, l.duration)); err != nil {
					return err
				}
			}
			api, err := c.connect(client.WithAttempts(1))
			if err != nil {
				return err
			}
			if l.reads < 1 {
				changes := make([]client.Change, benchNames)
				for i := range changes {
					changes[i] = client.Set(benchName(i), i)
				}
				if _, err := api.ns.Apply(cmd.Context(), changes, client.Reason("configctl bench")); err != nil {
					return err
				}
			}
			return c.measured(l, c.runLoad(cmd.Context(), api, l))
		},
	}
	f := cmd.Flags()
	f.IntVar(&l.clients, "clients", l.clients, "how many at once")
	f.DurationVar(&l.duration, "duration", l.duration, "how long")
	f.Float64Var(&l.reads, "reads", l.reads, "the share of reads")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func benchName(i int) string { return fmt.Sprint("bench-", i) }

// samples are the times of one kind of request, and what went wrong.
type samples struct {
	times  []time.Duration
	failed int
	err    error // the last
}

func (s *samples) add(took time.Duration, err error) {
	// A name that was never written is read as well as any other.
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		s.failed, s.err = s.failed+1, err
		return
	}
	s.times = append(s.times, took)
}

// runLoad returns the samples of reads and of writes.
func (c *cli) runLoad(ctx context.Context, api api, l load) [2]samples {
	ctx, stop := context.WithTimeout(ctx, l.duration)
	defer stop()
	p := c.progress("measuring")
	defer p.end()
	began := time.Now()
	perClient := make([][2]samples, l.clients)
	var working sync.WaitGroup
	for i := range perClient {
		working.Go(func() {
			for ctx.Err() == nil {
				name, kind, start := benchName(rand.N(benchNames)), 0, time.Now()
				var err error
				if rand.Float64() < l.reads {
					_, err = api.ns.Get(ctx, name)
				} else {
					kind = 1
					_, err = api.ns.Set(ctx, name, start.UnixNano(), client.Reason("configctl bench"))
				}
				if ctx.Err() != nil { // cut off, and no sample
					return
				}
				perClient[i][kind].add(time.Since(start), err)
				if i == 0 {
					p.at(time.Since(began).Milliseconds(), l.duration.Milliseconds())
				}
			}
		})
	}
	working.Wait()
	var all [2]samples
	for _, one := range perClient {
		for kind := range one {
			all[kind].times = append(all[kind].times, one[kind].times...)
			all[kind].failed += one[kind].failed
			all[kind].err = cmp.Or(all[kind].err, one[kind].err)
		}
	}
	return all
}

// measurement is what was found of one kind of request.
type measurement struct {
	What      string  `json:"what"`
	Count     int     `json:"count"`
	Failed    int     `json:"failed"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P95       float64 `json:"p95_ms"`
	P99       float64 `json:"p99_ms"`
	Max       float64 `json:"max_ms"`
}

func (c *cli) measured(l load, all [2]samples) error {
	var found []measurement
	t := table{head: []string{"", "COUNT", "FAILED", "PER SECOND", "P50", "P95", "P99", "MAX"}}
	var failure error
	for kind, s := range all {
		slices.Sort(s.times)
		if s.err != nil {
			failure = fmt.Errorf("%d requests failed, the last with: %w", s.failed, s.err)
		}
		m := measurement{
			What: []string{"read", "write"}[kind], Count: len(s.times), Failed: s.failed, PerSecond: float64(len(s.times)) / l.duration.Seconds(),
			P50: quantile(s.times, 0.5), P95: quantile(s.times, 0.95), P99: quantile(s.times, 0.99), Max: quantile(s.times, 1),
		}
		found = append(found, m)
		ms := func(v float64) string { return fmt.Sprintf("%.1f ms", v) }
		t.add(m.What, fmt.Sprint(m.Count), fmt.Sprint(m.Failed), fmt.Sprintf("%.0f", m.PerSecond), ms(m.P50), ms(m.P95), ms(m.P99), ms(m.Max))
	}
	return errors.Join(c.print(answer{data: found, table: t}), failure)
}

// quantile is of sorted times, in milliseconds.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	i := min(int(q*float64(len(sorted))), len(sorted)-1)
	return float64(sorted[i].Microseconds()) / 1000
}
