package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/pg"
)

// startTimeout is how long a starting service waits for its database.
const startTimeout = time.Minute

// DatabaseOptions say which database a service uses, and as whom.
type DatabaseOptions struct {
	URL      string
	Password string
	// MigrateURL is used only to migrate, at start, by a role that may do
	// what the service itself may not. Empty means URL.
	MigrateURL, MigratePassword string
}

// Bind adds --database-url and, for a service that migrates, --migrate-database-url.
func (d *DatabaseOptions) Bind(o *Options, migrates bool) {
	o.String(&d.URL, "database-url", "", "Postgres, as postgres://user@host:5432/config_api_eventstore", Secret, Required)
	o.String(&d.Password, "database-password", "", "password, if the URL has none", Secret)
	if migrates {
		o.String(&d.MigrateURL, "migrate-database-url", "", "Postgres as the owner of the tables, to migrate at start", Secret)
		o.String(&d.MigratePassword, "migrate-database-password", "", "password, if that URL has none", Secret)
	}
}

// Open returns a pool for the database.
func (d DatabaseOptions) Open(ctx context.Context, applicationName string) (*pgxpool.Pool, error) {
	address, err := withPassword(d.URL, d.Password)
	if err != nil {
		return nil, err
	}
	return pg.Open(ctx, address, applicationName)
}

// OpenMigrated is Open with the schema brought up to date, after waiting for the
// database.
func (d DatabaseOptions) OpenMigrated(ctx context.Context, applicationName string, schema pg.Schema, logger *slog.Logger) (*pgxpool.Pool, error) {
	pool, err := d.Open(ctx, applicationName)
	if err != nil {
		return nil, err
	}
	if err := d.migrate(ctx, pool, schema, logger); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

func (d DatabaseOptions) migrate(ctx context.Context, pool *pgxpool.Pool, schema pg.Schema, logger *slog.Logger) error {
	if d.MigrateURL != "" {
		var err error
		owner := DatabaseOptions{URL: d.MigrateURL, Password: d.MigratePassword}
		if pool, err = owner.Open(ctx, "config-api migration"); err != nil {
			return err
		}
		defer pool.Close()
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return Retry(ctx, logger, "the database", pg.IsUnavailable, func(ctx context.Context) error { return schema.Migrate(ctx, pool) })
}

func withPassword(address, password string) (string, error) {
	if password == "" {
		return address, nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return "", errors.New("--database-url is not a URL: use postgres://user@host:5432/database")
	}
	u.User = url.UserPassword(u.User.Username(), password)
	return u.String(), nil
}

// NATSOptions say which NATS server a service uses, and as whom.
type NATSOptions struct {
	URL, User, Password string
	// InProcess, if not nil, is the server itself: see [feed.Options].
	InProcess nats.InProcessConnProvider
}

// Bind adds --nats-url, --nats-user and --nats-password.
func (n *NATSOptions) Bind(o *Options) {
	o.String(&n.URL, "nats-url", "nats://127.0.0.1:4222", "NATS server, several separated by commas", Secret)
	o.String(&n.User, "nats-user", "", "user of the NATS server, if it has any")
	o.String(&n.Password, "nats-password", "", "password of that user", Secret)
}

// Feed returns the options of a connection with this name.
func (n NATSOptions) Feed(name string, logger *slog.Logger) feed.Options {
	return feed.Options{URL: n.URL, User: n.User, Password: n.Password, Name: name, InProcess: n.InProcess, Logger: logger}
}

// ErrStopped is the error of a service that ended without being asked to.
var ErrStopped = errors.New("stopped unexpectedly")

func stopped(name string, err error) error {
	if err == nil {
		err = ErrStopped
	}
	return fmt.Errorf("%s: %w", name, err)
}
