package service_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/testkit"
)

func TestAdmin(t *testing.T) {
	t.Parallel()
	log := new(journal)
	options := service.LogOptions{Format: "json", Level: "info", Var: new(slog.LevelVar)}
	logger := options.New(log, "demo")
	second := options.New(log, "other")
	// Without a host it is this machine's only.
	admin, err := service.AdminOptions{Listen: ":0"}.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			admin.Close()
		}
	}()
	admin.Serve(t.Context(), logger, options.Var, service.ServeMetrics(service.NewMetrics("demo")))
	address, _ := log.lines(t, "admin listens")[0]["listen"].(string)
	if host, _, err := net.SplitHostPort(address); err != nil || host != "127.0.0.1" {
		t.Errorf("it listens on %s", address)
	}
	ask := func(method, path, body string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	for path, part := range map[string]string{
		"/metrics": "config_api_build_info{", "/debug/pprof/": "goroutine", "/debug/pprof/goroutine?debug=1": "goroutine profile:",
		"/debug/pprof/cmdline": "service.test", "/debug/pprof/symbol": "num_symbols", "/log/level": "info\n",
	} {
		if status, text := ask("GET", path, ""); status != 200 || !strings.Contains(text, part) {
			t.Errorf("%s: answered %d %.200s, want %q", path, status, text, part)
		}
	}
	second.Debug("unseen")
	if status, text := ask("PUT", "/log/level", "debug\n"); status != 200 || text != "debug\n" {
		t.Errorf("answered %d %s", status, text)
	}
	second.Debug("seen")
	if status, _ := ask("PUT", "/log/level", "ERROR"); status != 200 {
		t.Errorf("answered %d", status)
	}
	logger.Info("unseen")
	for _, body := range []string{"", "loud", strings.Repeat("x", 1000)} {
		if status, text := ask("PUT", "/log/level", body); status != 400 || !strings.Contains(text, "debug, info, warn or error") {
			t.Errorf("%.10s: answered %d %s", body, status, text)
		}
	}
	if _, text := ask("GET", "/log/level", ""); text != "error\n" {
		t.Errorf("the level is %s", text)
	}
	if len(log.lines(t, "seen")) != 1 || len(log.lines(t, "unseen")) != 0 || len(log.lines(t, "log level changed")) != 2 {
		t.Errorf("the log has %s", log.text.String())
	}
	if _, err := (service.AdminOptions{Listen: address}).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "with --admin-listen") {
		t.Errorf("error %v", err)
	}
	admin.Close()
	closed = true
	if response, err := http.Get("http://" + address + "/log/level"); err == nil {
		response.Body.Close()
		t.Error("it still answers")
	}
	none, err := service.AdminOptions{}.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	none.Serve(t.Context(), logger, options.Var, nil)
	none.Close()
}

func TestProgramWithAdmin(t *testing.T) {
	t.Parallel()
	d := &demo{end: make(chan error, 1)}
	ctx, stop := context.WithCancel(t.Context())
	log, ended := new(journal), make(chan error, 1)
	go func() {
		ended <- d.program().Run(ctx, []string{"--password=x", "--admin-listen=127.0.0.1:0"}, nil, log)
	}()
	testkit.Eventually(t, func() error {
		lines := log.lines(t, "admin listens")
		if len(lines) == 0 {
			return errors.New("it does not listen yet")
		}
		response, err := http.Get("http://" + lines[0]["listen"].(string) + "/metrics")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if text, err := io.ReadAll(response.Body); err != nil || !strings.Contains(string(text), `config_api_build_info{`) {
			t.Errorf("answered %s, %v", text, err)
		}
		return nil
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
