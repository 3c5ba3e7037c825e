package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/config-api/config-api/shared/check"
	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/testkit"
)

// fill writes a little of everything, and returns the ids of its requests.
func fill(t *testing.T, c *client.Client) {
	t.Helper()
	for _, namespace := range []string{"shop", "web"} {
		ns := c.Namespace(namespace)
		for i := range 10 {
			_, err := ns.Set(t.Context(), fmt.Sprint("n", i%4), i, client.Reason("r"))
			mustBe(t, err)
		}
		must[client.ChangeSet](t)(ns.Apply(t.Context(), []client.Change{client.Set("a", "x"), client.Set("b", []int{1}), client.Delete("n1")}))
		mustBe(t, ns.SetSchema(t.Context(), "a", map[string]any{"type": "string"}, false))
	}
}

func mustBe(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantFaults(t *testing.T, report *check.Report, want ...string) {
	t.Helper()
	var broken []string
	for _, r := range report.Results {
		if !r.Holds() {
			broken = append(broken, r.Invariant)
			t.Log(r.Invariant, r.Count, r.Faults)
		}
	}
	if strings.Join(broken, " ") != strings.Join(want, " ") || report.Holds() != (len(want) == 0) {
		t.Errorf("broken are %v, want %v", broken, want)
	}
}

func TestCheckHolds(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := startSystem(t)
	c := newClient(t, s.url)
	empty, err := check.Run(t.Context(), c, check.Options{})
	mustBe(t, err)
	wantFaults(t, empty)
	fill(t, c)
	must[client.Rebuild](t)(c.StartRebuild(t.Context(), 0))
	must[client.Rebuild](t)(c.AwaitRebuild(t.Context(), nil))
	var done int64
	report, err := check.Run(t.Context(), c, check.Options{Progress: func(n, _ int64) { done = n }})
	mustBe(t, err)
	wantFaults(t, report)
	if report.Position != 28 || done != 28 {
		t.Errorf("checked up to %d, progress to %d, want 28", report.Position, done)
	}
	for _, r := range report.Results {
		if r.Checked == "" && r.Invariant != "I10" || strings.HasPrefix(r.Checked, "0 ") {
			t.Errorf("%s has checked %q", r.Invariant, r.Checked)
		}
	}
}

// What each fault that a person with all rights can bring about breaks.
func TestCheckFindsFaults(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := startSystem(t)
	fill(t, newClient(t, s.url))
	must[check.Report](t)(checkOnce(t, s, check.Options{})) // all is applied
	pool, err := pgxpool.New(t.Context(), s.database)
	mustBe(t, err)
	t.Cleanup(pool.Close)
	exec := func(sql string) {
		t.Helper()
		_, err := pool.Exec(t.Context(), sql)
		mustBe(t, err)
	}
	exec(`alter table eventstore.events disable trigger all`)
	for name, test := range map[string]struct {
		sql, undo string
		want      []string
	}{
		"a row of the history is gone": {
			`create table kept as select * from readmodel.history_1 where position = 5; delete from readmodel.history_1 where position = 5`,
			`insert into readmodel.history_1 table kept; drop table kept`,
			[]string{"I5", "I9"},
		},
		"a row of the history was changed": {
			`update readmodel.history_1 set actor = 'eve' where position = 14`, `update readmodel.history_1 set actor = 'ann' where position = 14`,
			[]string{"I5"},
		},
		"the log was changed": {
			`create table kept as select * from eventstore.events where position = 5; update eventstore.events set reason = 'x' where position = 5`,
			`update eventstore.events set reason = (select reason from kept) where position = 5; drop table kept`,
			[]string{"I2", "I4", "I5"},
		},
		"a change set was torn": {
			`create table kept as select * from eventstore.events where position = 12; update eventstore.events set command_id = gen_random_uuid() where position = 12`,
			`update eventstore.events set command_id = (select command_id from kept) where position = 12; drop table kept`,
			[]string{"I1", "I2", "I4"},
		},
		"a version was left out": {
			`update eventstore.events set version = 7 where position = 10`,
			`update eventstore.events set version = 3 where position = 10`,
			[]string{"I2", "I3", "I4", "I5", "I9"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			exec(test.sql)
			report, err := checkOnce(t, s, check.Options{})
			exec(test.undo)
			mustBe(t, err)
			wantFaults(t, &report, test.want...)
			whole, err := checkOnce(t, s, check.Options{})
			mustBe(t, err)
			wantFaults(t, &whole)
		})
	}
	t.Run("an acknowledged write is missing", func(t *testing.T) {
		report, err := checkOnce(t, s, check.Options{Requests: []string{"never-sent"}})
		mustBe(t, err)
		wantFaults(t, &report, "I10")
	})
}

func checkOnce(t *testing.T, s *system, o check.Options) (check.Report, error) {
	t.Helper()
	report, err := check.Run(context.WithoutCancel(t.Context()), newClient(t, s.url), o)
	if err != nil {
		return check.Report{}, err
	}
	return *report, nil
}
