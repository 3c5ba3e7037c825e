package pg_test

import (
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/testkit"
)

// schema is one with these files, numbered in this order.
func schema(files ...string) pg.Schema {
	all := fstest.MapFS{"README.md": {Data: []byte("not a migration")}}
	for i, sql := range files {
		all[fmt.Sprintf("%04d_step.sql", i+1)] = &fstest.MapFile{Data: []byte(sql)}
	}
	return pg.Schema{Name: "shop", Files: all}
}

const (
	one   = "-- The first table.\ncreate table shop.a (id int);\ninsert into shop.a values (1);"
	two   = "create table shop.b (id int);"
	three = "alter table shop.b add column name text;"
)

func migrate(t *testing.T, pool *pgxpool.Pool, s pg.Schema) {
	t.Helper()
	if err := s.Migrate(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
}

// applied returns the files that the database says it has.
func applied(t *testing.T, pool *pgxpool.Pool) (files string) {
	t.Helper()
	err := pool.QueryRow(t.Context(), `select coalesce(string_agg(version || ':' || file, ' ' order by version), '') from shop.migrations`).Scan(&files)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	migrate(t, pool, schema(one, two))
	migrate(t, pool, schema(one, two)) // twice would fail: the tables exist
	if got := applied(t, pool); got != "1:0001_step.sql 2:0002_step.sql" {
		t.Errorf("applied %s", got)
	}
	migrate(t, pool, schema(one, two, three))
	var rows int
	if err := pool.QueryRow(t.Context(), `select count(*) from shop.a left join shop.b on b.name = 'x'`).Scan(&rows); err != nil || rows != 1 {
		t.Errorf("%d rows, %v; want that of the first file and the last file's column", rows, err)
	}

	t.Log("an older program on the newer database")
	err := schema(one).Migrate(t.Context(), pool)
	if err == nil || err.Error() != "migrate shop: the database is at version 3 and this program knows up to 1: run the newer program" {
		t.Errorf("error %v", err)
	}

	t.Log("a role that may not create anything, on a database that is up to date")
	role := newRole(t, pool, "")
	if _, err := pool.Exec(t.Context(), `grant usage on schema shop to `+role+`; grant select on shop.migrations to `+role); err != nil {
		t.Fatal(err)
	}
	poor := open(t, as(t, pool.Config().ConnString(), url.UserPassword(role, "x")))
	migrate(t, poor, schema(one, two, three))
	if err := schema(one, two, three, two).Migrate(t.Context(), poor); pg.Code(err) != "42501" {
		t.Errorf("with something to do: error %v, want that it has no right to", err)
	}
}

func TestManyMigrateAtOnce(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	address := testkit.DatabaseURL(t)
	const processes = 6
	errs := make(chan error, processes)
	for range processes {
		pool := open(t, address)
		go func() { errs <- schema(one, two, three).Migrate(t.Context(), pool) }()
	}
	for range processes {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := applied(t, open(t, address)); got != "1:0001_step.sql 2:0002_step.sql 3:0003_step.sql" {
		t.Errorf("applied %s", got)
	}
}

func TestFileThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	pool := testkit.Database(t)
	err := schema(one, two+"insert into shop.nowhere values (1);", three).Migrate(t.Context(), pool)
	if pg.Code(err) != "42P01" || !strings.Contains(err.Error(), "migrate shop: 0002_step.sql: ") {
		t.Errorf("error %v, want one that names the file", err)
	}
	if got := applied(t, pool); got != "1:0001_step.sql" {
		t.Errorf("applied %s, want the first", got)
	}
	migrate(t, pool, schema(one, two, three)) // would fail if the table were there
}

func TestSchemasThatCannotBe(t *testing.T) {
	t.Parallel()
	nowhere := open(t, "postgres://ann@127.0.0.1:1/x")
	for name, test := range map[string]struct {
		files fstest.MapFS
		want  string
	}{
		"gap":          {fstest.MapFS{"0001_a.sql": {}, "0003_c.sql": {}}, "migrations of shop: 0003_c.sql should be number 0002"},
		"from nought":  {fstest.MapFS{"0000_a.sql": {}}, "0000_a.sql should be number 0001"},
		"number twice": {fstest.MapFS{"0001_a.sql": {}, "0001_b.sql": {}}, "0001_b.sql should be number 0002"},
		"no number":    {fstest.MapFS{"first.sql": {}}, "first.sql should be number 0001"},
	} {
		err := pg.Schema{Name: "shop", Files: test.files}.Migrate(t.Context(), nowhere) // it does not come to that
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
	if err := schema(one).Migrate(t.Context(), nowhere); !pg.IsUnavailable(err) || !strings.HasPrefix(err.Error(), "migrate shop: ") {
		t.Errorf("no server: error %v", err)
	}
	unreadable := pg.Schema{Name: "shop", Files: fstest.MapFS{"0001_a.sql": {Mode: fs.ModeDir | 0o700}}}
	if err := unreadable.Migrate(t.Context(), testkit.Database(t)); err == nil {
		t.Error("a directory in place of a file: no error")
	}
}
