package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

var value = strings.Repeat("v", valueSize)

// contestants are the systems under load, by name.
type contestants map[string]store

const (
	us       = "Config API"
	viaNATS  = "Config API, NATS"
	viaSSE   = "Config API, SSE"
	etcdName = "etcd"
	etcdRead = "etcd, serializable"
	kvName   = "NATS KV"
	pgName   = "plain Postgres"
	constant = "constant handler"
	bareName = "bare pipeline"
)

// all starts every system. They stay idle while another is measured.
func (b *bench) all(ctx context.Context) (contestants, *system, error) {
	s, err := b.system()
	if err != nil {
		return nil, nil, err
	}
	_, etcdAddress, err := b.peer("etcd")
	if err != nil {
		return nil, nil, err
	}
	_, natsURL, err := b.peer("nats")
	if err != nil {
		return nil, nil, err
	}
	_, constantURL, err := b.peer("constant")
	if err != nil {
		return nil, nil, err
	}
	_, bareAddresses, err := b.peer("bare")
	if err != nil {
		return nil, nil, err
	}
	bare, err := openBare(bareAddresses)
	if err != nil {
		return nil, nil, err
	}
	server, err := b.postgres(ctx)
	if err != nil {
		return nil, nil, err
	}
	e, err := openEtcd(etcdAddress)
	if err != nil {
		return nil, nil, err
	}
	kv, err := openNATSKV(ctx, natsURL)
	if err != nil {
		return nil, nil, err
	}
	pg, err := openPostgres(ctx, server.URL("postgres"))
	if err != nil {
		return nil, nil, err
	}
	linearizable := *e
	linearizable.linearizable = true
	return contestants{
		us: openOurs(s.url, "bench"), etcdRead: e, etcdName: &linearizable, kvName: kv, pgName: pg, constant: openOurs(constantURL, "bench"), bareName: bare,
	}, s, nil
}

// compare measures the systems one after the other, round after round, for each
// number of clients, into a table of rates.
func (b *bench) compare(ctx context.Context, t *table, c contestants, names []string, op func(store) func(context.Context, int, *rand.Rand) error) error {
	for range b.rounds {
		for _, clients := range b.clients {
			for _, name := range names {
				rate, err := throughput(ctx, clients, b.span, op(c[name]))
				if err != nil {
					return fmt.Errorf("%s with %d clients: %w", name, clients, err)
				}
				t.add(name, fmt.Sprint(clients), rate)
			}
		}
	}
	return nil
}

func puts(ctx context.Context, b *bench) error {
	c, _, err := b.all(ctx)
	if err != nil {
		return err
	}
	defer b.stop()
	t := b.table("PUT", "clients", "writes/s", us)
	t.about = "Each client writes one of 50,000 names, and the next when the answer is there. Ours is `PUT /v2/…` with the projector, the feed and the query service at work behind it. The bare pipeline is the same way with nothing in it: HTTP, a transaction of what waits into the log's table, a message, two tables; no write is decided, checked, hashed, encoded, kept in memory or recovered. It is about what this architecture can do here at most."
	err = b.compare(ctx, t, c, []string{us, bareName, etcdName, kvName, pgName}, func(s store) func(context.Context, int, *rand.Rand) error {
		return func(ctx context.Context, client int, random *rand.Rand) error {
			return s.put(ctx, client, key(random.IntN(keys)), value)
		}
	})
	if err != nil {
		return err
	}
	for _, clients := range t.names {
		at := func(system string) float64 { return median(t.figures[[2]string{system, clients}]) }
		t.notes = append(t.notes, fmt.Sprintf("The bare pipeline, %s clients: %.2f of etcd, %.2f of NATS KV.", clients, at(bareName)/at(etcdName), at(bareName)/at(kvName)))
	}
	return nil
}

func gets(ctx context.Context, b *bench) error {
	c, _, err := b.all(ctx)
	if err != nil {
		return err
	}
	defer b.stop()
	const names = 1000
	for name, s := range c {
		if name == constant || name == etcdRead || name == bareName {
			continue
		}
		if err := fill(ctx, s, names, key); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	t := b.table("GET", "clients", "reads/s", us)
	t.about = "The current value of one of 1000 names. The constant handler is echo answering 100 bytes that are always the same: what HTTP itself costs."
	return b.compare(ctx, t, c, []string{us, constant, etcdRead, etcdName, kvName, pgName}, func(s store) func(context.Context, int, *rand.Rand) error {
		return func(ctx context.Context, client int, random *rand.Rand) error {
			return s.get(ctx, client, key(random.IntN(names)))
		}
	})
}

// fill writes so many names, with 32 clients.
func fill(ctx context.Context, s store, names int, name func(int) string) error {
	var working sync.WaitGroup
	failed := make(chan error, 32)
	for client := range 32 {
		working.Go(func() {
			for i := client; i < names; i += 32 {
				if err := s.put(ctx, client, name(i), value); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	working.Wait()
	close(failed)
	if err := <-failed; err != nil {
		return err
	}
	if o, ok := s.(*ours); ok {
		return o.settle(ctx)
	}
	return nil
}

func prefixes(ctx context.Context, b *bench) error {
	c, _, err := b.all(ctx)
	if err != nil {
		return err
	}
	defer b.stop()
	const names = 1000
	systems := []string{us, etcdRead, kvName, pgName}
	for _, name := range systems {
		if err := fill(ctx, c[name], names, func(i int) string { return listKey("list.", i) }); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	t := b.table("A list of 1000 names by their prefix", "clients", "lists/s", us)
	t.about = "All names with their values in one answer. NATS KV has no list with values; a watch of the prefix is read until it has caught up."
	return b.compare(ctx, t, c, systems, func(s store) func(context.Context, int, *rand.Rand) error {
		return func(ctx context.Context, _ int, _ *rand.Rand) error { return s.list(ctx, "list.", names) }
	})
}

const latencyRate = 200

// latencies are from the beginning of a PUT to where its change is seen.
func latencies(ctx context.Context, b *bench) error {
	c, s, err := b.all(ctx)
	if err != nil {
		return err
	}
	defer b.stop()
	sse, subscriber := openOurs(s.url, "bench"), openOurs(s.url, "bench")
	subscriber.natsURL = s.nats
	c[viaSSE], c[viaNATS] = sse, subscriber
	t := b.table("From PUT to the watcher", "quantile", "ms", etcdName)
	t.about = fmt.Sprintf("%d writes a second, evenly spread; from the beginning of the request to the watcher's call, but for the first half second. Ours is seen by a subscriber of NATS and by a watch over HTTP (server-sent events).", latencyRate)
	for round := range b.rounds {
		for _, name := range []string{viaNATS, viaSSE, bareName, etcdName, kvName} {
			all, err := latency(ctx, c[name], 5*b.span, round)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			for _, q := range []struct {
				name string
				q    float64
			}{{"p50", .5}, {"p99", .99}} {
				t.add(name, q.name, float64(quantile(all, q.q))/float64(time.Millisecond))
			}
		}
	}
	return nil
}

func latency(ctx context.Context, s store, span time.Duration, round int) ([]time.Duration, error) {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	n := int((warmUp + span).Seconds() * latencyRate)
	began, took := make([]time.Time, n), make([]time.Duration, n)
	var mu sync.Mutex
	index := map[string]int{}
	left := n
	ready, done, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- s.watch(watching, sync.OnceFunc(func() { close(ready) }), func(key string) {
			now := time.Now()
			mu.Lock()
			defer mu.Unlock()
			if i, ok := index[key]; ok && took[i] == 0 {
				took[i] = now.Sub(began[i])
				if left--; left == 0 {
					close(done)
				}
			}
		})
	}()
	select {
	case <-ready:
	case err := <-ended:
		return nil, errors.Join(errStopped, err)
	}
	err := paced(ctx, latencyRate, warmUp+span, func(ctx context.Context, i int) error {
		name := key((round+1)*1_000_000 + i)
		mu.Lock()
		index[name], began[i] = i, time.Now()
		mu.Unlock()
		return s.put(ctx, i, name, value)
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		return nil, fmt.Errorf("%d of %d changes were never seen: %w", left, n, errStopped)
	}
	cancel()
	return took[int(warmUp.Seconds()*latencyRate):], <-ended
}
