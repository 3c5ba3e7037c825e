package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/labstack/echo/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/localpg"
)

// serveBare is the pipeline with nothing in it: what an architecture of HTTP, a log in
// Postgres, a feed on JetStream and tables to read from can do here at most, about. A write
// is stored with all others that wait, in the log's table, before it is answered; it is
// then published, delivered and written into two tables. Nothing is decided, checked,
// hashed, encoded or watched, no position is looked after, and nothing is recovered.
func serveBare(dir string) (string, func(), error) {
	ctx, cancel := context.WithCancel(context.Background())
	b := &bare{writes: make(chan *bareWrite, 1024), stored: make(chan []string, 1024)}
	var stops []func()
	stop := func() {
		cancel()
		for _, f := range slices.Backward(stops) {
			f()
		}
	}
	url, err := b.start(ctx, dir, func(f func()) { stops = append(stops, f) })
	if err != nil {
		stop()
	}
	return url, stop, err
}

type bare struct {
	pool   *pgxpool.Pool
	js     jetstream.JetStream
	writes chan *bareWrite
	stored chan []string // names, batch by batch
}

type bareWrite struct {
	name, body string
	done       chan struct{} // closed when it is stored
}

const (
	bareStream = "CONFIG_EVENTS" // and subjects as ours, for the same subscriber
	bareBatch  = 500
	// bareMessage is about the size of a message of ours with a value of 100 bytes.
	bareMessage = 550
	// bareFew is up to how many messages are faster one by one than as a batch.
	bareFew = 6
	// bareApply is how often the tables are written to.
	bareApply = 10 * time.Millisecond

	bareLogSQL = `insert into eventstore.events
		(position, namespace, name, version, event_id, type, schema_version, commit_position,
		 command_id, actor, reason, correlation_id, request_id, recorded_at, data, hash)
		select unnest($1::bigint[]), 'bench', unnest($2::text[]), unnest($1::bigint[]), '0191f3a2-0000-7000-8000-000000000000', 'ConfigValueSet', 1,
		 unnest($1::bigint[]), '0191f3a2-0000-7000-8000-000000000000', 'bench', '', '', '', clock_timestamp(), unnest($3::text[])::bytea, '\x00'`
	bareTablesSQL = `
		create table current (name text collate "C" primary key, value text not null, position bigint not null);
		create table history (name text collate "C" not null, position bigint not null, value text not null, primary key (name, position))`
	bareHistorySQL = `insert into history select unnest($1::text[]), unnest($2::bigint[]), unnest($3::text[])`
	bareCurrentSQL = `insert into current select unnest($1::text[]), unnest($2::text[]), unnest($3::bigint[])
		on conflict (name) do update set value = excluded.value, position = excluded.position`
)

func (b *bare) start(ctx context.Context, dir string, atEnd func(func())) (string, error) {
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // Postgres runs as another user where we are root
		return "", err
	}
	server, err := localpg.Start(ctx, localpg.Options{Dir: filepath.Join(dir, "postgres"), Durable: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return "", err
	}
	atEnd(func() { _ = server.Stop(context.WithoutCancel(ctx)) })
	if b.pool, err = pgxpool.New(ctx, server.URL("postgres")); err != nil {
		return "", err
	}
	atEnd(b.pool.Close)
	if err := eventlog.Schema.Migrate(ctx, b.pool); err != nil {
		return "", err
	}
	if _, err := b.pool.Exec(ctx, bareTablesSQL); err != nil {
		return "", err
	}
	natsURL, stopNATS, err := serveNATS(filepath.Join(dir, "nats"))
	if err != nil {
		return "", err
	}
	atEnd(stopNATS)
	nc, err := nats.Connect(natsURL)
	if err != nil {
		return "", err
	}
	atEnd(nc.Close)
	if b.js, err = jetstream.New(nc); err != nil {
		return "", err
	}
	_, err = b.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: bareStream, Subjects: []string{"config.events.>"}, Storage: jetstream.FileStorage, AllowAtomicPublish: true,
	})
	if err != nil {
		return "", err
	}
	consumer, err := b.js.OrderedConsumer(ctx, bareStream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return "", err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return "", err
	}
	atEnd(messages.Stop)
	e := echo.New()
	e.PUT("/v2/namespaces/:namespace/configs/:name", b.put)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	serving := &http.Server{Handler: e, ReadHeaderTimeout: time.Minute}
	go func() { _ = serving.Serve(listener) }()
	atEnd(func() { _ = serving.Close() })
	for _, work := range []func(context.Context) error{b.store, b.publish, func(ctx context.Context) error { return b.apply(ctx, messages) }} {
		go func() {
			if err := work(ctx); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "bare pipeline:", err)
				os.Exit(1)
			}
		}()
	}
	return "http://" + listener.Addr().String() + " " + natsURL, nil
}

func (b *bare) put(c echo.Context) error {
	body, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return err
	}
	w := &bareWrite{name: c.Param("name"), body: string(body), done: make(chan struct{})}
	b.writes <- w
	<-w.done
	return c.String(http.StatusOK, value)
}

// store is the log: what waits is one transaction, of one statement.
func (b *bare) store(ctx context.Context) error {
	var position int64
	for {
		batch, err := gather(ctx, b.writes, bareBatch)
		if err != nil {
			return err
		}
		positions, names, bodies := make([]int64, len(batch)), make([]string, len(batch)), make([]string, len(batch))
		for i, w := range batch {
			position++
			positions[i], names[i], bodies[i] = position, w.name, w.body
		}
		if _, err := b.pool.Exec(ctx, bareLogSQL, positions, names, bodies); err != nil {
			return err
		}
		for _, w := range batch {
			close(w.done)
		}
		b.stored <- names
	}
}

// gather waits for one, and takes what else is there.
func gather[T any](ctx context.Context, from <-chan T, most int) ([]T, error) {
	var all []T
	select {
	case one := <-from:
		all = append(all, one)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for len(all) < most && len(from) > 0 { // nobody else takes
		all = append(all, <-from)
	}
	return all, nil
}

// publish is the relay.
func (b *bare) publish(ctx context.Context) error {
	message := []byte(strings.Repeat("m", bareMessage))
	for {
		batches, err := gather(ctx, b.stored, bareBatch)
		if err != nil {
			return err
		}
		names := slices.Concat(batches...)
		for len(names) > 0 {
			n := min(len(names), 2*bareBatch) // the most that a batch can have
			if err := b.publishBatch(ctx, names[:n], message); err != nil {
				return err
			}
			names = names[n:]
		}
	}
}

func (b *bare) publishBatch(ctx context.Context, names []string, message []byte) error {
	subject := func(name string) string { return "config.events.bench." + name }
	if len(names) <= bareFew {
		for _, name := range names {
			if _, err := b.js.Publish(ctx, subject(name), message); err != nil {
				return err
			}
		}
		return nil
	}
	batch, err := jetstreamext.NewBatchPublisher(b.js, jetstreamext.BatchFlowControl{})
	if err != nil {
		return err
	}
	last := len(names) - 1
	for _, name := range names[:last] {
		if err := batch.Add(subject(name), message); err != nil {
			return err
		}
	}
	_, err = batch.Commit(ctx, subject(names[last]), message)
	return err
}

// apply is the projector: what has come within ten milliseconds is one transaction.
func (b *bare) apply(ctx context.Context, messages jetstream.MessagesContext) error {
	came := make(chan jetstream.Msg, 10_000)
	go func() {
		for {
			message, err := messages.Next()
			if err != nil {
				return // stopped
			}
			came <- message
		}
	}()
	var position int64
	for {
		began := time.Now()
		batch, err := gather(ctx, came, cap(came))
		if err != nil {
			return err
		}
		var names, values, present, presentValues []string
		var positions, presentPositions []int64
		last := map[string]int{}
		for i, message := range batch {
			position++
			name := message.Subject()[strings.LastIndexByte(message.Subject(), '.')+1:]
			names, values, positions = append(names, name), append(values, value), append(positions, position)
			last[name] = i
		}
		for name, i := range last {
			present, presentValues, presentPositions = append(present, name), append(presentValues, values[i]), append(presentPositions, positions[i])
		}
		var pipeline pgx.Batch // one transaction, since it has one end
		pipeline.Queue(bareHistorySQL, names, positions, values)
		pipeline.Queue(bareCurrentSQL, present, presentValues, presentPositions)
		if err := b.pool.SendBatch(ctx, &pipeline).Close(); err != nil {
			return err
		}
		sleep(ctx, bareApply-time.Since(began))
	}
}

// openBare returns it as a client of ours sees it.
func openBare(addresses string) (*ours, error) {
	url, natsURL, ok := strings.Cut(addresses, " ")
	if !ok {
		return nil, errors.New("bare pipeline: two addresses are wanted")
	}
	o := openOurs(url, "bench")
	o.natsURL = natsURL
	return o, nil
}
