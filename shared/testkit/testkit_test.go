package testkit_test

import (
	"fmt"
	"testing"
	"testing/fstest"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/testkit"
)

var schema = pg.Schema{Name: "kit", Files: fstest.MapFS{
	"0001_thing.sql": {Data: []byte("-- A table to see.\ncreate table kit.thing (id int primary key);")},
}}

func TestDatabasesAreSeparate(t *testing.T) {
	t.Parallel()
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			pool := testkit.Database(t, schema)
			if _, err := pool.Exec(t.Context(), `insert into kit.thing values (1)`); err != nil {
				t.Fatal(err)
			}
			var rows int
			if err := pool.QueryRow(t.Context(), `select count(*) from kit.thing`).Scan(&rows); err != nil || rows != 1 {
				t.Fatalf("rows %d, %v; want the one of this test", rows, err)
			}
		})
	}
}

func TestNATSKeepsStreamsOverARestart(t *testing.T) {
	t.Parallel()
	s := testkit.NATS(t)
	js, err := jetstream.New(s.Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KIT", Subjects: []string{"kit"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "kit", []byte("x")); err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	testkit.Eventually(t, func() error {
		stream, err := js.Stream(t.Context(), "KIT")
		if err == nil && stream.CachedInfo().State.Msgs != 1 {
			err = fmt.Errorf("%d messages, want 1", stream.CachedInfo().State.Msgs)
		}
		return err
	})
}
