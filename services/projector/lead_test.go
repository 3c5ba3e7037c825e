package projector_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/config-api/config-api/services/projector"
	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/testkit"
)

// Of two projectors one works and the other stands by, and takes over when the
// first stops.
func TestStandbyTakesOver(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := newSystem(t)
	events := testkit.RandomLog(t, 6, 60).Events
	first, second := events[20].Commit, events[40].Commit
	testkit.Publish(t, s.js, events[:first])
	s.hear(t)
	leader, standby := s.start(t, s.options()), s.start(t, s.options())
	s.wantFold(t, events[:first])
	testkit.Eventually(t, func() error {
		a, errA := leader.projection()
		b, errB := standby.projection()
		switch [2]string{a.State, b.State} {
		case [2]string{"running", "standby"}:
			return nil
		case [2]string{"standby", "running"}:
			leader, standby = standby, leader
			return nil
		}
		return errors.Join(fmt.Errorf("the two are %s and %s", a.State, b.State), errA, errB)
	})
	if got, err := standby.projection(); err != nil || got.Position != first || got.Detail != "another projector works" {
		t.Errorf("the standby says %+v, %v", got, err)
	}
	testkit.Eventually(t, func() error { // it looks where the other is
		_, metrics := standby.get(t, "/metrics")
		for _, line := range []string{fmt.Sprint(`projection_position{service="projector"} `, first), `projection_lag_events{service="projector"} 0`} {
			if !strings.Contains(metrics, "\nconfig_api_"+line+"\n") {
				return fmt.Errorf("the standby's metrics lack %s", line)
			}
		}
		return nil
	})
	wantChangelog(t, events[:first], leader.log, standby.log)
	stopping := time.Now()
	leader.stop()
	testkit.Publish(t, s.js, events[first:second])
	s.wantFold(t, events[:second])
	if took := time.Since(stopping); took > 5*time.Second {
		t.Errorf("the standby took over after %v", took)
	}
	if got, err := standby.projection(); err != nil || got.State != "running" {
		t.Errorf("the new leader says %+v, %v", got, err)
	}
	s.start(t, s.options())
	testkit.Publish(t, s.js, events[second:])
	s.wantFold(t, events)
}

// The program starts with its options, says when it is ready, and stops when it
// is asked to.
func TestProgram(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	events := testkit.RandomLog(t, 7, 5).Events
	testkit.Publish(t, s.js, events)
	log := new(logBuffer)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- projector.Run(ctx, []string{"--listen", "127.0.0.1:0", "--nats-url", s.nats.URL, "--log-values=false"}, []string{"DATABASE_URL=" + s.database}, log)
	}()
	var address string
	testkit.Eventually(t, func() error {
		found := regexp.MustCompile(`"listen":"([^"]+)"`).FindStringSubmatch(log.String())
		if found == nil {
			return errors.New("it has not started:\n" + log.String())
		}
		address = found[1]
		return nil
	})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("/readyz answered %s", response.Status)
	}
	s.wantFold(t, events)
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// A projector that can't work with what it was given says so at once.
func TestNewRefuses(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	good, broken := s.options(), service.DatabaseOptions{URL: "postgres://%"}
	tests := map[string]struct {
		database service.DatabaseOptions
		nats     string
		want     string
	}{
		"a broken database URL":           {broken, good.NATS.URL, "the database URL can't be parsed"},
		"one that only migrations can do": {service.DatabaseOptions{URL: broken.URL, MigrateURL: s.database}, good.NATS.URL, "the database URL can't be parsed"},
		"a broken NATS URL":               {good.Database, "nats://a b:x", "connect to NATS"},
	}
	for name, test := range tests {
		o := projector.Options{Database: test.database, NATS: service.NATSOptions{URL: test.nats}}
		if _, err := projector.New(t.Context(), o, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: New failed with %v, want %q", name, err, test.want)
		}
	}
	if err := projector.Run(t.Context(), nil, nil, io.Discard); err == nil {
		t.Error("it runs without a database")
	}
}

// Without its database the projector is not ready, and says of it no more than
// that.
func TestNotReadyWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	p := s.start(t, s.options())
	p.stop() // closes its pool
	for path, want := range map[string]string{"/readyz": "the read tables can't be read", "/v2/projections": "the database is not available"} {
		if status, body := p.get(t, path); status != http.StatusServiceUnavailable || !strings.Contains(body, want) {
			t.Errorf("%s answered %d %s", path, status, body)
		}
	}
}
