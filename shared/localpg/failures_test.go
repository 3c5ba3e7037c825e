package localpg_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/localpg"
)

// brokenPostgres is an installation whose programs do what the scripts say.
func brokenPostgres(t *testing.T, initdb, postgres string) (binDir string) {
	t.Helper()
	binDir = newDir(t)
	for name, script := range map[string]string{
		"initdb":   initdb,
		"postgres": "[ \"$1\" = --version ] && echo 'postgres (PostgreSQL) 17.1' && exit\n" + postgres,
	} {
		if err := os.WriteFile(filepath.Join(binDir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return binDir
}

const makesCluster = `mkdir "${1#--pgdata=}"`

func TestPostgresThatDoesNotWork(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ initdb, postgres, want string }{
		"initdb fails":       {"echo no space left >&2; exit 1", "exit 1", "initdb: exit status 1: no space left"},
		"ends at its start":  {makesCluster, "echo could not map memory; exit 1", "postgres ended at its start: could not map memory"},
		"never gets to work": {makesCluster, "trap '' INT; echo recovering; exec sleep 60", "postgres does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			dir := filepath.Join(newDir(t), "pg")
			_, err := localpg.Start(ctx, localpg.Options{
				Dir: dir, BinDirs: []string{brokenPostgres(t, test.initdb, test.postgres)}, Logger: slog.New(slog.DiscardHandler),
			})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "data")); strings.HasPrefix(name, "initdb") && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a cluster that was not made is there: %v", err)
			}
		})
	}
}

// Something else lies where a file of ours should be: it is named, and left alone.
func TestFilesInTheWay(t *testing.T) {
	t.Parallel()
	bin := brokenPostgres(t, makesCluster, "exit 1")
	for file, want := range map[string]string{
		"data/PG_VERSION":      "data directory: ",
		"data/postmaster.pid":  "postgres lock file: ",
		"password":             "the database's password: ",
		"postgres.log/dir":     "postgres log: ",
		"data/is/without/that": "the database's password: ",
	} {
		dir := filepath.Join(newDir(t), "pg")
		if err := os.MkdirAll(filepath.Join(dir, file), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(file, "postgres.log") { // where the last log would go
			if err := os.MkdirAll(filepath.Join(dir, "postgres.log.1", "dir"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		_, err := localpg.Start(t.Context(), localpg.Options{Dir: dir, BinDirs: []string{bin}, Logger: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", file, err, want)
		}
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
