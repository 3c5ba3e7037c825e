// Package testkit gives tests a real Postgres and a real NATS: a database of its
// own for each test, made from a template in some 30 ms, and a NATS server with
// JetStream in this process. Only tests import it.
package testkit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/config-api/config-api/shared/pg"
)

// databasePrefix begins the name of every database made here.
const databasePrefix = "config_api_eventstore_test"

// setupTimeout bounds what the kit does to set a test up or to clear it away.
const setupTimeout = 60 * time.Second

// Database returns a pool on a new database in which the schemas are migrated.
// Both are gone when the test ends.
func Database(t testing.TB, schemas ...pg.Schema) *pgxpool.Pool {
	t.Helper()
	pool, err := pg.Open(t.Context(), DatabaseURL(t, schemas...), "test")
	if err != nil {
		t.Fatalf("testkit: %v", err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// DatabaseURL makes a database as Database does, and returns its URL. The server
// is the one at TEST_DATABASE_URL, whose role must be allowed to make databases;
// without it, a private one is started for this process.
func DatabaseURL(t testing.TB, schemas ...pg.Schema) string {
	t.Helper()
	s, err := theServer()
	if err != nil {
		t.Fatalf("testkit: %v", err)
	}
	template, err := s.ensureTemplate(schemas)
	if err != nil {
		t.Fatalf("testkit: template database: %v", err)
	}
	name := databasePrefix + "_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	if err := s.clone(template, name); err != nil {
		t.Fatalf("testkit: %v", err)
	}
	t.Cleanup(func() {
		if err := s.exec(`drop database if exists ` + name + ` with (force)`); err != nil {
			t.Errorf("testkit: drop database: %v", err)
		}
	})
	return withDatabase(s.url, name)
}

// postgres is one connection to a Postgres, as a role that may make databases, for
// the whole process: a new connection costs more than what is done with it.
type postgres struct {
	url       string
	templates sync.Map // of those known to exist: by name, a func() error that made sure
	mu        sync.Mutex
	conn      *pgx.Conn
}

// theServer is found once; a failure stays, and is told to each test.
var theServer = sync.OnceValues(func() (*postgres, error) {
	s := &postgres{url: os.Getenv("TEST_DATABASE_URL")}
	var err error
	if s.url == "" {
		if s.url, err = StartPrivatePostgres(false); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	s.conn, err = pgx.Connect(ctx, s.url)
	return s, err
})

// ensureTemplate makes the template of these schemas, once a server: an advisory
// lock keeps other test processes waiting, and a template is renamed to its name
// when it is whole.
func (s *postgres) ensureTemplate(schemas []pg.Schema) (string, error) {
	hash, err := hashOf(schemas)
	if err != nil {
		return "", err
	}
	name := databasePrefix + "_template_" + hash
	once, _ := s.templates.LoadOrStore(name, sync.OnceValue(func() error { return s.makeTemplate(name, schemas) }))
	return name, once.(func() error)()
}

func (s *postgres) makeTemplate(name string, schemas []pg.Schema) error {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.conn.Exec(ctx, `select pg_advisory_lock(hashtext($1))`, name); err != nil {
		return err
	}
	defer func() { _, _ = s.conn.Exec(ctx, `select pg_advisory_unlock(hashtext($1))`, name) }()
	var exists bool
	if err := s.conn.QueryRow(ctx, `select exists (select from pg_database where datname = $1)`, name).Scan(&exists); err != nil || exists {
		return err
	}
	making := name + "_new"
	for _, sql := range []string{`drop database if exists ` + making, `create database ` + making} {
		if _, err := s.conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	if err := migrate(ctx, withDatabase(s.url, making), schemas); err != nil {
		return err
	}
	_, err := s.conn.Exec(ctx, `alter database `+making+` rename to `+name)
	return err
}

func migrate(ctx context.Context, url string, schemas []pg.Schema) error {
	pool, err := pg.Open(ctx, url, "testkit")
	if err != nil {
		return err
	}
	defer pool.Close()
	for _, schema := range schemas {
		if err := schema.Migrate(ctx, pool); err != nil {
			return err
		}
	}
	return nil
}

// clone copies files, which is faster than copying through the log where the
// checkpoint before it costs nothing. Postgres 14 knows no other way, and no word
// for this one.
func (s *postgres) clone(template, name string) error {
	err := s.exec(`create database ` + name + ` template ` + template + ` strategy file_copy`)
	if pg.Code(err) == pgerrcode.SyntaxError {
		err = s.exec(`create database ` + name + ` template ` + template)
	}
	return err
}

func (s *postgres) exec(sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.conn.Exec(ctx, sql)
	return err
}

func withDatabase(server, name string) string {
	u, err := url.Parse(server)
	if err != nil { // pgx parsed it before
		panic("testkit: database URL: " + err.Error())
	}
	u.Path = "/" + name
	return u.String()
}

// hashOf names the content of the schemas: other files, another template.
func hashOf(schemas []pg.Schema) (string, error) {
	h := sha256.New()
	for _, schema := range schemas {
		fmt.Fprintf(h, "schema %s\n", schema.Name)
		files, err := fs.Glob(schema.Files, "*.sql")
		if err != nil {
			return "", err
		}
		for _, file := range files {
			content, err := fs.ReadFile(schema.Files, file)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(h, "%s %d\n%s", file, len(content), content)
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}
