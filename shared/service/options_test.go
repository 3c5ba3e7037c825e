package service_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/service"
)

// settings are one option of each kind.
type settings struct {
	name, password, format string
	workers                int
	quiet                  bool
	wait                   time.Duration
}

func (s *settings) parse(args, environ []string) (printed string, err error) {
	o := service.NewOptions("demo", "a program for tests")
	o.String(&s.name, "given-name", "nobody", "who it is for", service.Required)
	o.String(&s.password, "password", "", "a secret", service.Secret)
	o.OneOf(&s.format, "format", "json", "form of it", "json", "text")
	o.Int(&s.workers, "workers", 4, 1, 64, "how many work")
	o.Bool(&s.quiet, "quiet", false, "say less")
	o.Duration(&s.wait, "wait", 30*time.Second, "how long to wait")
	var out strings.Builder
	err = o.Parse(args, environ, &out)
	return out.String(), err
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// It changes the working directory, so it can't run beside others.
func TestWhereAnOptionComesFrom(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, ".env", "# ours\nGIVEN_NAME=dotenv\nPASSWORD=\"dot env\"\n")
	file := write(t, filepath.Join(t.TempDir(), "name"), "file\n")
	environ := []string{"GIVEN_NAME_FILE=" + file, "GIVEN_NAME=environment"}
	for _, test := range []struct {
		args, environ []string
		want          string
	}{
		{[]string{"--given-name", "flag"}, environ, "flag"},
		{nil, environ, "environment"},
		{nil, environ[:1], "file"},
		{nil, []string{"GIVEN_NAME_FILE="}, "dotenv"},
	} {
		var s settings
		if _, err := s.parse(test.args, test.environ); err != nil || s.name != test.want {
			t.Errorf("%v, %v: got %q, %v, want %q", test.args, test.environ, s.name, err, test.want)
		}
		if s.password != "dot env" || s.workers != 4 || s.wait != 30*time.Second {
			t.Errorf("the others: %+v", s)
		}
	}

	for _, broken := range []string{"GIVEN_NAME=x\nPASSWORD='hunter2\n", "hunter2 hunter2\n"} {
		write(t, ".env", broken)
		_, err := new(settings).parse(nil, nil)
		if err == nil || !strings.Contains(err.Error(), ".env") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a broken .env: error %v, want one that names the file and no secret", err)
		}
	}
	if err := errors.Join(os.Remove(".env"), os.Mkdir(".env", 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := new(settings).parse(nil, nil); err == nil || !strings.Contains(err.Error(), ".env") {
		t.Errorf("a .env that can't be read: error %v", err)
	}
}

func TestEachKindOfOption(t *testing.T) {
	t.Parallel()
	var s settings
	_, err := s.parse([]string{"-given-name=ann", "--format=text", "--workers", "64", "--quiet=true", "--wait", "5m"}, []string{"PASSWORD=hunter2"})
	if want := (settings{"ann", "hunter2", "text", 64, true, 5 * time.Minute}); err != nil || s != want {
		t.Errorf("got %+v, %v, want %+v", s, err, want)
	}
}

func TestAllFaultsAreNamedAtOnce(t *testing.T) {
	t.Parallel()
	printed, err := new(settings).parse([]string{"--workers", "65", "--wait=-1s"},
		[]string{"GIVEN_NAME=", "FORMAT=xml", "QUIET=perhaps", "PASSWORD_FILE=/nowhere/password"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`--given-name (GIVEN_NAME): is required`,
		`--password (PASSWORD): open /nowhere/password`,
		`--format (FORMAT): "xml": use one of json, text`,
		`--workers (WORKERS): "65": use a whole number from 1 to 64`,
		`--quiet (QUIET): "perhaps": use true or false`,
		`--wait (WAIT): "-1s": use a duration like`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
	if printed != "" {
		t.Errorf("it printed %q", printed)
	}
}

func TestArgumentsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--lisen x":    "lisen",
		"start":        `unexpected argument "start"`,
		"--given-name": "given-name",
		"--workers=x":  `"x": use a whole number`,
		"--wait=soon":  `"soon": use a duration`,
	} {
		if _, err := new(settings).parse(strings.Fields(args), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", args, err, want)
		}
	}
}

func TestWhatIsPrintedOnDemand(t *testing.T) {
	t.Parallel()
	environ := []string{"PASSWORD=hunter2"}
	for args, wants := range map[string][]string{
		"--help": {
			"demo: a program for tests", "--given-name", "GIVEN_NAME", "(required)", "PASSWORD_FILE", "form of it (json, text) (default json)",
			"--workers", "(default 4)", "--quiet", "--wait", "--print-options", "--version",
		},
		"-h":              {"--given-name"},
		"--version":       {"demo " + service.Version()},
		"--print-options": {"GIVEN_NAME=nobody\n", "PASSWORD=(hidden)\n", "WORKERS=4\n", "WAIT=30s\n"},
	} {
		printed, err := new(settings).parse([]string{args}, environ)
		if !errors.Is(err, service.ErrHelp) {
			t.Errorf("%s: error %v, want ErrHelp", args, err)
		}
		for _, want := range wants {
			if !strings.Contains(printed, want) {
				t.Errorf("%s lacks %q:\n%s", args, want, printed)
			}
		}
		if strings.Contains(printed, "hunter2") {
			t.Errorf("%s shows the password:\n%s", args, printed)
		}
	}
	if printed, err := new(settings).parse([]string{"--print-options"}, nil); !strings.Contains(printed, "PASSWORD=\n") {
		t.Errorf("a secret that nobody gave should be seen to be empty: %v\n%s", err, printed)
	}
	// Else a check of the options in a script would pass.
	printed, err := new(settings).parse([]string{"--print-options", "--workers=0"}, nil)
	if errors.Is(err, service.ErrHelp) || err == nil || !strings.Contains(err.Error(), "--workers") || !strings.Contains(printed, "WORKERS=0\n") {
		t.Errorf("options with a fault: error %v, printed\n%s", err, printed)
	}
}

// A secret with a fault is not shown by the error either.
func TestSecretsStayOutOfErrors(t *testing.T) {
	t.Parallel()
	_, err := new(settings).parse([]string{"--workers=none", "--password"}, []string{"PASSWORD=hunter2"})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
}
