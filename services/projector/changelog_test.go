package projector_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/testkit"
)

// line is a line of the change log.
type line struct {
	Msg       string           `json:"msg"`
	Type      config.EventType `json:"event_type"`
	Namespace string           `json:"namespace"`
	Name      string           `json:"config_name"`
	OldValue  *string          `json:"old_value"`
	NewValue  *string          `json:"new_value"`
	Version   int64            `json:"version"`
	Position  int64            `json:"position"`
	Actor     string           `json:"actor"`
	Reason    string           `json:"reason"`
	Timestamp time.Time        `json:"timestamp"`
}

const changed = "config changed"

// lines are those of the change log, among the others.
func lines(t testing.TB, log *logBuffer) []line {
	t.Helper()
	var found []line
	for text := range strings.Lines(log.String()) {
		var l line
		if !strings.Contains(text, `"msg":"`+changed+`"`) {
			continue
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		found = append(found, l)
	}
	return found
}

// wantChangelog waits until the logs, one after the other, have as many lines as
// there are events, and fails unless there is exactly one for each, in order.
func wantChangelog(t testing.TB, events []config.Event, logs ...*logBuffer) {
	t.Helper()
	want := make([]line, len(events))
	for i := range events {
		e := &events[i]
		p, err := e.Payload()
		if err != nil {
			t.Fatal(err)
		}
		want[i] = line{
			Msg: changed, Type: e.Type, Namespace: e.Namespace, Name: e.Name, OldValue: textOf(p.OldValue), NewValue: textOf(p.Value),
			Version: e.Version, Position: e.Position, Actor: e.Actor, Reason: e.Reason, Timestamp: e.RecordedAt,
		}
	}
	var got []line
	testkit.Eventually(t, func() error {
		got = nil
		for _, log := range logs {
			got = append(got, lines(t, log)...)
		}
		if len(got) < len(want) {
			return fmt.Errorf("%d lines, want %d", len(got), len(want))
		}
		return nil
	})
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Fatalf("change log (-want +got):\n%s", diff)
	}
}

func textOf(v config.Value) *string {
	if v == nil {
		return nil
	}
	text := v.Text()
	return &text
}

// One line for each change, also over restarts. A value that is a string is
// shown as its text.
func TestChangelogGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := newSystem(t)
	var log testkit.Log
	log.Set(t, "ns", "greeting", `"hello \"you\""`)
	log.Append(t, config.ChangeSet{Namespace: "ns", Actor: "bob", Reason: "release 7", Changes: []config.Change{
		{Op: config.Delete, Name: "greeting"},
		{Op: config.Set, Name: "limit", Value: config.Value(`12345678901234567890`)},
	}})
	var logs []*logBuffer
	done := 0
	for range 3 {
		testkit.Publish(t, s.js, log.Events[done:])
		p := s.start(t, s.options())
		logs = append(logs, p.log)
		wantChangelog(t, log.Events, logs...)
		s.wantFold(t, log.Events)
		testkit.Eventually(t, func() error { // the position is moved after the lines
			at, err := s.store.Logged(t.Context())
			if err == nil && at != (config.Token{Epoch: testkit.Epoch, Position: int64(len(log.Events))}) {
				err = fmt.Errorf("the change log is at %v", at)
			}
			return err
		})
		p.stop()
		done = len(log.Events)
		log.Set(t, "ns", "greeting", `"again"`)
	}
	if got := *lines(t, logs[0])[0].NewValue; got != `hello "you"` {
		t.Errorf("a string is shown as %q", got)
	}
}

// With LogValues=false no line has a value in it, under whatever name.
func TestChangelogHidesValues(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var log testkit.Log
	log.Set(t, "ns", "password", `"open sesame"`)
	log.Set(t, "ns", "password", `"sesame street"`)
	o := s.options()
	o.LogValues = false
	testkit.Publish(t, s.js, log.Events)
	p := s.start(t, o)
	testkit.Eventually(t, func() error {
		if n := len(lines(t, p.log)); n != 2 {
			return fmt.Errorf("%d lines, want 2", n)
		}
		return nil
	})
	if text := p.log.String(); strings.Contains(text, "sesame") || strings.Contains(text, "_value") {
		t.Errorf("the log shows values:\n%s", text)
	}
}
