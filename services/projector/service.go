// Package projector is the service that turns the feed into the read tables.
package projector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/tracing"
)

// Options of the projector.
type Options struct {
	Database service.DatabaseOptions
	NATS     service.NATSOptions
	Tracing  tracing.Options
	// LogValues says whether the change log shows values.
	LogValues bool
}

// Bind adds the service's options.
func (o *Options) Bind(b *service.Options) {
	o.Database.Bind(b, true)
	o.NATS.Bind(b)
	service.BindTracing(&o.Tracing, b)
	b.Bool(&o.LogValues, "log-values", true, "show old and new values in the change log")
}

// Service is the projector.
type Service struct {
	logger    *slog.Logger
	pool      *pgxpool.Pool
	nc        *nats.Conn
	js        jetstream.JetStream
	store     *readmodel.Store
	projector *projector
	changelog *changelog
	rebuilder *rebuilder
	metrics   *service.Metrics
	tracer    *tracing.Tracer
	handler   http.Handler
}

// New connects, migrates the schema readmodel and returns the service; Run
// makes it work. It waits for a database that is not up yet, but not for NATS.
func New(ctx context.Context, o Options, logger *slog.Logger) (*Service, error) {
	s := &Service{logger: logger}
	var err error
	if s.tracer, err = tracing.Open(ctx, o.Tracing, "projector", service.Version(), logger); err != nil {
		return nil, err
	}
	if s.pool, err = o.Database.OpenMigrated(ctx, "config-api projector", readmodel.Schema, logger); err != nil {
		return nil, err
	}
	if s.nc, err = feed.Connect(o.NATS.Feed("config-api projector", logger)); err != nil {
		s.pool.Close()
		return nil, err
	}
	if s.js, err = jetstream.New(s.nc); err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	s.store = readmodel.New(s.pool)
	s.projector = &projector{store: s.store, js: s.js, nc: s.nc, logger: logger, tracer: s.tracer, flips: make(chan struct{}, 1)}
	s.changelog = &changelog{store: s.store, js: s.js, logger: logger, values: o.LogValues}
	s.rebuilder = newRebuilder(s.store, s.js, s.nc, logger, s.projector.flip)
	s.measure()
	s.handler = s.routes()
	return s, nil
}

// Run projects until ctx ends, and returns when all has stopped. Of several
// projectors one works; the others stand by.
func (s *Service) Run(ctx context.Context) error {
	var working sync.WaitGroup
	for _, w := range []worker{
		{lock: projectorLock, run: s.projector.run, standBy: s.projector.standBy, again: s.projector.flips},
		{lock: changelogLock, run: s.changelog.run, standBy: standBy},
		{lock: rebuildLock, run: s.rebuilder.run, standBy: standBy},
	} {
		working.Go(func() { lead(ctx, s.pool, s.logger, w) })
	}
	working.Wait()
	s.tracer.Close(ctx)
	s.nc.Close()
	s.pool.Close()
	return nil
}

// Handler answers the service's routes.
func (s *Service) Handler() http.Handler { return s.handler }

func (s *Service) routes() http.Handler {
	e := service.NewEcho(s.logger, s.metrics, s.tracer)
	e.GET("/v2/projections", s.getProjections)
	e.POST("/v2/projections/:name/rebuild", s.postRebuild)
	e.GET("/v2/projections/:name/rebuild", s.getRebuild)
	e.DELETE("/v2/projections/:name/rebuild", s.deleteRebuild)
	e.POST("/v2/projections/:name/parked/retry", s.postRetry)
	service.Health(e,
		service.Check{Name: "readmodel", Run: func(ctx context.Context) error {
			if _, err := s.store.Checkpoint(ctx); err != nil {
				s.logger.Debug("health", "error", err)
				return errors.New("the read tables can't be read")
			}
			return nil
		}},
		service.Check{Name: "projection", Run: func(context.Context) error {
			if halted := s.projector.Status().Halted; halted != "" {
				return errors.New(halted)
			}
			return nil
		}})
	return e
}

// Run is the process of the service.
func Run(ctx context.Context, args, environ []string, out io.Writer) error {
	var o Options
	return service.Program{
		Name: "projector", About: "the service of Config API that keeps the read tables", Listen: ":4003", Bind: o.Bind,
		New: func(ctx context.Context, logger *slog.Logger) (service.Runner, error) { return New(ctx, o, logger) },
	}.Run(ctx, args, environ, out)
}
