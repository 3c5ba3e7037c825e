package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	etcd "go.etcd.io/etcd/client/v3"
)

// store is a system under load. Values are texts without anything to escape.
type store interface {
	put(ctx context.Context, client int, key, value string) error
	get(ctx context.Context, client int, key string) error
	// list reads all whose names begin with a prefix, and how many there must be.
	list(ctx context.Context, prefix string, want int) error
	// watch calls seen with the key of each change until ctx ends; it calls ready
	// once nothing can be missed.
	watch(ctx context.Context, ready func(), seen func(key string)) error
}

// etcdStore is etcd through its own client: several connections, since one is the
// limit with many clients.
type etcdStore struct {
	clients      []*etcd.Client
	linearizable bool
}

const etcdConnections = 8

func openEtcd(endpoint string) (*etcdStore, error) {
	s := &etcdStore{}
	for range etcdConnections {
		client, err := etcd.New(etcd.Config{Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second})
		if err != nil {
			return nil, err
		}
		s.clients = append(s.clients, client)
	}
	return s, nil
}

func (s *etcdStore) of(client int) *etcd.Client { return s.clients[client%len(s.clients)] }

func (s *etcdStore) put(ctx context.Context, client int, key, value string) error {
	_, err := s.of(client).Put(ctx, key, value)
	return err
}

func (s *etcdStore) get(ctx context.Context, client int, key string) error {
	var options []etcd.OpOption
	if !s.linearizable {
		options = append(options, etcd.WithSerializable())
	}
	answer, err := s.of(client).Get(ctx, key, options...)
	if err == nil && len(answer.Kvs) != 1 {
		err = fmt.Errorf("etcd: %s is not there", key)
	}
	return err
}

func (s *etcdStore) list(ctx context.Context, prefix string, want int) error {
	answer, err := s.clients[0].Get(ctx, prefix, etcd.WithPrefix(), etcd.WithSerializable())
	if err == nil && len(answer.Kvs) != want {
		err = fmt.Errorf("etcd: %d keys, want %d", len(answer.Kvs), want)
	}
	return err
}

func (s *etcdStore) watch(ctx context.Context, ready func(), seen func(string)) error {
	changes := s.clients[0].Watch(ctx, "", etcd.WithPrefix(), etcd.WithCreatedNotify())
	for answer := range changes {
		if answer.Created {
			ready()
		}
		for _, e := range answer.Events {
			seen(string(e.Kv.Key))
		}
	}
	return nil
}

// natsKV is a key-value bucket of JetStream, on disk.
type natsKV struct{ bucket jetstream.KeyValue }

func openNATSKV(ctx context.Context, url string) (*natsKV, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	bucket, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "bench", Storage: jetstream.FileStorage})
	return &natsKV{bucket}, err
}

func (s *natsKV) put(ctx context.Context, _ int, key, value string) error {
	_, err := s.bucket.PutString(ctx, key, value)
	return err
}

func (s *natsKV) get(ctx context.Context, _ int, key string) error {
	_, err := s.bucket.Get(ctx, key)
	return err
}

// list has no way but to watch: it gets what is there, and then a nil.
func (s *natsKV) list(ctx context.Context, prefix string, want int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watcher, err := s.bucket.Watch(ctx, prefix+">")
	if err != nil {
		return err
	}
	defer func() { _ = watcher.Stop() }()
	n := 0
	for entry := range watcher.Updates() {
		if entry == nil {
			break
		}
		n++
	}
	if n != want {
		return fmt.Errorf("NATS KV: %d keys, want %d", n, want)
	}
	return nil
}

func (s *natsKV) watch(ctx context.Context, ready func(), seen func(string)) error {
	watcher, err := s.bucket.WatchAll(ctx, jetstream.UpdatesOnly())
	if err != nil {
		return err
	}
	defer func() { _ = watcher.Stop() }()
	ready()
	for {
		select {
		case entry := <-watcher.Updates():
			if entry != nil {
				seen(entry.Key())
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// plainPostgres is a table of names and values, and a transaction for each write.
// It has no watch: a trigger and LISTEN would lose what comes while nobody listens.
type plainPostgres struct{ pool *pgxpool.Pool }

func openPostgres(ctx context.Context, url string) (*plainPostgres, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 64 // more are slower
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	_, err = pool.Exec(ctx, `create table if not exists plain (name text collate "C" primary key, value text not null, updated_at timestamptz not null)`)
	return &plainPostgres{pool}, err
}

func (s *plainPostgres) put(ctx context.Context, _ int, key, value string) error {
	_, err := s.pool.Exec(ctx, `insert into plain values ($1, $2, now()) on conflict (name) do update set value = excluded.value, updated_at = excluded.updated_at`, key, value)
	return err
}

func (s *plainPostgres) get(ctx context.Context, _ int, key string) error {
	var value string
	return s.pool.QueryRow(ctx, `select value from plain where name = $1`, key).Scan(&value)
}

func (s *plainPostgres) list(ctx context.Context, prefix string, want int) error {
	rows, err := s.pool.Query(ctx, `select name, value from plain where name >= $1 and name < $2 order by name`, prefix, prefix+"\U0010FFFF")
	if err != nil {
		return err
	}
	type row struct{ Name, Value string }
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err == nil && len(all) != want {
		err = fmt.Errorf("postgres: %d rows, want %d", len(all), want)
	}
	return err
}

func (s *plainPostgres) watch(context.Context, func(), func(string)) error {
	return errors.New("plain Postgres has no watch")
}

// listKey is a name below a prefix that all systems can look for.
func listKey(prefix string, i int) string { return fmt.Sprintf("%s%015d", prefix, i) }
