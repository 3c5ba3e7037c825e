package service_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/uuid"

	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/testkit"
)

var discard = slog.New(slog.DiscardHandler)

// newRole makes a role that may log in, until the test ends.
func newRole(t *testing.T, password string) string {
	t.Helper()
	name := "test_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	admin := testkit.Database(t)
	if _, err := admin.Exec(t.Context(), fmt.Sprintf(`create role %s login password '%s'`, name, password)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.Exec(context.Background(), `drop role `+name); err != nil {
			t.Error(err)
		}
	})
	return name
}

func as(t *testing.T, address string, user *url.Userinfo) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = user
	return u.String()
}

// A password comes on its own from a secret file; the URL, which everybody may
// see, has none.
func TestPasswordBesideTheURL(t *testing.T) {
	t.Parallel()
	const password = `p:a@s/s?#%&+ "ß`
	role := newRole(t, password)
	address := as(t, testkit.DatabaseURL(t), url.User(role))
	pool, err := service.DatabaseOptions{URL: address, Password: password}.Open(t.Context(), "a test")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	var user, program string
	err = pool.QueryRow(t.Context(), `select current_user, current_setting('application_name')`).Scan(&user, &program)
	if err != nil || user != role || program != "a test" {
		t.Errorf("logged in as %s, %s, %v", user, program, err)
	}
}

func TestDatabaseURLsThatCannotBe(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"postgres://a b@[", "host=127.0.0.1 user=ann", "mysql://ann@127.0.0.1/x", "127.0.0.1:5432/x"} {
		pool, err := service.DatabaseOptions{URL: address, Password: "hunter2"}.Open(t.Context(), "a test")
		if err == nil {
			pool.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "postgres://user") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error %v, want one that shows the form of a URL", address, err)
		}
	}
}

// The service's own role may not change tables: another one migrates.
func TestMigratesAsTheOwner(t *testing.T) {
	t.Parallel()
	owner := testkit.DatabaseURL(t)
	poor := service.DatabaseOptions{URL: as(t, owner, url.UserPassword(newRole(t, "x"), "x"))}
	schema := pg.Schema{Name: "thing", Files: fstest.MapFS{"0001_thing.sql": {Data: []byte(`create table thing.t (id int)`)}}}
	if _, err := poor.OpenMigrated(t.Context(), "a test", schema, discard); pg.Code(err) != "42501" {
		t.Fatalf("as the service: error %v, want that it has no right to", err)
	}
	poor.MigrateURL = owner
	pool, err := poor.OpenMigrated(t.Context(), "a test", schema, discard)
	if err != nil {
		t.Fatal(err)
	}
	pool.Close()
	if pool, err = pg.Open(t.Context(), owner, "a test"); err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(t.Context(), `insert into thing.t values (1)`); err != nil {
		t.Error(err)
	}
}

func TestMigrateWaitsForTheDatabase(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	logger := slog.New(slog.NewTextHandler(writer(func(b []byte) {
		if strings.Contains(string(b), `msg=waiting for="the database"`) {
			cancel()
		}
	}), nil))
	_, err := service.DatabaseOptions{URL: "postgres://ann:hunter2@127.0.0.1:1/x"}.OpenMigrated(ctx, "a test", pg.Schema{Name: "x", Files: fstest.MapFS{}}, logger)
	if !errors.Is(err, context.Canceled) || !pg.IsUnavailable(err) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v, want what was waited for and that the wait was ended", err)
	}
	if _, err := (service.DatabaseOptions{URL: "::"}).OpenMigrated(t.Context(), "a test", pg.Schema{}, discard); err == nil {
		t.Error("a URL that is none: no error")
	}
}

// writer calls itself with what is written.
type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

func TestConnectionOptions(t *testing.T) {
	t.Parallel()
	var db service.DatabaseOptions
	var nats service.NATSOptions
	bind := func(migrates bool) *service.Options {
		o := service.NewOptions("demo", "")
		db.Bind(o, migrates)
		nats.Bind(o)
		return o
	}
	var printed strings.Builder
	environ := []string{
		"DATABASE_URL=postgres://ann:hunter2@h/d", "DATABASE_PASSWORD=hunter2", "NATS_URL=nats://relay:hunter2@h:4222", "NATS_PASSWORD=hunter2",
		"MIGRATE_DATABASE_URL=postgres://owner:hunter2@h/d", "MIGRATE_DATABASE_PASSWORD=hunter2",
	}
	if err := bind(true).Parse([]string{"--nats-user=relay", "--print-options"}, environ, &printed); !errors.Is(err, service.ErrHelp) {
		t.Error(err)
	}
	if strings.Contains(printed.String(), "hunter2") || !strings.Contains(printed.String(), "NATS_USER=relay\n") {
		t.Errorf("a secret shows:\n%s", &printed)
	}
	if db.MigrateURL == "" || db.MigratePassword == "" || db.Password == "" {
		t.Errorf("got %+v", db)
	}
	feed := nats.Feed("relay of a test", discard)
	if feed.URL != nats.URL || feed.User != "relay" || feed.Password != "hunter2" || feed.Name != "relay of a test" || feed.InProcess != nil {
		t.Errorf("got %+v", feed)
	}
	if err := bind(false).Parse([]string{"--migrate-database-url=x"}, nil, &printed); err == nil {
		t.Error("a service that does not migrate took --migrate-database-url")
	}
	if err := bind(false).Parse(nil, nil, &printed); err == nil || !strings.Contains(err.Error(), "--database-url (DATABASE_URL): is required") {
		t.Errorf("no database: error %v", err)
	}
}
