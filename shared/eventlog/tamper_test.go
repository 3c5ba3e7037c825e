package eventlog_test

import (
	"strconv"
	"testing"

	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/testkit"
)

func TestEventsAreAppendOnly(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t, eventlog.Schema)
	mustAppend(t, open(t, pool), set("a", `1`))
	for _, sql := range []string{
		`update eventstore.events set actor = 'eve'`,
		`delete from eventstore.events`,
		`truncate eventstore.events`,
		`set session_replication_role = replica; delete from eventstore.events`,
	} {
		if _, err := pool.Exec(t.Context(), sql); pg.Code(err) != "42501" {
			t.Errorf("%s: %v, want insufficient_privilege", sql, err)
		}
	}
}

// What a superuser with the trigger disabled can do to the log, and where it is
// found.
func TestVerifyFindsTampering(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t, eventlog.Schema)
	log := open(t, pool)
	for i := range 6 {
		mustAppend(t, log, set("n", strconv.Itoa(i)))
	}
	run := func(t *testing.T, sql string) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	run(t, `alter table eventstore.events disable trigger all;
		alter table eventstore.events drop constraint events_check;
		create table saved as table eventstore.events`)
	for name, test := range map[string]struct {
		sql  string
		want int64
	}{
		"nothing":           {`select`, 0},
		"changed value":     {`update eventstore.events set data = '{"config_name":"n","value":0}' where position = 4`, 4},
		"changed actor":     {`update eventstore.events set actor = 'eve' where position = 1`, 1},
		"changed hash":      {`update eventstore.events set hash = sha256('x') where position = 5`, 5},
		"removed row":       {`delete from eventstore.events where position = 3`, 3},
		"removed first row": {`delete from eventstore.events where position = 1`, 1},
		"cut tail":          {`delete from eventstore.events where position = 6`, 6},
		"cut tail and head": {`delete from eventstore.events where position = 6; update eventstore.log_head set position = 5`, 5},
		"reordered pair": {`update eventstore.events set position = -position where position in (2, 3);
			update eventstore.events set position = 5 + position where position < 0`, 2},
		"backdated": {`update eventstore.events set recorded_at = recorded_at - interval '1 hour' where position = 4`, 4},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, `delete from eventstore.events; insert into eventstore.events table saved;
				update eventstore.log_head set position = 6`)
			run(t, test.sql)
			reached := int64(0)
			v, err := log.Verify(t.Context(), 1, 0, func(position int64) { reached = position })
			if err != nil || v.FirstInvalid != test.want || v.Valid != (test.want == 0) {
				t.Errorf("Verify = %+v, %v; want first invalid %d", v, err, test.want)
			}
			if v.Valid && reached != 6 {
				t.Errorf("progress reached %d, want 6", reached)
			}
			if v, err := log.Verify(t.Context(), 1, 1, nil); name != "changed actor" && name != "removed first row" && (err != nil || !v.Valid) {
				t.Errorf("Verify of the part before = %+v, %v", v, err)
			}
		})
	}
}
