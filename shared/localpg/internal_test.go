package localpg

import (
	"log/slog"
	"strings"
	"testing"
)

func TestInstallCommand(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		goos, release string
		root          bool
		want          string
	}{
		{"darwin", "", false, "brew install postgresql@17"},
		{"linux", "ID=debian\n", true, "apt-get update && apt-get install -y postgresql"},
		{"linux", "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", false, "sudo apt-get update && sudo apt-get install -y postgresql"},
		{"linux", "NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", false, "sudo dnf install -y postgresql-server"},
		{"linux", "ID=alpine\n", true, "apk add postgresql"},
		{"linux", "ID=plan9\n", true, "see https://www.postgresql.org/download/"},
		{"freebsd", "", true, "see https://www.postgresql.org/download/"},
	} {
		if got := installCommand(test.goos, test.release, test.root); got != test.want {
			t.Errorf("installCommand(%q, %q, root %v) = %q, want %q", test.goos, test.release, test.root, got, test.want)
		}
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	for dir, socket := range map[string]bool{
		"/data/pg": true,
		"/Users/ada/Library/Application Support/config-api/postgres": true,
		"/with, comma":                   false,
		"/" + strings.Repeat("long", 30): false,
	} {
		s := &Server{dir: dir}
		if err := s.chooseAddress(t.Context(), slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		if got := s.host == dir && s.port == socketPort; got != socket || !socket && (s.host != "127.0.0.1" || s.port == 0) {
			t.Errorf("%s: it listens on %s, %d", dir, s.host, s.port)
		}
	}
}
