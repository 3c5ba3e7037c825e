package service

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
)

// Runner is a service: command, query or projector.
type Runner interface {
	// Handler answers its routes.
	Handler() http.Handler
	// Run works until ctx ends, and returns when all has stopped. By then no
	// request may be in flight.
	Run(ctx context.Context) error
}

// Program is a service as a process of its own.
type Program struct {
	Name   string
	About  string // a sentence, for --help
	Listen string // the default address
	Bind   func(*Options)
	New    func(context.Context, *slog.Logger) (Runner, error)
}

// Run parses the options, starts the service and serves it until ctx ends.
// With the argument "healthcheck" it instead asks the running service whether
// it is ready.
func (p Program) Run(ctx context.Context, args, environ []string, out io.Writer) error {
	var listen string
	var log LogOptions
	var adminOptions AdminOptions
	options := NewOptions(p.Name, p.About)
	options.String(&listen, "listen", p.Listen, "address to answer HTTP on")
	log.Bind(options, "json")
	if len(args) == 1 && args[0] == "healthcheck" {
		// The other options may be secrets that this process was not given.
		if err := options.Parse(nil, environ, out); err != nil {
			return err
		}
		return Healthcheck(ctx, listen)
	}
	p.Bind(options)
	adminOptions.Bind(options)
	if err := options.Parse(args, environ, out); err != nil {
		return err
	}
	logger := log.New(out, p.Name)
	listener, err := Listen(ctx, listen)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // for when it does not come to serving
	admin, err := adminOptions.Open(ctx)
	if err != nil {
		return err
	}
	defer admin.Close()
	runner, err := p.New(ctx, logger)
	if err != nil {
		return err
	}
	admin.Serve(ctx, logger, log.Var, runner.Handler())
	logger.Info("started", "listen", listener.Addr().String(), "version", Version())
	// HTTP stops first, so that what is in flight still has its service.
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	worked := make(chan error, 1)
	go func() { worked <- runner.Run(working) }()
	serving, stopServing := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- Serve(serving, listener, runner.Handler(), logger) }()
	select {
	case err = <-worked:
		stopServing()
		err = errors.Join(stopped(p.Name, err), <-served)
		stop()
		return err
	case err = <-served:
		stopServing()
		stop()
		if ended := <-worked; !errors.Is(ended, context.Canceled) { // that it was asked to
			err = errors.Join(err, ended)
		}
	}
	logger.Info("stopped")
	return err
}
