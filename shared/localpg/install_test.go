package localpg

import "testing"

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
