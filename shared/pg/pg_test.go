package pg_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/testkit"
)

func open(t *testing.T, address string) *pgxpool.Pool {
	t.Helper()
	pool, err := pg.Open(t.Context(), address, "a test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// with adds settings to the URL of a database.
func with(t *testing.T, address string, settings ...string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	for i := 0; i < len(settings); i += 2 {
		query.Set(settings[i], settings[i+1])
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// newRole makes a role that may log in with the password x, until the test ends.
func newRole(t *testing.T, admin *pgxpool.Pool, options string) string {
	t.Helper()
	name := "test_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	if _, err := admin.Exec(t.Context(), `create role `+name+` login password 'x' `+options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.Exec(context.Background(), `drop owned by `+name+`; drop role `+name); err != nil {
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

func TestURLsThatCannotBe(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"postgres://ann:hunter2@[::1", "postgres://ann:hunter2@h:port/x", "postgres://ann:hunter2@h/x?sslmode=perhaps",
		"postgres://ann:hunter2@h/x?pool_max_conns=none", "ann:hunter2@h/x",
	} {
		_, err := pg.Open(t.Context(), address, "a test")
		if err == nil || !strings.Contains(err.Error(), "postgres://user:password@host:5432/database") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error %v, want one that shows the form of a URL and not the password", address, err)
		}
	}
}

func TestSettingsOfAPool(t *testing.T) {
	t.Parallel()
	address := testkit.DatabaseURL(t)
	for _, test := range []struct{ address, want string }{
		{address, "a test 30s 10s UTC"},
		{with(t, address, "statement_timeout", "7s", "timezone", "Europe/Berlin"), "a test 7s 10s Europe/Berlin"},
	} {
		var got string
		err := open(t, test.address).QueryRow(t.Context(), `select concat_ws(' ', current_setting('application_name'),
			current_setting('statement_timeout'), current_setting('idle_in_transaction_session_timeout'), current_setting('timezone'))`).Scan(&got)
		if err != nil || got != test.want {
			t.Errorf("got %q, %v, want %q", got, err, test.want)
		}
	}
}

func TestErrorsThatMeanTryAgain(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	address := testkit.DatabaseURL(t)
	pool := open(t, address)
	if _, err := pool.Exec(t.Context(), `create table thing (id int primary key); create table locked ()`); err != nil {
		t.Fatal(err)
	}
	statement := func(pool *pgxpool.Pool, sql string) func(*testing.T) error {
		return func(t *testing.T) error {
			_, err := pool.Exec(t.Context(), sql)
			return err
		}
	}
	for name, test := range map[string]struct {
		fail func(*testing.T) error
		code string // "": it is not the server who says it; "?": perhaps
		want bool
	}{
		"session terminated": {func(t *testing.T) error {
			_, err := pool.Exec(t.Context(), `select pg_terminate_backend(pg_backend_pid())`)
			return err
		}, "57P01", true},
		"connection broke while it was idle": {func(t *testing.T) error {
			conn, err := pool.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Release()
			if _, err := pool.Exec(t.Context(), `select pg_terminate_backend($1, 5000)`, conn.Conn().PgConn().PID()); err != nil {
				t.Fatal(err)
			}
			_, err = conn.Exec(t.Context(), `select 1`)
			return err
		}, "?", true}, // the server's last words may be lost with the connection
		"too many connections": {func(t *testing.T) error {
			crowded := open(t, as(t, address, url.UserPassword(newRole(t, pool, "connection limit 1"), "x")))
			conn, err := crowded.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Release()
			return crowded.Ping(t.Context())
		}, "53300", true},
		"statement took too long": {statement(open(t, with(t, address, "statement_timeout", "20")), `select pg_sleep(60)`), "57014", true},
		"lock is held": {func(t *testing.T) error {
			return pgx.BeginFunc(t.Context(), pool, func(holder pgx.Tx) error {
				if _, err := holder.Exec(t.Context(), `lock table locked`); err != nil {
					t.Fatal(err)
				}
				return pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
					_, err := tx.Exec(t.Context(), `lock table locked nowait`)
					return err
				})
			})
		}, "55P03", true},
		"standby that only reads": {statement(open(t, with(t, address, "default_transaction_read_only", "on")), `create table other (id int)`), "25006", true},
		"nobody listens":          {statement(open(t, "postgres://ann@127.0.0.1:1/x"), `select 1`), "", true},
		"no such host":            {statement(open(t, "postgres://ann@host.invalid/x"), `select 1`), "", true},
		"no such socket":          {statement(open(t, "postgres://ann@/x?host=/nowhere"), `select 1`), "", true},
		"out of time": {func(t *testing.T) error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			_, err := pool.Exec(ctx, `select pg_sleep(60)`)
			return err
		}, "", true},
		"pool is closed": {func(t *testing.T) error {
			closed := open(t, address)
			closed.Close()
			return closed.Ping(t.Context())
		}, "", true},

		"no error":        {statement(pool, `select 1`), "", false},
		"not a statement": {statement(pool, `selct 1`), "42601", false},
		"row is there":    {statement(pool, `insert into thing values (1), (1)`), "23505", false},
		"no right":        {statement(open(t, as(t, address, url.UserPassword(newRole(t, pool, ""), "x"))), `select * from thing`), "42501", false},
		"wrong password": {func(t *testing.T) error { // a server for tests only asks nobody for one
			durable, err := testkit.StartPrivatePostgres(true)
			if err != nil {
				t.Fatal(err)
			}
			return open(t, as(t, durable, url.UserPassword("config_api", "y"))).Ping(t.Context())
		}, "28P01", false},
		"no such database": {statement(open(t, strings.Replace(address, "_test_", "_tset_", 1)), `select 1`), "3D000", false},
		"no row":           {func(*testing.T) error { return pgx.ErrNoRows }, "", false},
		"another's error":  {func(*testing.T) error { return errors.New("EOF") }, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := test.fail(t)
			if err != nil {
				err = fmt.Errorf("append: %w", err)
			}
			if got := pg.IsUnavailable(err); got != test.want {
				t.Errorf("%v: unavailable is %v, want %v", err, got, test.want)
			}
			if got := pg.Code(err); got != test.code && test.code != "?" {
				t.Errorf("%v: code %q, want %q", err, got, test.code)
			}
		})
	}
}
