// Package pg holds what every user of Postgres in this project needs: a pool
// with sane settings, a migrator, and the classification of errors.
package pg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/puddle/v2"
)

const (
	// maxConns is the size of a pool whose URL does not say pool_max_conns. A
	// service holds a connection for each lock that it has, and works on others.
	maxConns = 16
	// connectTimeout bounds one attempt to connect.
	connectTimeout = 5 * time.Second
	// statementTimeout ends a statement that a bug or a lock keeps running.
	statementTimeout = "30s"
	// idleInTransactionTimeout frees the locks of a client that stopped in
	// the middle of a transaction (a SIGSTOPped process, a lost network).
	idleInTransactionTimeout = "10s"
)

// Open returns a pool for the database at url. It does not need the server to
// be up: connections are made when they are needed. applicationName shows in
// pg_stat_activity. The error never contains the URL, which holds a password.
func Open(ctx context.Context, url, applicationName string) (*pgxpool.Pool, error) {
	options, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the database URL can't be parsed: use postgres://user:password@host:5432/database")
	}
	options.ConnConfig.ConnectTimeout = connectTimeout
	if !strings.Contains(url, "pool_max_conns") {
		options.MaxConns = maxConns
	}
	defaults := map[string]string{
		"application_name":                    applicationName,
		"statement_timeout":                   statementTimeout,
		"idle_in_transaction_session_timeout": idleInTransactionTimeout,
		"timezone":                            "UTC",
	}
	for name, value := range defaults {
		if _, set := options.ConnConfig.RuntimeParams[name]; !set {
			options.ConnConfig.RuntimeParams[name] = value
		}
	}
	pool, err := pgxpool.NewWithConfig(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("database pool: %w", err)
	}
	return pool, nil
}

// Code returns the SQLSTATE of err, or "" if it did not come from the server.
func Code(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}

// Message returns what the server says is wrong, without a value, or "" if err did
// not come from it.
func Message(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Message
	}
	return ""
}

// IsUnavailable reports whether err means that the server can't be used now: it
// is down, starting, stopping, out of connections or disk, read only, or the
// connection broke. The statement may be tried again later; after a broken
// COMMIT its outcome is unknown.
func IsUnavailable(err error) bool {
	if err == nil {
		return false
	}
	if code := Code(err); code != "" {
		return pgerrcode.IsConnectionException(code) ||
			pgerrcode.IsOperatorIntervention(code) ||
			pgerrcode.IsInsufficientResources(code) ||
			pgerrcode.IsSystemError(code) ||
			code == pgerrcode.ReadOnlySQLTransaction ||
			code == pgerrcode.LockNotAvailable
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) ||
		pgconn.Timeout(err) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, puddle.ErrClosedPool)
}

// ErrUnavailable is what health answers say of a database: the error itself
// names hosts and users, and goes to the log.
var ErrUnavailable = errors.New("the database is not available")
