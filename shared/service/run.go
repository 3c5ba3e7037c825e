package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
)

// shutdownTimeout bounds how long requests in flight may take to finish once
// the process is asked to stop.
const shutdownTimeout = 15 * time.Second

// Main runs a process: its context ends at SIGINT or SIGTERM, a second signal
// ends it at once. It exits with 0, or prints the error and exits with 1.
func Main(run func(ctx context.Context, args, environ []string, out io.Writer) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // from here on a signal has its default effect
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdout)
	stop()
	if err != nil && !errors.Is(err, ErrHelp) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Version is the version control revision that the program was built from.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return setting.Value
		}
	}
	return info.Main.Version
}

// Serve answers HTTP on the listener until ctx ends, then finishes what is in
// flight. Its timeouts cut off slow clients; a handler that streams lifts the
// write deadline of its own response.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, logger *slog.Logger) error {
	// Requests outlive ctx: they end by themselves, or by the shutdown.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("http: %w", err)
	case <-ctx.Done():
	}
	timeout, cancelTimeout := context.WithTimeout(base, shutdownTimeout)
	defer cancelTimeout()
	if err := server.Shutdown(timeout); err != nil {
		logger.Warn("requests in flight were cut off", "error", err)
		return server.Close()
	}
	return nil
}

// Listen opens the TCP address of a service, with an error that says what to do.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	return listen(ctx, address, "--listen")
}

func listen(ctx context.Context, address, option string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is in use by another program: stop it, or choose another address with %s", address, option)
	}
	if err != nil {
		return nil, fmt.Errorf("can't listen on %s: %w", address, err)
	}
	return listener, nil
}

// Retry calls f until it succeeds, returns an error that retry does not want
// tried again, or ctx ends. It waits between the tries, from 100 ms to 2 s.
func Retry(ctx context.Context, logger *slog.Logger, what string, retry func(error) bool, f func(context.Context) error) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := f(ctx)
		if err == nil || !retry(err) {
			return err
		}
		logger.Warn("waiting", "for", what, "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}
