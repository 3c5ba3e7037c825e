package command

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/testkit"
)

// Who has to have a position before a v1 write answers, on a clock that stands
// still until everybody waits.
func TestWhatAWriteWaitsFor(t *testing.T) {
	t.Parallel()
	applied := func(position int64) feed.Applied { return feed.Applied{Epoch: "e", Position: position} }
	serves := func(instance string, position int64) feed.Served {
		return feed.Served{Instance: instance, Epoch: "e", Position: position}
	}
	for name, test := range map[string]struct {
		happens func(v *visibility)
		want    bool
		after   time.Duration
	}{
		"nobody is heard": {func(*visibility) {}, false, time.Second},
		"the projector is behind": {func(v *visibility) {
			v.projected(applied(6))
		}, false, time.Second},
		"the projector has it, and nobody serves": {func(v *visibility) {
			v.projected(applied(7))
		}, true, 0},
		"the projector of another log has it": {func(v *visibility) {
			v.projected(feed.Applied{Epoch: "other", Position: 9})
		}, false, time.Second},
		"all have it": {func(v *visibility) {
			v.projected(applied(9))
			v.remembered(serves("q1", 7))
			v.remembered(serves("q2", 8))
		}, true, 0},
		"one query service never gets it": {func(v *visibility) {
			v.projected(applied(9))
			v.remembered(serves("q1", 7))
			v.remembered(serves("q2", 6))
		}, false, time.Second},
		"one query service gets it later": {func(v *visibility) {
			v.projected(applied(9))
			v.remembered(serves("q1", 6))
			time.AfterFunc(300*time.Millisecond, func() { v.remembered(serves("q1", 7)) })
		}, true, 300 * time.Millisecond},
		"the projector gets it last": {func(v *visibility) {
			v.remembered(serves("q1", 7))
			time.AfterFunc(200*time.Millisecond, func() { v.projected(applied(7)) })
		}, true, 200 * time.Millisecond},
		"one query service hears of the projector later": {func(v *visibility) {
			told := serves("q1", 7)
			told.Applied = 6
			v.projected(applied(7))
			v.remembered(told)
			time.AfterFunc(50*time.Millisecond, func() {
				told.Applied = 7
				v.remembered(told)
			})
		}, true, 50 * time.Millisecond},
		"the one that is behind leaves": {func(v *visibility) {
			v.projected(applied(9))
			v.remembered(serves("q1", 6))
			time.AfterFunc(100*time.Millisecond, func() { v.remembered(feed.Served{Instance: "q1", Leaving: true}) })
		}, true, 100 * time.Millisecond},
		"the one that is behind ended without a word": {func(v *visibility) {
			v.remembered(serves("q1", 6))
			time.Sleep(servedFor + time.Millisecond)
			v.projected(applied(9))
		}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVisibility()
				test.happens(v)
				start := time.Now()
				got := v.wait(t.Context(), config.Token{Epoch: "e", Position: 7})
				if after := time.Since(start); got != test.want || after != test.after {
					t.Errorf("answered %v after %v, want %v after %v", got, after, test.want, test.after)
				}
			})
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if newVisibility().wait(ctx, config.Token{Epoch: "e", Position: 7}) {
		t.Error("visible to a client that is gone, and to nobody else")
	}
}

// A v1 write answers when the readers have announced its position on NATS, or
// after a second without.
func TestV1WriteWaitsForItsReaders(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	server := testkit.NATS(t)
	s := start(t, testkit.DatabaseURL(t, eventlog.Schema), server.URL)
	nc := client(t, server).nc
	announce := func(position int64) {
		epoch := s.epoch(t)
		for subject, what := range map[string]any{
			feed.AppliedSubject: feed.Applied{Epoch: epoch, Position: position},
			feed.ServedSubject:  feed.Served{Instance: "q", Epoch: epoch, Position: position},
		} {
			if err := feed.Announce(nc, subject, what); err != nil {
				t.Error(err)
			}
		}
	}
	for range 2 { // a message that can't be read harms nobody
		if err := nc.Publish(feed.AppliedSubject, []byte("?")); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	got := s.write(t, "PUT", "/v1/config/a", `{"value":"1"}`)
	if took := time.Since(begin); got.Body != "OK" || got.Header.Get("Config-Applied") != "false" || took < visibleWithin {
		t.Errorf("without readers: %q, Config-Applied %q after %v", got.Body, got.Header.Get("Config-Applied"), took)
	}

	appended := make(chan struct{})
	go func() {
		defer close(appended)
		testkit.Eventually(t, func() error {
			if n := len(s.events(t)); n != 2 {
				return fmt.Errorf("%d events, want 2", n)
			}
			return nil
		})
		announce(2)
	}()
	if got := s.write(t, "PUT", "/v1/config/a", `{"value":"2"}`); got.Body != "OK" || got.Header.Get("Config-Applied") != "" {
		t.Errorf("with readers: %q, Config-Applied %q", got.Body, got.Header.Get("Config-Applied"))
	}
	<-appended
	announce(1000)
	testkit.Eventually(t, func() error {
		if reached, _ := s.visibility.reached(config.Token{Epoch: s.epoch(t), Position: 1000}); !reached {
			return fmt.Errorf("position 1000 was announced and is not known")
		}
		return nil
	})
	if got := s.write(t, "DELETE", "/v1/config/a", ""); got.Body != "OK" || got.Header.Get("Config-Applied") != "" {
		t.Errorf("delete with readers: %q, Config-Applied %q", got.Body, got.Header.Get("Config-Applied"))
	}
	s.wantEvents(t, 3)
}
