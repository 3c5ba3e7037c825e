// Package query is the service that reads: current values from memory, the past
// from the read tables.
package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/labstack/echo/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/tracing"
)

const (
	// servedEvery is how often the service says that it is there.
	servedEvery = time.Second
	// tablesPoll is how often the read tables are looked at while they are
	// behind what a read waits for.
	tablesPoll = 20 * time.Millisecond
	// behindFor is how long the projector may be behind before the system
	// counts as unhealthy.
	behindFor = 10 * time.Second
)

// Options of the query service.
type Options struct {
	Database service.DatabaseOptions
	NATS     service.NATSOptions
	Tracing  tracing.Options
	// Watchers is the most open watches, and WatchersPerClient the most of
	// one address; zero means the defaults.
	Watchers, WatchersPerClient int
}

// Bind adds the service's options.
func (o *Options) Bind(b *service.Options) {
	o.Database.Bind(b, false)
	o.NATS.Bind(b)
	service.BindTracing(&o.Tracing, b)
	b.Int(&o.Watchers, "max-watchers", defaultWatchers, 1, 1_000_000, "most open watches")
	b.Int(&o.WatchersPerClient, "max-watchers-per-client", defaultWatchersPerClient, 1, 1_000_000, "most open watches of one address")
}

// Service is the query service.
type Service struct {
	logger   *slog.Logger
	options  Options
	instance string
	pool     *pgxpool.Pool
	nc       *nats.Conn
	store    *readmodel.Store
	view     *view
	live     *live
	watchers *watchers
	metrics  *service.Metrics
	tracer   *tracing.Tracer
	handler  http.Handler

	announcing sync.Mutex
	announced  atomic.Pointer[config.Token] // by the projector, last
	behind     atomic.Pointer[time.Time]    // since when it is behind the memory, if it is
	unfed      atomic.Pointer[time.Time]    // since when the memory is behind the log, if it is
}

// New connects and returns the service; Run makes it work. It waits neither for
// the database nor for NATS.
func New(ctx context.Context, o Options, logger *slog.Logger) (*Service, error) {
	s := &Service{logger: logger, options: o, instance: uuid.NewString(), live: newLive(), watchers: newWatchers(o)}
	var err error
	if s.tracer, err = tracing.Open(ctx, o.Tracing, "query", service.Version(), logger); err != nil {
		return nil, err
	}
	if s.pool, err = o.Database.Open(ctx, "config-api query"); err != nil {
		return nil, err
	}
	if s.nc, err = feed.Connect(o.NATS.Feed("config-api query", logger)); err != nil {
		s.pool.Close()
		return nil, err
	}
	js, err := jetstream.New(s.nc)
	if err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	s.store = readmodel.New(s.pool)
	s.view = &view{store: s.store, js: js, logger: logger, changed: s.changed, remade: make(chan struct{}, 1), loaded: make(chan struct{})}
	err = feed.Listen(s.nc, feed.AppliedSubject, func(a feed.Applied) {
		s.announced.Store(&config.Token{Epoch: a.Epoch, Position: a.Position})
		s.announce(false)
		s.view.heard(a.Generation, a.Revision)
	})
	if err != nil {
		return nil, err
	}
	s.measure()
	s.handler = s.routes()
	return s, nil
}

// changed is called with each new state.
func (s *Service) changed(now *state, events []config.Event) {
	s.live.publish(now, events)
	s.announce(false)
}

// announce says how far the service is, one after the other: it does not go back.
func (s *Service) announce(leaving bool) {
	s.announcing.Lock()
	defer s.announcing.Unlock()
	now := s.view.current.Load()
	if now == nil {
		return
	}
	said := feed.Served{Instance: s.instance, Epoch: now.epoch, Position: now.position, Leaving: leaving}
	if applied := s.announced.Load(); applied != nil && applied.Epoch == now.epoch {
		said.Applied = applied.Position
	}
	// Lost when NATS is down; the next one comes within a second.
	_ = feed.Announce(s.nc, feed.ServedSubject, said)
}

// Run keeps the view fresh until ctx ends, and returns when all has stopped. It
// ends with a [*pg.NewerError] when it finds tables that a newer program has made.
func (s *Service) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var working sync.WaitGroup
	var refused error
	working.Go(func() {
		refused = s.view.run(ctx)
		stop()
	})
	heartbeat := time.NewTicker(servedEvery)
	defer heartbeat.Stop()
	for ctx.Err() == nil {
		select {
		case <-heartbeat.C:
			s.announce(false)
		case <-ctx.Done():
		}
	}
	working.Wait()
	s.announce(true)
	_ = s.nc.FlushTimeout(time.Second)
	s.tracer.Close(ctx)
	s.nc.Close()
	s.pool.Close()
	return refused
}

// StopWatches ends all open watches, so that a shutdown need not wait for them.
func (s *Service) StopWatches() { s.watchers.stop() }

// Handler answers the service's routes.
func (s *Service) Handler() http.Handler { return s.handler }

func (s *Service) routes() http.Handler {
	e := service.NewEcho(s.logger, s.metrics, s.tracer)
	service.V1(e, func(g *echo.Group) {
		g.GET("/health", s.healthV1)
		g.GET("/config", s.listV1)
		g.GET("/config/:name", s.getV1)
		g.GET("/config/:name/history", s.historyV1)
		g.GET("/config/:name/at/:timestamp", s.atV1)
	})
	s.routesV2(e)
	service.Health(e, service.Check{Name: "view", Run: func(context.Context) error {
		_, err := s.view.now()
		if problem := s.view.problem.Load(); err == nil && problem != nil {
			s.logger.Debug("health", "error", *problem)
			err = errors.New("the view is not kept fresh")
		}
		return err
	}})
	return e
}

// readTables calls read until what it saw has reached the wanted position, and
// returns the position that it saw. When ctx ends before, it is the last one.
func (s *Service) readTables(ctx context.Context, wanted config.Token, read func(context.Context) (readmodel.Checkpoint, error)) (config.Token, error) {
	for {
		checkpoint, err := read(ctx)
		seen := checkpoint.Token()
		if err != nil || seen.Position >= wanted.Position || wanted.OfOtherLog(seen) {
			return seen, err
		}
		select {
		case <-time.After(tablesPoll):
		case <-ctx.Done():
			return seen, nil
		}
	}
}

// checks are those of /v1/health.
func (s *Service) checks() []service.Check {
	return []service.Check{
		{Name: "eventstore", Run: s.checkLog},
		{Name: "projection", Run: s.checkProjection},
		{Name: "database", Run: func(ctx context.Context) error {
			if err := s.pool.Ping(ctx); err != nil {
				s.logger.Debug("health", "error", err)
				return pg.ErrUnavailable
			}
			return nil
		}},
	}
}

// checkLog fails when no command service answers, when the relay has halted, and
// when what is in the log has not come here for too long.
func (s *Service) checkLog(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	head, err := feed.RequestHead(ctx, s.nc)
	if err != nil {
		return err
	}
	now, err := s.view.wait(ctx, head.Position)
	if err != nil || now.epoch != head.Epoch {
		return nil // that it has none, or one of another log, is said elsewhere
	}
	if since, late := lateSince(&s.unfed, now.position < head.Position); late {
		return fmt.Errorf("what was written is not relayed: the feed is %d events behind since %s", head.Position-now.position, since)
	}
	return nil
}

// lateSince notes since when something is behind, and says whether that is too
// long ago.
func lateSince(since *atomic.Pointer[time.Time], behind bool) (string, bool) {
	if !behind {
		since.Store(nil)
		return "", false
	}
	began := time.Now()
	if !since.CompareAndSwap(nil, &began) {
		if noted := since.Load(); noted != nil {
			began = *noted
		}
	}
	return began.UTC().Format(time.RFC3339), time.Since(began) >= behindFor
}

// checkProjection fails when the read tables have been behind the feed for too
// long.
func (s *Service) checkProjection(ctx context.Context) error {
	now, err := s.view.now()
	if err != nil {
		return err
	}
	checkpoint, err := s.store.Checkpoint(ctx)
	if err != nil {
		s.logger.Debug("health", "error", err)
		return errors.New("the read tables can't be read")
	}
	if since, late := lateSince(&s.behind, checkpoint.Position < now.position); late {
		return fmt.Errorf("the projector is %d events behind since %s", now.position-checkpoint.Position, since)
	}
	return nil
}

// Run is the process of the service.
func Run(ctx context.Context, args, environ []string, out io.Writer) error {
	var o Options
	return service.Program{
		Name: "query", About: "the service of Config API that reads", Listen: ":4002", Bind: o.Bind,
		New: func(ctx context.Context, logger *slog.Logger) (service.Runner, error) {
			s, err := New(ctx, o, logger)
			if err != nil {
				return nil, err
			}
			context.AfterFunc(ctx, s.StopWatches)
			return s, nil
		},
	}.Run(ctx, args, environ, out)
}
