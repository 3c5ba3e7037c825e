package service

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
)

// AdminOptions say where the operator of a process reaches what nobody else
// should: profiles, the level of the log, and the metrics too.
type AdminOptions struct{ Listen string }

// Bind adds --admin-listen.
func (a *AdminOptions) Bind(o *Options) {
	o.String(&a.Listen, "admin-listen", "", "address of /debug/pprof/, /log/level and /metrics, like :6060, which is that of 127.0.0.1 only; none if empty")
}

// Admin is that address, once it is taken; without one it does nothing.
type Admin struct {
	listener net.Listener
	cancel   context.CancelFunc
	served   chan struct{}
}

// Open takes the address. Close it when all else has stopped, so that what does
// not stop can be looked at.
func (a AdminOptions) Open(ctx context.Context) (*Admin, error) {
	address := a.Listen
	switch {
	case address == "":
		return &Admin{}, nil
	case strings.HasPrefix(address, ":"):
		address = "127.0.0.1" + address
	}
	listener, err := listen(ctx, address, "--admin-listen")
	return &Admin{listener: listener}, err
}

// Serve answers in the background until Close.
func (a *Admin) Serve(ctx context.Context, logger *slog.Logger, level *slog.LevelVar, metrics http.Handler) {
	if a.listener == nil {
		return
	}
	logger.Info("admin listens", "listen", a.listener.Addr().String())
	ctx, a.cancel = context.WithCancel(context.WithoutCancel(ctx))
	a.served = make(chan struct{})
	go func() {
		defer close(a.served)
		if err := Serve(ctx, a.listener, adminHandler(logger, level, metrics), logger); err != nil {
			logger.Error("admin stopped", "error", err)
		}
	}()
}

// Close gives the address back.
func (a *Admin) Close() {
	if a.cancel != nil {
		a.cancel()
		<-a.served
	}
	if a.listener != nil {
		_ = a.listener.Close() // it is closed already if it has served
	}
}

func adminHandler(logger *slog.Logger, level *slog.LevelVar, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index) // which also has heap, goroutine and the like
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.Handle("GET "+metricsRoute, metrics)
	mux.HandleFunc("GET /log/level", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, strings.ToLower(level.Level().String()))
	})
	mux.HandleFunc("PUT /log/level", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 100))
		var wanted slog.Level
		if err == nil {
			err = wanted.UnmarshalText([]byte(strings.TrimSpace(string(text))))
		}
		if err != nil {
			http.Error(w, "the body is the level: debug, info, warn or error", http.StatusBadRequest)
			return
		}
		logger.Warn("log level changed", "from", level.Level(), "to", wanted)
		level.Set(wanted)
		fmt.Fprintln(w, strings.ToLower(wanted.String()))
	})
	return mux
}
