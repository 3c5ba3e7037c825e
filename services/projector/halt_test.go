package projector_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/testkit"
)

const anotherLog = "0191f3a2-0000-7000-8000-0000000000ff"

// What the projector can't understand stops it, and it says so: nothing is
// skipped, and what was applied stays.
func TestHalts(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	tests := map[string]struct {
		change func(e *config.Event)
		tamper func(e *config.Event) // without making the hash anew
		epoch  string
		detail string // part of what the status says
	}{
		"an unknown event type": {
			change: func(e *config.Event) { e.Type = "ConfigRenamed" }, epoch: testkit.Epoch,
			detail: `event type "ConfigRenamed" with schema version 1 is newer than this program`,
		},
		"a newer schema version": {
			change: func(e *config.Event) { e.SchemaVersion = 2 }, epoch: testkit.Epoch,
			detail: `with schema version 2 is newer than this program`,
		},
		"a message that was changed": {
			tamper: func(e *config.Event) { e.Data = []byte(`{"config_name":"a","value":4,"old_value":1}`) }, epoch: testkit.Epoch,
			detail: "message 3 of the feed does not have the hash that its content and the event before it give",
		},
		"a feed that goes over to another log": {
			epoch:  anotherLog,
			detail: "the feed went over to another log (epoch " + anotherLog + ") at position ",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t)
			var log testkit.Log
			good := len(append(log.Set(t, "ns", "a", `1`), log.Set(t, "ns", "b", `2`)...))
			bad := log.Set(t, "ns", "a", `3`)
			log.Set(t, "ns", "c", `4`)
			events := log.Events
			if test.change != nil {
				test.change(&bad[0])
				log.Chain(good)
			}
			if test.tamper != nil {
				test.tamper(&bad[0])
			}
			testkit.Publish(t, s.js, events[:good])
			p := s.start(t, s.options())
			s.wantFold(t, events[:good])
			wantChangelog(t, events[:good], p.log)
			for i := range events[good:] {
				if err := feed.Publish(t.Context(), s.js, config.LogID{Epoch: test.epoch, Origin: testkit.Epoch}, events[good+i:good+i+1]); err != nil {
					t.Fatal(err)
				}
			}
			wantHalted(t, p, test.detail, projection{
				Name: "current", State: "halted", Epoch: testkit.Epoch, Position: int64(good), Feed: int64(len(events)), Lag: int64(len(events) - good),
			})
			s.wantFold(t, events[:good])
			testkit.Eventually(t, func() error { // of the projection and of the change log
				if n := strings.Count(p.log.String(), `"msg":"halted: see docs/operations.md"`); n < 2 {
					return fmt.Errorf("the log tells of %d that halted, want 2", n)
				}
				return nil
			})
			wantChangelog(t, events[:good], p.log)
		})
	}
}

func wantHalted(t *testing.T, p *running, detail string, want projection) {
	t.Helper()
	testkit.Eventually(t, func() error {
		got, err := p.projection()
		if err != nil {
			return err
		}
		if !strings.Contains(got.Detail, detail) {
			return fmt.Errorf("the status says %q, want %q", got.Detail, detail)
		}
		got.Detail = ""
		if diff := gocmp.Diff(want, got); diff != "" {
			return fmt.Errorf("projection (-want +got):\n%s", diff)
		}
		return nil
	})
	_, metrics := p.get(t, "/metrics")
	for _, line := range []string{
		`config_api_projection_halted{service="projector"} 1`,
		fmt.Sprintf(`config_api_projection_position{service="projector"} %d`, want.Position),
	} {
		if !strings.Contains(metrics, "\n"+line+"\n") {
			t.Errorf("the metrics lack %s:\n%s", line, metrics)
		}
	}
	for _, lag := range []string{"events", "seconds"} { // how many of the feed it has heard of depends
		if line := `config_api_projection_lag_` + lag + `{service="projector"} `; !strings.Contains(metrics, line) || strings.Contains(metrics, line+"0\n") {
			t.Errorf("the metrics have no %sabove 0:\n%s", line, metrics)
		}
	}
	status, body := p.get(t, "/readyz")
	if status != http.StatusServiceUnavailable || !strings.Contains(strings.ReplaceAll(body, `\"`, `"`), detail) {
		t.Errorf("/readyz answered %d %s, want %d with %q", status, body, http.StatusServiceUnavailable, detail)
	}
}

// A feed of another log than the read tables is not applied to them, not even
// when it is longer. When it is the right one again the projector goes on.
func TestHaltsOnTheFeedOfAnotherLog(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := newSystem(t)
	events := testkit.RandomLog(t, 5, 20).Events
	first := events[9].Commit
	testkit.Publish(t, s.js, events[:first])
	s.start(t, s.options()).stop()
	p := s.start(t, s.options())
	s.wantFold(t, events[:first])
	p.stop()
	refill := func(epoch string) {
		t.Helper()
		testkit.DeleteFeed(t, s.nats, s.js)
		if err := feed.EnsureStream(t.Context(), s.js, 1); err != nil {
			t.Fatal(err)
		}
		if err := feed.Publish(t.Context(), s.js, config.LogID{Epoch: epoch, Origin: testkit.Epoch}, events); err != nil {
			t.Fatal(err)
		}
	}
	refill(anotherLog)
	p = s.start(t, s.options())
	wantHalted(t, p, "the feed is of another log (epoch "+anotherLog+") than the read tables ("+testkit.Epoch+")", projection{
		Name: "current", State: "halted", Epoch: testkit.Epoch, Position: first, Feed: int64(len(events)), Lag: int64(len(events)) - first,
	})
	s.wantFold(t, events[:first])
	p.stop()
	refill(testkit.Epoch)
	p = s.start(t, s.options())
	s.wantFold(t, events)
	testkit.Eventually(t, func() error {
		if status, body := p.get(t, "/readyz"); status != http.StatusOK {
			return fmt.Errorf("/readyz answers %d %s", status, body)
		}
		return nil
	})
}
