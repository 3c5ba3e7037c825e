// Package command is the service that writes: it validates changes, appends
// them to the log in Postgres and relays the log to the feed.
package command

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/labstack/echo/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/mod/sumdb/note"

	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/tracing"
)

// Options of the command service.
type Options struct {
	Database service.DatabaseOptions
	NATS     service.NATSOptions
	Tracing  tracing.Options
	Replicas int
	// SigningKey is an Ed25519 key in the form of note.GenerateKey; with it
	// the log's head is signed.
	SigningKey string
}

// Bind adds the service's options.
func (o *Options) Bind(b *service.Options) {
	o.Database.Bind(b, true)
	o.NATS.Bind(b)
	service.BindTracing(&o.Tracing, b)
	b.Int(&o.Replicas, "nats-replicas", 1, 1, 5, "replicas of the stream, in a NATS cluster")
	b.String(&o.SigningKey, "signing-key", "", "key that signs the log's head (PRIVATE+KEY+…), none if empty", service.Secret)
}

// Service is the command service.
type Service struct {
	logger     *slog.Logger
	pool       *pgxpool.Pool
	nc         *nats.Conn
	js         jetstream.JetStream
	log        *eventlog.Log
	relay      *relay
	visibility *visibility
	schemas    *schemas
	signer     note.Signer
	metrics    *service.Metrics
	tracer     *tracing.Tracer
	handler    http.Handler
}

// New connects, migrates the schema eventstore and returns the service; Run
// makes it work. It waits for a database that is not up yet, but not for NATS.
func New(ctx context.Context, o Options, logger *slog.Logger) (*Service, error) {
	s := &Service{logger: logger, visibility: newVisibility(), schemas: newSchemas()}
	if o.SigningKey != "" {
		var err error
		if s.signer, err = note.NewSigner(o.SigningKey); err != nil {
			return nil, fmt.Errorf("signing key: %w", err)
		}
	}
	var err error
	if s.tracer, err = tracing.Open(ctx, o.Tracing, "command", service.Version(), logger); err != nil {
		return nil, err
	}
	if s.pool, err = o.Database.OpenMigrated(ctx, "config-api command", eventlog.Schema, logger); err != nil {
		return nil, err
	}
	if s.nc, err = feed.Connect(o.NATS.Feed("config-api command", logger)); err != nil {
		s.pool.Close()
		return nil, err
	}
	s.js, err = jetstream.New(s.nc, jetstream.WithDefaultTimeout(streamTimeout))
	if err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	s.log = eventlog.Open(s.pool, eventlog.Options{Logger: logger, Check: s.schemas.check})
	s.relay = &relay{
		log: s.log, pool: s.pool, js: s.js, replicas: o.Replicas, logger: logger, tracer: s.tracer,
		pause: relayPause, haltedPause: haltedPause, again: make(chan struct{}, 1),
	}
	if err := s.listen(); err != nil {
		return nil, err
	}
	s.measure()
	s.handler = s.routes()
	return s, nil
}

// listen hears how far the readers are, and answers where the log ends.
func (s *Service) listen() error {
	if err := feed.Listen(s.nc, feed.AppliedSubject, s.visibility.projected); err != nil {
		return err
	}
	if err := feed.Listen(s.nc, feed.ServedSubject, s.visibility.remembered); err != nil {
		return err
	}
	return feed.ServeHead(s.nc, s.head)
}

// headTimeout bounds the answer to another service.
const headTimeout = time.Second

func (s *Service) head() feed.Head {
	ctx, cancel := context.WithTimeout(context.Background(), headTimeout)
	defer cancel()
	head, err := s.log.Head(ctx)
	if err != nil {
		s.logger.Warn("the log's head can't be told", "error", err)
		return feed.Head{Error: "the event store is not available"}
	}
	answer := feed.Head{Epoch: head.Epoch, Position: head.Position, RecordedAt: head.RecordedAt}
	if status := s.relay.Status(); status.Halted != "" {
		answer.Error = "the relay has halted: " + status.Halted
	}
	return answer
}

// Run relays until ctx ends, and returns when the service has stopped. No
// request may be in flight by then.
func (s *Service) Run(ctx context.Context) error {
	var relaying sync.WaitGroup
	relaying.Go(func() { s.relay.run(ctx) })
	<-ctx.Done()
	relaying.Wait()
	s.log.Close()
	s.tracer.Close(ctx)
	s.nc.Close()
	s.pool.Close()
	return nil
}

// Handler answers the service's routes.
func (s *Service) Handler() http.Handler { return s.handler }

func (s *Service) routes() http.Handler {
	e := service.NewEcho(s.logger, s.metrics, s.tracer, "/v2/log/import")
	service.V1(e, func(g *echo.Group) {
		g.PUT("/config/:name", s.putV1)
		g.DELETE("/config/:name", s.deleteV1)
	})
	namespace := e.Group("/v2/namespaces/:namespace")
	namespace.PUT("/configs/:name", s.put)
	namespace.DELETE("/configs/:name", s.delete)
	namespace.POST("/changes", s.postChanges)
	namespace.POST("/revert", s.postRevert)
	namespace.POST("/copy", s.postCopy)
	namespace.PUT("/schemas/:pattern", s.putSchema)
	namespace.DELETE("/schemas/:pattern", s.deleteSchema)
	e.GET("/v2/log/head", s.getHead)
	e.GET("/v2/log/events", s.getEvents)
	e.GET("/v2/log/verify", s.getVerify)
	e.GET("/v2/log/feed", s.getFeed)
	e.GET("/v2/log/export", s.getExport)
	e.POST("/v2/log/import", s.postImport)
	e.POST("/v2/log/recover", s.postRecover)
	service.Health(e, service.Check{Name: "eventstore", Run: func(ctx context.Context) error {
		if _, err := s.log.Head(ctx); err != nil {
			s.logger.Debug("health", "error", err)
			return pg.ErrUnavailable
		}
		return nil
	}})
	return e
}

// Run is the process of the service.
func Run(ctx context.Context, args, environ []string, out io.Writer) error {
	var o Options
	return service.Program{
		Name: "command", About: "the service of Config API that writes", Listen: ":4001", Bind: o.Bind,
		New: func(ctx context.Context, logger *slog.Logger) (service.Runner, error) { return New(ctx, o, logger) },
	}.Run(ctx, args, environ, out)
}
