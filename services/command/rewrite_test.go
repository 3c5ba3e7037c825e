package command

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/testkit"
	"github.com/config-api/config-api/shared/testkit/contract"
)

// A dry run answers what the real run then does, and does nothing itself; the
// same again has nothing left to do.
func TestDryRunTellsTheRealRun(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := start(t, testkit.DatabaseURL(t, eventlog.Schema), noNATS)
	changes := func(correlationID, body string) {
		s.write(t, "POST", "/v2/namespaces/ns/changes", body, "Config-Correlation-Id", correlationID)
	}
	changes("first", `{"changes":[{"op":"set","name":"a","value":1},{"op":"set","name":"b","value":{"x":1.0}},{"op":"set","name":"gone","value":0}]}`)
	changes("second", `{"changes":[{"op":"set","name":"a","value":2},{"op":"delete","name":"gone"},{"op":"set","name":"new","value":null}]}`)
	s.write(t, "PUT", "/v2/namespaces/target/configs/extra", `{"value":1}`)
	for _, test := range []struct {
		path, body string
		want       string // op name old → new, of every change
	}{
		{"/v2/namespaces/ns/revert", `{"to":3`, "set a 2→1, set gone null→0, delete new null→null"},
		{"/v2/namespaces/ns/revert", `{"to":6,"names":["a","b"]`, "set a 1→2"},
		{"/v2/namespaces/ns/revert", `{"to":0`, "delete a 2→null, delete b {\"x\":1.0}→null, delete gone 0→null"},
		{"/v2/namespaces/target/copy", `{"from":"ns","at":6`, "set a null→2, set b null→{\"x\":1.0}, delete extra 1→null, set new null→null"},
		{"/v2/namespaces/target/copy", `{"from":"ns","names":["a"]`, "delete a 2→null"},
		{"/v2/namespaces/undone/changes", "", ""},
		{"/v2/namespaces/undone/revert", `{"change":"undo me"`, "set one 2→1, delete two 2→null"},
	} {
		if test.body == "" { // what the last one undoes
			s.write(t, "PUT", "/v2/namespaces/undone/configs/one", `{"value":1}`)
			s.write(t, "POST", test.path, `{"changes":[{"op":"set","name":"one","value":2},{"op":"set","name":"two","value":2}]}`, "Config-Correlation-Id", "undo me")
			continue
		}
		before := len(s.events(t))
		dry := decode[rewrite](t, s.write(t, "POST", test.path, test.body+`,"dry_run":true}`))
		if !dry.DryRun || dry.Position != int64(before) || len(s.events(t)) != before {
			t.Errorf("%s %s: the dry run is not one: %+v", test.path, test.body, dry)
		}
		var told []string
		for _, d := range dry.Changes {
			told = append(told, fmt.Sprintf("%s %s %s→%s", d.Op, d.Name, d.OldValue, d.Value))
		}
		if got := strings.Join(told, ", "); got != test.want {
			t.Errorf("%s %s would %s, want %s", test.path, test.body, got, test.want)
		}
		done := decode[rewrite](t, s.write(t, "POST", test.path, test.body+`,"reason":"why"}`, "Config-Actor", "ann"))
		if diff := cmp.Diff(dry.Changes, done.Changes); diff != "" || done.DryRun {
			t.Errorf("%s %s (-dry +done):\n%s", test.path, test.body, diff)
		}
		events := s.events(t)
		for _, e := range events[before:] {
			if e.Actor != "ann" || e.Reason != "why" || e.CorrelationID != done.CorrelationID || e.Commit != done.Position {
				t.Errorf("event %d of %+v: %+v", e.Position, done, e)
			}
		}
		s.wantEvents(t, before+len(dry.Changes))
		if strings.Contains(test.body, "change") {
			continue // its own configs are changed again now: see below
		}
		if again := decode[rewrite](t, s.write(t, "POST", test.path, test.body+`}`)); len(again.Changes) != 0 {
			t.Errorf("%s %s again: %+v", test.path, test.body, again)
		}
		s.wantEvents(t, len(events))
	}
}

// Taking a change set back must not lose what was changed since.
func TestUndoOfWhatWasOverwrittenIsAConflict(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := start(t, testkit.DatabaseURL(t, eventlog.Schema), noNATS)
	cmd := set(`1`, "a", "b", "c")
	cmd.Set.CorrelationID = "release"
	s.append(t, cmd)
	s.append(t, set(`2`, "b"))
	for _, body := range []string{`{"change":"release"}`, `{"change":"release","dry_run":true}`} {
		refused := s.refused(t, 409, "POST", "/v2/namespaces/ns/revert", body)
		one := int64(1)
		want := []config.VersionConflict{{Name: "b", Expected: &one, Version: 2, Position: 4, Value: config.Value(`2`)}}
		if diff := cmp.Diff(want, refused.Conflicts); diff != "" {
			t.Errorf("conflicts (-want +got):\n%s", diff)
		}
	}
	s.refused(t, 404, "POST", "/v2/namespaces/ns/revert", `{"change":"the later change"}`)
	s.refused(t, 404, "POST", "/v2/namespaces/other/revert", `{"change":"release"}`)
	s.wantEvents(t, 4)

	// An undone change set is overwritten by its own undoing: twice is a
	// conflict too, and undoes nothing else.
	cmd.Set.Namespace = "twice"
	s.append(t, cmd)
	s.write(t, "POST", "/v2/namespaces/twice/revert", `{"change":"release"}`)
	if again := s.refused(t, 409, "POST", "/v2/namespaces/twice/revert", `{"change":"release"}`); len(again.Conflicts) != 3 {
		t.Errorf("undone twice: %+v", again)
	}
	s.wantEvents(t, 10)
}

// A plan that another write overtook is made anew, and given up when it always
// is: what a rewrite does is what it would have done at the moment it is done.
func TestRewriteIsPlannedAnew(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := start(t, testkit.DatabaseURL(t, eventlog.Schema), noNATS)
	s.append(t, set(`"past"`, "a"))
	for _, test := range []struct{ overtaken, status, plans int }{{0, 200, 1}, {3, 200, 4}, {planTries - 1, 200, planTries}, {planTries, 409, planTries}} {
		t.Run(fmt.Sprintf("overtaken %d times", test.overtaken), func(t *testing.T) {
			s.append(t, set(`"present"`, "a"))
			before := len(s.events(t))
			plans := 0
			overtaken := func(ctx context.Context) ([]planned, error) {
				changes, err := planRevert(ctx, s.log, "ns", nil, 1)
				if plans++; plans <= test.overtaken {
					s.append(t, set(fmt.Sprintf(`"overtook %d"`, plans), "a"))
				}
				return changes, err
			}
			e := echo.New()
			answer := httptest.NewRecorder()
			err := s.rewrite(e.NewContext(httptest.NewRequestWithContext(t.Context(), "POST", "/", nil), answer),
				eventlog.Command{Set: config.ChangeSet{Namespace: "ns"}}, false, overtaken)
			if plans != test.plans {
				t.Errorf("%d plans were made, want %d", plans, test.plans)
			}
			if test.status == 409 {
				if config.CodeOf(err) != config.Conflict {
					t.Errorf("always overtaken: %v, want a conflict", err)
				}
				s.wantEvents(t, before+test.overtaken)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			events := s.events(t)
			last := events[len(events)-1]
			p, err := last.Payload()
			old, oldErr := events[len(events)-2].Payload()
			if err != nil || oldErr != nil || string(p.Value) != `"past"` || string(p.OldValue) != string(old.Value) {
				t.Errorf("the last event is %s, after %s", last.Data, old.Value)
			}
			if got := decode[rewrite](t, contract.Answer{Body: answer.Body.String()}); len(got.Changes) != 1 || string(got.Changes[0].OldValue) != string(old.Value) {
				t.Errorf("answered %+v", got)
			}
			s.wantEvents(t, before+test.overtaken+1)
		})
	}
}
