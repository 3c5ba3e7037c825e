package eventlog_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/testkit"
)

// What a newer program has written last is not written over by an older one that
// still runs beside it; all other names are.
func TestANewerProgramsEventIsNotWrittenOver(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t, eventlog.Schema)
	log := open(t, pool)
	mustAppend(t, log, set("newer", `1`))
	mustAppend(t, log, set("older", `1`))
	_, err := pool.Exec(t.Context(), `alter table eventstore.events disable trigger all;
		update eventstore.events set schema_version = 99 where name = 'newer'`)
	if err != nil {
		t.Fatal(err)
	}
	both := command(
		config.Change{Op: config.Set, Name: "older", Value: config.Value(`2`)},
		config.Change{Op: config.Set, Name: "newer", Value: config.Value(`2`)},
	)
	for what, cmd := range map[string]eventlog.Command{"the name": set("newer", `2`), "a set with it": both} {
		_, err := log.Append(t.Context(), cmd)
		var refused *config.Error
		if !errors.As(err, &refused) || refused.Code != config.Unavailable || !strings.Contains(refused.Detail, "schema version 99 is newer than this program") {
			t.Errorf("%s: %v, want that it is newer", what, err)
		}
	}
	if out := mustAppend(t, log, set("older", `2`)); out.Position != 3 {
		t.Errorf("another name went to %d, want 3", out.Position)
	}
}
