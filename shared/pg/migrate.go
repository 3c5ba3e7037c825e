package pg

import (
	"context"
	"fmt"
	"hash/fnv"
	"io/fs"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Schema is a Postgres schema and the numbered SQL files that build it.
type Schema struct {
	Name string
	// Files has NNNN_title.sql at its root, numbered from 0001 without gaps.
	// A file that has landed is never changed.
	Files fs.FS
}

// Migrate brings the database up to the newest file, one transaction a file,
// under an advisory lock: any number of processes may start at once. It refuses
// a database that a newer program has migrated further than this one knows.
func (s Schema) Migrate(ctx context.Context, pool *pgxpool.Pool) error {
	files, err := s.list()
	if err != nil {
		return err
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("migrate %s: %w", s.Name, err)
	}
	defer conn.Release()
	if err := s.migrate(ctx, conn.Conn(), files); err != nil {
		return fmt.Errorf("migrate %s: %w", s.Name, err)
	}
	return nil
}

// NewerError refuses a database that a newer program has migrated.
type NewerError struct{ Database, Program int } // the number of files that each has

func (e *NewerError) Error() string {
	return fmt.Sprintf("the database is at version %d and this program knows up to %d: run the newer program", e.Database, e.Program)
}

// Check returns a [*NewerError] as Migrate does, for who only reads. A database that
// is not migrated yet is none.
func (s Schema) Check(ctx context.Context, pool *pgxpool.Pool) error {
	files, err := s.list()
	if err != nil {
		return err
	}
	var exists bool
	var done int
	err = pool.QueryRow(ctx, `select to_regclass($1) is not null`, s.table()).Scan(&exists)
	if err == nil && exists {
		err = pool.QueryRow(ctx, s.doneSQL()).Scan(&done)
	}
	if err == nil && done > len(files) {
		err = &NewerError{Database: done, Program: len(files)}
	}
	if err != nil {
		return fmt.Errorf("schema %s: %w", s.Name, err)
	}
	return nil
}

func (s Schema) migrate(ctx context.Context, conn *pgx.Conn, files []string) error {
	lock := s.lockKey()
	if _, err := conn.Exec(ctx, `select pg_advisory_lock($1)`, lock); err != nil {
		return err
	}
	defer func() {
		_, _ = conn.Exec(context.WithoutCancel(ctx), `select pg_advisory_unlock($1)`, lock)
	}()
	done, err := s.version(ctx, conn)
	if err != nil {
		return err
	}
	if done > len(files) {
		return &NewerError{Database: done, Program: len(files)}
	}
	for i := done; i < len(files); i++ {
		sql, err := fs.ReadFile(s.Files, files[i])
		if err != nil {
			return err
		}
		err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, string(sql)); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `insert into `+s.table()+` (version, file) values ($1, $2)`, i+1, files[i])
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", files[i], err)
		}
	}
	return nil
}

// version makes the bookkeeping table if it is missing and returns the number
// of files applied. It creates nothing that exists, so a role without the right
// to create may run it on a database that is up to date.
func (s Schema) version(ctx context.Context, conn *pgx.Conn) (int, error) {
	var schemaExists, tableExists bool
	err := conn.QueryRow(ctx, `select to_regnamespace($1) is not null, to_regclass($2) is not null`,
		s.Name, s.table()).Scan(&schemaExists, &tableExists)
	if err != nil {
		return 0, err
	}
	if !schemaExists {
		if _, err := conn.Exec(ctx, `create schema `+pgx.Identifier{s.Name}.Sanitize()); err != nil {
			return 0, err
		}
	}
	if !tableExists {
		_, err := conn.Exec(ctx, `create table `+s.table()+` (
				version int primary key,
				file text not null,
				applied_at timestamptz not null default now()
			)`)
		return 0, err
	}
	var done int
	err = conn.QueryRow(ctx, s.doneSQL()).Scan(&done)
	return done, err
}

// doneSQL asks for the number of files applied.
func (s Schema) doneSQL() string { return `select coalesce(max(version), 0) from ` + s.table() }

func (s Schema) table() string { return pgx.Identifier{s.Name, "migrations"}.Sanitize() }

// lockKey is a number that is the same in every process for the same schema.
func (s Schema) lockKey() int64 {
	h := fnv.New64a()
	h.Write([]byte("config-api migrate " + s.Name))
	return int64(h.Sum64())
}

func (s Schema) list() ([]string, error) {
	files, err := fs.Glob(s.Files, "*.sql")
	if err != nil {
		return nil, err
	}
	for i, file := range files { // Glob sorts
		number, _, _ := strings.Cut(file, "_")
		if n, err := strconv.Atoi(number); err != nil || n != i+1 {
			return nil, fmt.Errorf("migrations of %s: %s should be number %04d", s.Name, file, i+1)
		}
	}
	return files, nil
}
