package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	etcd "go.etcd.io/etcd/client/v3"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
)

// appends holds the log itself, without HTTP, against the fastest that its table can
// be filled: COPY of the same rows with the same indexes.
func appends(ctx context.Context, b *bench) error {
	server, err := b.postgres(ctx)
	if err != nil {
		return err
	}
	defer b.stop()
	const callers = 256
	t := b.table("Append in the process", "callers", "events/s", us)
	t.about = "The log without HTTP, feed and read tables: each event checked against the one before it, hashed, and on the disk before its caller goes on. The bulk load is one COPY of as many rows into a table like that of the log, with its indexes and without checks: as fast as Postgres takes them here."
	for round := range b.rounds {
		name := fmt.Sprintf("append_%d", round)
		if err := server.EnsureDatabase(ctx, name); err != nil {
			return err
		}
		pool, err := pgxpool.New(ctx, server.URL(name))
		if err != nil {
			return err
		}
		if err := eventlog.Schema.Migrate(ctx, pool); err != nil {
			return err
		}
		log := eventlog.Open(pool, eventlog.Options{Logger: slog.New(slog.DiscardHandler)})
		rate, err := throughput(ctx, callers, b.span, func(ctx context.Context, _ int, random *rand.Rand) error {
			_, err := log.Append(ctx, eventlog.Command{Set: config.ChangeSet{
				Namespace: "bench", Actor: "bench", Changes: []config.Change{{Op: config.Set, Name: key(random.IntN(keys)), Value: config.Value(`"` + value + `"`)}},
			}})
			return err
		})
		log.Close()
		if err == nil {
			t.add(us, fmt.Sprint(callers), rate)
			rate, err = bulkLoad(ctx, pool)
			t.add("bulk load", "1", rate)
		}
		pool.Close()
		if err != nil {
			return err
		}
	}
	ours, bulk := median(t.figures[[2]string{us, "256"}]), median(t.figures[[2]string{"bulk load", "1"}])
	t.notes = append(t.notes, fmt.Sprintf("The log appends at %.2f of the bulk load.", ours/bulk))
	return nil
}

// bulkLoad copies the log's rows into a table of the same shape, and returns the
// rows a second.
func bulkLoad(ctx context.Context, pool *pgxpool.Pool) (float64, error) {
	if _, err := pool.Exec(ctx, `create table public.bulk (like eventstore.events including all)`); err != nil {
		return 0, err
	}
	rows, err := pool.Query(ctx, `select * from eventstore.events order by position`)
	if err != nil {
		return 0, err
	}
	var all [][]any
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return 0, err
		}
		all = append(all, values)
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	var columns []string
	for _, field := range rows.FieldDescriptions() {
		columns = append(columns, field.Name)
	}
	began := time.Now()
	n, err := pool.CopyFrom(ctx, pgx.Identifier{"public", "bulk"}, columns, pgx.CopyFromRows(all))
	return float64(n) / time.Since(began).Seconds(), err
}

const (
	short       = 10_000 // events of the short log
	pastNames   = 1000   // in a namespace
	setSize     = 500    // names in a change set
	etcdSetSize = 125    // the most operations in a transaction are 128
)

// pasts reads what was, of a short log and of a long one in turns: what the machine
// does in the minutes after a million writes is then the same for both.
func pasts(ctx context.Context, b *bench) error {
	defer b.stop()
	name := b.table("A name as of a moment", "events in the log", "reads/s", us)
	name.about = "One of 1000 names of a namespace as it was at a random moment of the whole log, 16 clients; the short log and the long one in turns. etcd reads an old revision, as long as nobody compacts it. Postgres has vacuumed its tables and written them to the disk before, as it does by itself in the minutes after a load, and each log was read for a while: the first reads of a page take longer."
	all := b.table("A namespace of 1000 names as of a moment", "events in the log", "reads/s", us)
	all.about = "All names with their values as they were at a random moment, 4 clients."
	size := b.table("What it takes", "events in the log", "bytes an event", etcdName)
	size.about = "Memory and disk divided by the events: of configd with its Postgres, and of etcd. We keep each event three times: in the log, in the feed and in the read tables."
	var logs []history
	for _, events := range []int{short, b.large} {
		h, err := b.history(ctx, events)
		if err != nil {
			return err
		}
		if err := weigh(size, h.column, events, map[string]*process{us: h.system.process, etcdName: h.peer}); err != nil {
			return err
		}
		logs = append(logs, h)
	}
	// Postgres keeps what it has read; the first reads of a page are the system's.
	warming := *b
	warming.span *= 3
	for _, h := range logs {
		if err := readPast(ctx, &warming, h.ours, h.etcd, h.column, newTable(), newTable()); err != nil {
			return err
		}
	}
	for range b.rounds {
		for _, h := range logs {
			if err := readPast(ctx, b, h.ours, h.etcd, h.column, name, all); err != nil {
				return err
			}
		}
	}
	for _, t := range []*table{name, all} {
		t.notes = append(t.notes, fmt.Sprintf("From the short log to the long one ours takes %.2f times as long, etcd %.2f.",
			longer(t, us), longer(t, etcdName)))
	}
	return rebuild(ctx, b, logs[1].ours)
}

// history is a system, and etcd, with so many events.
type history struct {
	column string
	system *system
	ours   *ours
	peer   *process
	etcd   *etcdStore
}

func (b *bench) history(ctx context.Context, events int) (h history, err error) {
	h.column = human(float64(events))
	if h.system, err = b.system(); err != nil {
		return h, err
	}
	var address string
	if h.peer, address, err = b.peer("etcd"); err != nil {
		return h, err
	}
	if h.etcd, err = openEtcd(address); err != nil {
		return h, err
	}
	h.ours = openOurs(h.system.url, "past-0")
	began := time.Now()
	if err := fillPast(ctx, h.ours, h.etcd, events); err != nil {
		return h, err
	}
	fmt.Fprintf(os.Stderr, "  %s events after %v\n", h.column, time.Since(began).Round(time.Second))
	return h, vacuum(ctx, filepath.Join(h.system.dir, "postgres"))
}

// vacuum does at once what Postgres would otherwise do while the reads are measured.
func vacuum(ctx context.Context, dir string) error {
	password, err := os.ReadFile(filepath.Join(dir, "password"))
	if err != nil {
		return err
	}
	pid, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		return err
	}
	lines := strings.Split(string(pid), "\n") // the fourth is the port, the fifth the socket's directory
	at := url.URL{Scheme: "postgres", User: url.UserPassword("config_api", strings.TrimSpace(string(password))), Path: "/config_api_eventstore"}
	at.RawQuery = url.Values{"host": {lines[4]}, "port": {lines[3]}}.Encode()
	conn, err := pgx.Connect(ctx, at.String())
	if err != nil {
		return err
	}
	for _, command := range []string{`vacuum (analyze)`, `checkpoint`} {
		if _, err = conn.Exec(ctx, command); err != nil {
			break
		}
	}
	return errors.Join(err, conn.Close(ctx))
}

func longer(t *table, system string) float64 {
	return median(t.figures[[2]string{system, t.names[0]}]) / median(t.figures[[2]string{system, t.names[1]}])
}

// fillPast writes so many events: round after round of 1000 names, in ten
// namespaces when there are enough.
func fillPast(ctx context.Context, o *ours, e *etcdStore, events int) error {
	for at := 0; at < events; at += setSize {
		names := make([]string, setSize)
		for i := range names {
			names[i] = key((at + i) % pastNames)
		}
		into := *o
		into.namespace = fmt.Sprintf("past-%d", at/pastNames%pastNamespaces)
		if err := into.write(ctx, names, value); err != nil {
			return err
		}
		for first := 0; first < len(names); first += etcdSetSize {
			var puts []etcd.Op
			for _, name := range names[first : first+etcdSetSize] {
				puts = append(puts, etcd.OpPut(into.namespace+"/"+name, value))
			}
			if _, err := e.clients[0].Txn(ctx).Then(puts...).Commit(); err != nil {
				return err
			}
		}
	}
	return o.settle(ctx)
}

const pastNamespaces = 10

// readPast is one round of reads at random moments.
func readPast(ctx context.Context, b *bench, o *ours, e *etcdStore, column string, name, all *table) error {
	head, err := o.head(ctx)
	if err != nil {
		return err
	}
	answer, err := e.clients[0].Get(ctx, "x")
	if err != nil {
		return err
	}
	revision := answer.Header.Revision
	// Before that not all of the first namespace was there.
	moment := func(random *rand.Rand) int64 { return pastNames + random.Int64N(head-pastNames+1) }
	etcdMoment := func(random *rand.Rand) etcd.OpOption {
		least := int64(pastNames/etcdSetSize) + 1
		return etcd.WithRev(least + random.Int64N(revision-least+1))
	}
	for _, m := range []struct {
		t       *table
		system  string
		clients int
		op      func(context.Context, int, *rand.Rand) error
	}{
		{name, us, 16, func(ctx context.Context, _ int, random *rand.Rand) error {
			_, err := do(ctx, o.client, http.MethodGet, o.path(key(random.IntN(pastNames)))+fmt.Sprintf("?at_position=%d", moment(random)), "")
			return err
		}},
		{name, etcdName, 16, func(ctx context.Context, client int, random *rand.Rand) error {
			answer, err := e.of(client).Get(ctx, "past-0/"+key(random.IntN(pastNames)), etcdMoment(random), etcd.WithSerializable())
			if err == nil && len(answer.Kvs) != 1 {
				err = fmt.Errorf("etcd: not there: %w", errStopped)
			}
			return err
		}},
		{all, us, 4, func(ctx context.Context, _ int, random *rand.Rand) error {
			answer, err := do(ctx, o.client, http.MethodGet, fmt.Sprintf("%s/v2/namespaces/past-0/configs?limit=%d&at_position=%d", o.url, pastNames, moment(random)), "")
			if n := strings.Count(string(answer), `"name":"`); err == nil && n != pastNames {
				err = fmt.Errorf("%d names: %w", n, errStopped)
			}
			return err
		}},
		{all, etcdName, 4, func(ctx context.Context, client int, random *rand.Rand) error {
			answer, err := e.of(client).Get(ctx, "past-0/", etcd.WithPrefix(), etcdMoment(random), etcd.WithSerializable())
			if err == nil && len(answer.Kvs) != pastNames {
				err = fmt.Errorf("etcd: %d names: %w", len(answer.Kvs), errStopped)
			}
			return err
		}},
	} {
		rate, err := throughput(ctx, m.clients, b.span, m.op)
		if err != nil {
			return fmt.Errorf("%s: %w", m.system, err)
		}
		m.t.add(m.system, column, rate)
	}
	return nil
}

func weigh(t *table, column string, events int, of map[string]*process) error {
	for _, name := range keysOf(of) {
		used, err := resident(of[name])
		if err != nil {
			t.notes = append(t.notes, err.Error())
		} else {
			t.add(name+", memory", column, float64(used)/float64(events))
		}
		if used, err = diskUsage(of[name].dir); err != nil {
			return err
		}
		t.add(name+", disk", column, float64(used)/float64(events))
	}
	return nil
}

// rebuild reads the whole log into new tables.
func rebuild(ctx context.Context, b *bench, o *ours) error {
	head, err := o.head(ctx)
	if err != nil {
		return err
	}
	t := b.table("Rebuild of the read tables", "events", "events/s", us)
	t.about = "From the request until the new tables are read, with the comparison of both; nothing else is under load. How it stands beside a bulk load of the same rows is measured by `make bench-go`, `BenchmarkRebuild`."
	began := time.Now()
	if _, err := do(ctx, o.client, http.MethodPost, o.url+"/v2/projections/current/rebuild", ""); err != nil {
		return err
	}
	for {
		answer, err := do(ctx, o.client, http.MethodGet, o.url+"/v2/projections/current/rebuild", "")
		var now struct {
			State, Detail string
		}
		if err == nil {
			err = json.Unmarshal(answer, &now)
		}
		switch {
		case err != nil:
			return err
		case now.State == "done":
			t.add(us, human(float64(head)), float64(head)/time.Since(began).Seconds())
			return nil
		case now.State == "failed" || ctx.Err() != nil:
			return fmt.Errorf("the rebuild is %s: %s", now.State, now.Detail)
		}
		sleep(ctx, 20*time.Millisecond)
	}
}

// memory is how much the query service needs for each name that it holds.
func memory(ctx context.Context, b *bench) error {
	server, err := b.postgres(ctx)
	if err != nil {
		return err
	}
	defer b.stop()
	if err := server.EnsureDatabase(ctx, "config_api"); err != nil {
		return err
	}
	_, natsURL, err := b.peer("nats")
	if err != nil {
		return err
	}
	admin, err := freePort()
	if err != nil {
		return err
	}
	environ := []string{"DATABASE_URL=" + server.URL("config_api"), "NATS_URL=" + natsURL}
	writes, err := b.service(ctx, "command", environ...)
	if err != nil {
		return err
	}
	projects, err := b.service(ctx, "projector", environ...)
	if err != nil {
		return err
	}
	if _, err := b.service(ctx, "query", append(environ, "ADMIN_LISTEN="+admin)...); err != nil {
		return err
	}
	before, err := heap(ctx, admin)
	if err != nil {
		return err
	}
	o := openOurs(writes, "memory")
	for at := 0; at < b.names; at += setSize {
		names := make([]string, setSize)
		for i := range names {
			names[i] = key(at + i)
		}
		if err := o.write(ctx, names, value); err != nil {
			return err
		}
	}
	o.projections = projects
	if err := o.settle(ctx); err != nil {
		return err
	}
	sleep(ctx, time.Second) // for the query service, which reads the feed as well
	after, err := heap(ctx, admin)
	if err != nil {
		return err
	}
	t := b.table("Memory of the query service", "names", "bytes a name", us)
	t.about = fmt.Sprintf("What is live on its heap, less what was before, for each name of 20 bytes with a value of %d. The value is among it.", valueSize+2)
	t.add(us, human(float64(b.names)), (after-before)/float64(b.names))
	return nil
}

// heap is what is live on a process's heap, after a collection.
func heap(ctx context.Context, admin string) (float64, error) {
	if _, err := do(ctx, http.DefaultClient, http.MethodGet, "http://"+admin+"/debug/pprof/heap?gc=1", ""); err != nil {
		return 0, err
	}
	answer, err := do(ctx, http.DefaultClient, http.MethodGet, "http://"+admin+"/metrics", "")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(answer)) {
		var f float64
		if n, _ := fmt.Sscanf(line, "go_memstats_heap_alloc_bytes %g", &f); n == 1 {
			return f, nil
		}
	}
	return 0, errors.New("the metrics do not tell of the heap")
}
