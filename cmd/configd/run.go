package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/config-api/config-api/services/command"
	"github.com/config-api/config-api/services/projector"
	"github.com/config-api/config-api/services/query"
	"github.com/config-api/config-api/shared/localpg"
	"github.com/config-api/config-api/shared/service"
)

const (
	database = "config_api_eventstore"
	// postgresStopTimeout is for the flush of what is not on disk yet.
	postgresStopTimeout = 15 * time.Second
	// watchers is the most open watches; all come from this machine.
	watchers = 10_000
)

// run starts everything, first what the rest depends on, and stops it in the
// reverse order: HTTP, the services, NATS, Postgres.
func run(ctx context.Context, args, environ []string, out io.Writer) error {
	var o options
	parser := service.NewOptions("configd", "all of Config API in one process")
	o.bind(parser)
	if err := parser.Parse(args, environ, out); err != nil {
		return err
	}
	err := start(ctx, o, o.log.New(out, "configd"), out)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // Ctrl-C while it started
	}
	return err
}

// part is something that works in the background until its context ends.
type part struct {
	name string
	work func(context.Context) error
}

func start(ctx context.Context, o options, logger *slog.Logger, out io.Writer) (err error) {
	began := time.Now()
	release, err := claimDataDir(o.dataDir)
	if err != nil {
		return err
	}
	defer release()
	listener, err := service.Listen(ctx, o.listen)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // for when it does not come to serving
	admin, err := o.admin.Open(ctx)
	if err != nil {
		return err
	}
	defer admin.Close()

	var parts []part
	db := service.DatabaseOptions{URL: o.databaseURL}
	if db.URL == "" {
		postgres, err := startPostgres(ctx, o.dataDir, logger)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stopPostgres(ctx, postgres)) }()
		parts = append(parts, part{"postgres (see " + postgres.LogFile() + ")", watch(postgres)})
		db.URL = postgres.URL(database)
	}
	nats := service.NATSOptions{URL: o.natsURL}
	if nats.URL == "" {
		embedded, err := startNATS(o.dataDir, o.natsListen, logger)
		if err != nil {
			return err
		}
		defer embedded.stop()
		nats = service.NATSOptions{URL: embedded.ClientURL(), User: natsUser, Password: embedded.password, InProcess: embedded}
	}
	all, running, err := newServices(ctx, o, db, nats, out)
	if err != nil {
		return err
	}
	admin.Serve(ctx, logger, o.log.Var, all.metrics)
	ready := func() { greet(out, o, listener.Addr(), nats.URL, time.Since(began)) }
	return serve(ctx, listener, all, append(parts, running...), ready, logger)
}

// newServices builds the three services as their own programs do.
func newServices(ctx context.Context, o options, db service.DatabaseOptions, nats service.NATSOptions, out io.Writer) (services, []part, error) {
	writes, err := command.New(ctx, command.Options{Database: db, NATS: nats, Tracing: o.tracing, Replicas: 1}, o.log.New(out, "command"))
	if err != nil {
		return services{}, nil, err
	}
	projects, err := projector.New(ctx, projector.Options{Database: db, NATS: nats, Tracing: o.tracing, LogValues: o.logValues}, o.log.New(out, "projector"))
	if err != nil {
		return services{}, nil, err
	}
	reads, err := query.New(ctx, query.Options{
		Database: db, NATS: nats, Tracing: o.tracing, Watchers: watchers, WatchersPerClient: watchers,
	}, o.log.New(out, "query"))
	if err != nil {
		return services{}, nil, err
	}
	context.AfterFunc(ctx, reads.StopWatches) // else HTTP would wait for them to end
	figures := []*service.Metrics{writes.Metrics(), projects.Metrics(), reads.Metrics()}
	return services{
			command: writes.Handler(), projector: projects.Handler(), query: reads.Handler(),
			metrics: service.ServeMetrics(figures...), stats: service.ServeStats(figures...),
		},
		[]part{{"command", writes.Run}, {"projector", projects.Run}, {"query", reads.Run}}, nil
}

// serve answers HTTP until ctx ends or a part does, and lets the parts work until
// the last request is answered. It returns when all have stopped.
func serve(ctx context.Context, listener net.Listener, all services, parts []part, ready func(), logger *slog.Logger) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, working := errgroup.WithContext(background)
	for _, p := range parts {
		group.Go(func() error {
			err := p.work(working)
			if working.Err() == nil {
				return fmt.Errorf("%s: %w", p.name, errors.Join(service.ErrStopped, err))
			}
			return nil // it was asked to stop
		})
	}
	group.Go(func() error {
		if all.awaitReady(working) == nil {
			ready()
		}
		return nil
	})
	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	context.AfterFunc(working, stopServing)
	err := service.Serve(serving, listener, all, logger)
	stop()
	return errors.Join(err, group.Wait())
}

func startPostgres(ctx context.Context, dataDir string, logger *slog.Logger) (*localpg.Server, error) {
	postgres, err := localpg.Start(ctx, localpg.Options{
		Dir: filepath.Join(dataDir, "postgres"), Durable: true, Logger: logger,
	})
	var notFound *localpg.NotFoundError
	if errors.As(err, &notFound) {
		return nil, fmt.Errorf("%w (or use a server that exists with --database-url)", err)
	}
	if err != nil {
		return nil, err
	}
	if err := postgres.EnsureDatabase(ctx, database); err != nil {
		return nil, errors.Join(err, stopPostgres(ctx, postgres))
	}
	return postgres, nil
}

func stopPostgres(ctx context.Context, postgres *localpg.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), postgresStopTimeout)
	defer cancel()
	return postgres.Stop(ctx)
}

// watch is the work of Postgres as seen from here: to be there.
func watch(postgres *localpg.Server) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-postgres.Done():
		case <-ctx.Done():
		}
		return nil
	}
}
