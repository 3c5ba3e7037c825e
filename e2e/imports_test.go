package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/config-api/config-api/shared/testkit"
)

const root = "github.com/config-api/config-api/"

// rule says what a group of packages may not reach, and why.
type rule struct {
	who     []string // packages, without root; "/..." is all below
	except  []string
	direct  bool     // only what they import themselves counts
	never   []string // packages or modules, "/..." as above
	only    []string // instead of never: nothing else outside the standard library
	because string
}

var rules = []rule{
	{
		who: []string{root + "shared/config"}, only: []string{},
		because: "the domain is pure: it can be read, tested and reasoned about without anything else",
	},
	{
		who: []string{root + "shared/client"}, only: []string{root + "shared/config"},
		because: "users of the client must not get our libraries with it",
	},
	{
		who: []string{root + "shared/check"}, only: []string{root + "shared/config", root + "shared/client"},
		because: "who checks the system must not use its own way to the data",
	},
	{
		who: []string{root + "cmd/configctl/..."},
		only: []string{
			root + "cmd/configctl/commands", root + "shared/config", root + "shared/client", root + "shared/check",
			// What a terminal needs: commands and their completion, YAML, progress bars.
			"github.com/spf13/cobra", "github.com/spf13/pflag", "go.yaml.in/yaml/v3", "golang.org/x/term", "golang.org/x/sys/unix",
			"github.com/schollz/progressbar/v3", "github.com/mitchellh/colorstring", "github.com/rivo/uniseg",
		},
		because: "the command line speaks HTTP, as every client does: no driver of a database or of NATS",
	},
	{
		who: []string{root + "services/command/..."}, never: []string{root + "shared/readmodel"},
		because: "the write side must not decide by what may be behind; it reads the log",
	},
	{
		who:   []string{root + "services/query/...", root + "services/projector/..."},
		never: []string{root + "shared/eventlog"}, because: "the read side knows the log only by its feed, so that it can live elsewhere",
	},
	{
		who: []string{root + "services/command/..."}, never: []string{root + "services/query/...", root + "services/projector/..."},
		because: "services are apart: they meet in the log, in the feed and in the read tables",
	},
	{
		who: []string{root + "services/query/..."}, never: []string{root + "services/command/...", root + "services/projector/..."},
		because: "services are apart: they meet in the log, in the feed and in the read tables",
	},
	{
		who: []string{root + "services/projector/..."}, never: []string{root + "services/command/...", root + "services/query/..."},
		because: "services are apart: they meet in the log, in the feed and in the read tables",
	},
	{
		who: []string{root + "..."}, except: []string{root + "services/...", root + "cmd/configd"}, never: []string{root + "services/..."},
		because: "configd alone is all services in one process",
	},
	{
		who: []string{root + "..."}, direct: true, never: []string{"github.com/jackc/pgx/v5/..."},
		except: []string{
			root + "shared/eventlog", root + "shared/readmodel", root + "shared/pg", root + "shared/service", root + "shared/localpg",
			root + "services/command", root + "services/query", root + "services/projector", root + "shared/testkit/...",
		},
		because: "SQL stays beside the tables that it is for; the services only hold the pools",
	},
	{
		who: []string{root + "..."}, direct: true, never: []string{"github.com/nats-io/..."},
		except: []string{
			root + "shared/feed", root + "shared/service", root + "shared/testkit", root + "cmd/configd",
			root + "services/command", root + "services/query", root + "services/projector",
		},
		because: "the feed package alone knows how events lie in JetStream",
	},
	{
		who: []string{root + "..."}, direct: true, never: []string{"github.com/labstack/echo/..."},
		except:  []string{root + "shared/service", root + "services/command", root + "services/query", root + "services/projector"},
		because: "echo stays at the outermost layer, so that its next major version is a day's work",
	},
	{
		who: []string{root + "shared/stats"}, only: []string{},
		because: "whoever is counted must not get a library of metrics with it",
	},
	{
		who: []string{root + "..."}, direct: true, never: []string{"github.com/prometheus/..."}, except: []string{root + "shared/service"},
		because: "how figures are shown is decided in one place; the others only have them",
	},
	{
		who: []string{root + "..."}, direct: true, never: []string{"go.opentelemetry.io/..."}, except: []string{root + "shared/tracing"},
		because: "how spans are made is decided in one place, which is off by default",
	},
	{
		who: []string{root + "..."}, except: []string{root + "shared/testkit/..."}, never: []string{root + "shared/testkit/...", "testing"},
		because: "what is for tests must not be in a program",
	},
}

// goPackage is what go list says of a package, without its tests.
type goPackage struct {
	ImportPath    string
	Standard      bool
	Imports, Deps []string
}

func TestImportRules(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	packages := map[string]goPackage{}
	for _, p := range goList(t) {
		packages[p.ImportPath] = p
	}
	for _, r := range rules {
		for path, p := range packages {
			if !matches(path, r.who) || matches(path, r.except) {
				continue
			}
			reached := p.Deps
			if r.direct {
				reached = p.Imports
			}
			for _, dep := range reached {
				forbidden := matches(dep, r.never)
				if r.only != nil {
					forbidden = !packages[dep].Standard && !matches(dep, r.only)
				}
				if forbidden && dep != path {
					t.Errorf("%s imports %s: %s", path, dep, r.because)
				}
			}
		}
	}
}

// A rule about a package that is no longer there, or that has moved, would hold
// for ever.
func TestImportRulesAreAboutSomething(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	packages := goList(t)
	for _, r := range rules {
		for _, pattern := range slices.Concat(r.who, r.except, r.never, r.only) {
			if !slices.ContainsFunc(packages, func(p goPackage) bool { return matches(p.ImportPath, []string{pattern}) }) {
				t.Errorf("there is no package %s", pattern)
			}
		}
	}
}

// matches says whether a package is among the patterns.
func matches(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		tree, all := strings.CutSuffix(pattern, "/...")
		return path == tree || all && strings.HasPrefix(path, tree+"/")
	})
}

// listed holds all packages of the workspace and all that they reach.
var listed = sync.OnceValues(func() ([]goPackage, error) {
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Imports,Deps",
		"./shared/...", "./services/command/...", "./services/query/...", "./services/projector/...", "./cmd/...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w %s", err, stderr(err))
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
})

func goList(t *testing.T) []goPackage {
	t.Helper()
	packages, err := listed()
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

func stderr(err error) []byte {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.Stderr
	}
	return nil
}

// machinePaths are places that only one machine has: a home directory, a
// checkout, somebody's temporary files.
var machinePaths = regexp.MustCompile(`(^|[\s"'=(:])(/work/|/home/[a-z]+/|/Users/[A-Za-z]+/|/root/[a-z]|/tmp/[a-z])`)

// known are those that are everybody's.
var known = []string{
	"/home/ada", "/Users/ada", // the user in tests
	"/home/linuxbrew/",      // where Homebrew always is
	"/root/.cache/go-build", // inside the build's container
}

func TestNoFileNamesAMachinePath(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("not a git checkout: %v %s", err, stderr(err))
	}
	files := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	for _, name := range files {
		if name == "e2e/imports_test.go" {
			continue
		}
		text, err := os.ReadFile("../" + name)
		if errors.Is(err, os.ErrNotExist) { // deleted, not yet committed
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			for _, place := range known {
				line = strings.ReplaceAll(line, place, "")
			}
			if machinePaths.MatchString(line) {
				t.Errorf("%s:%d names a path of one machine: %s", name, i+1, strings.TrimSpace(line))
			}
		}
	}
	if len(files) < 50 {
		t.Errorf("only %d files were looked at", len(files))
	}
}
