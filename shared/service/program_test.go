package service_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/testkit"
	"github.com/config-api/config-api/shared/tracing"
)

// demo is a service that answers one route until it is told to end.
type demo struct {
	end     chan error
	entered chan struct{} // by a request to /slow
	stopped atomic.Bool   // when Run has returned
	late    atomic.Bool   // a request found it stopped
}

func (d *demo) Run(ctx context.Context) error {
	defer d.stopped.Store(true)
	select {
	case err := <-d.end:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *demo) Handler() http.Handler {
	e := service.NewEcho(discard, service.NewMetrics("demo"), &tracing.Tracer{})
	service.Health(e)
	mux := http.NewServeMux()
	mux.Handle("/", e)
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		d.entered <- struct{}{}
		<-d.entered
		d.late.Store(d.stopped.Load())
		_, _ = io.WriteString(w, "whole")
	})
	return mux
}

func (d *demo) program() service.Program {
	return service.Program{
		Name: "demo", About: "a service for tests", Listen: "127.0.0.1:0",
		Bind: func(o *service.Options) {
			o.String(new(string), "password", "", "a secret", service.Secret, service.Required)
		},
		New: func(context.Context, *slog.Logger) (service.Runner, error) { return d, nil },
	}
}

// started runs the program and returns its address once it has logged it.
func started(ctx context.Context, t *testing.T, d *demo) (address string, ended chan error, log *journal) {
	t.Helper()
	log, ended = new(journal), make(chan error, 1)
	go func() { ended <- d.program().Run(ctx, []string{"--password=x"}, nil, log) }()
	testkit.Eventually(t, func() error {
		lines := log.lines(t, "started")
		if len(lines) == 0 {
			return errors.New("it did not start")
		}
		address, _ = lines[0]["listen"].(string)
		return nil
	})
	return address, ended, log
}

func TestProgram(t *testing.T) {
	t.Parallel()
	d := &demo{entered: make(chan struct{})}
	ctx, stop := context.WithCancel(t.Context())
	address, ended, log := started(ctx, t, d)

	t.Log("another process of the same program asks how it is; it has no secrets")
	if err := d.program().Run(t.Context(), []string{"healthcheck"}, []string{"LISTEN=" + address}, io.Discard); err != nil {
		t.Errorf("healthcheck: %v", err)
	}
	t.Log("its address is taken")
	if err := d.program().Run(t.Context(), []string{"--password=x", "--listen", address}, nil, io.Discard); err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("error %v", err)
	}
	t.Log("it is told to stop while it answers")
	answer := make(chan string, 1)
	go func() {
		response, err := http.Get("http://" + address + "/slow")
		if err != nil {
			answer <- err.Error()
			return
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		answer <- string(body)
	}()
	<-d.entered
	stop()
	d.entered <- struct{}{}
	if got := <-answer; got != "whole" {
		t.Errorf("got %q", got)
	}
	if err := <-ended; err != nil || !d.stopped.Load() || d.late.Load() {
		t.Errorf("it ended with %v, stopped: %v, before its last request: %v", err, d.stopped.Load(), d.late.Load())
	}
	if len(log.lines(t, "stopped")) != 1 {
		t.Error("the log does not say that it stopped")
	}
	if err := d.program().Run(t.Context(), []string{"healthcheck"}, []string{"LISTEN=" + address}, io.Discard); err == nil {
		t.Error("healthcheck passes though nothing runs")
	}
}

func TestProgramWhoseServiceEnds(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{errors.New("it broke"), nil} {
		d := &demo{end: make(chan error, 1)}
		_, ended, _ := started(t.Context(), t, d)
		d.end <- cause
		want := cause
		if want == nil {
			want = service.ErrStopped
		}
		if err := <-ended; !errors.Is(err, want) || !strings.HasPrefix(err.Error(), "demo: ") {
			t.Errorf("error %v, want %v of the demo", err, want)
		}
	}
}

func TestProgramThatCannotStart(t *testing.T) {
	t.Parallel()
	program := new(demo).program()
	refused := errors.New("no database")
	program.New = func(context.Context, *slog.Logger) (service.Runner, error) { return nil, refused }
	if err := program.Run(t.Context(), []string{"--password=x"}, nil, io.Discard); !errors.Is(err, refused) {
		t.Errorf("error %v, want %v", err, refused)
	}
	for args, want := range map[string]string{
		"":                           "--password (PASSWORD): is required",
		"--help":                     service.ErrHelp.Error(),
		"healthcheck --password=x":   `unexpected argument "healthcheck"`,
		"--password=x --listen=oops": "can't listen on oops",
	} {
		if err := program.Run(t.Context(), strings.Fields(args), nil, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", args, err, want)
		}
	}
	if err := program.Run(t.Context(), []string{"healthcheck"}, []string{"LOG_LEVEL=loud"}, io.Discard); err == nil || !strings.Contains(err.Error(), "LOG_LEVEL") {
		t.Errorf("healthcheck with options that are wrong: error %v", err)
	}
}
