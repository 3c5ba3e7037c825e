package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/config-api/config-api/cmd/configctl/commands"
	"github.com/config-api/config-api/shared/testkit"
	"github.com/config-api/config-api/shared/testkit/contract"
)

// The scripts of testdata/configctl/shared run configctl against one system, each in
// a namespace that is named like it.
func TestConfigctl(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := startSystem(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/configctl/shared", Cmds: scriptCommands, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			setEnv(env, s.url)
			return nil
		},
	})
}

// Those of testdata/configctl/own have a system each, and another that is empty: they
// do what would disturb others.
func TestConfigctlAlone(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/configctl/own", Cmds: scriptCommands, RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			s, other := startSystem(t), newSystem(t)
			other.execute(t, `update eventstore.log_head set (epoch, origin) = (select id, id from gen_random_uuid() as id)`)
			other.start(t)
			setEnv(env, s.url)
			env.Setenv("OTHER", other.url)
			env.Values["system"], env.Values["t"] = s, t
			return nil
		},
	})
}

func setEnv(env *testscript.Env, url string) {
	env.Setenv("CONFIGCTL_SERVER", url)
	env.Setenv("CONFIGCTL_NAMESPACE", strings.TrimPrefix(filepath.Base(env.WorkDir), "script-"))
	env.Setenv("CONFIGCTL_ACTOR", "ann")
	env.Setenv("CONFIGCTL_CONFIG", filepath.Join(env.WorkDir, "config.yaml"))
}

var scriptCommands = map[string]func(*testscript.TestScript, bool, []string){
	// configctl ARGS… [<FILE] must exit with 0.
	"configctl": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("use exits N configctl")
		}
		expect(ts, 0, args)
	},
	// exits N configctl ARGS… [<FILE]
	"exits": func(ts *testscript.TestScript, _ bool, args []string) {
		code, err := strconv.Atoi(args[0])
		ts.Check(err)
		expect(ts, code, args[2:])
	},
	// keep NAME keeps what was printed last as a variable.
	"keep": func(ts *testscript.TestScript, _ bool, args []string) {
		ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
	},
	// background ARGS… runs configctl until finish, which shows what it has printed.
	"background": func(ts *testscript.TestScript, _ bool, args []string) {
		ctx, stop := context.WithCancel(context.Background())
		var out bytes.Buffer
		done := make(chan int, 1)
		go func() { done <- configctl(ctx, ts, args, &out, &out) }()
		ts.Defer(stop)
		ts.SetCmd("finish", func(ts *testscript.TestScript, _ bool, _ []string) {
			code := <-done
			_, err := ts.Stdout().Write(out.Bytes())
			ts.Check(err)
			if code != 0 {
				ts.Fatalf("exit code %d", code)
			}
		})
	},
	// restore POSITION has the log end there, as after a restore from a backup, and waits
	// until the relay has halted.
	"restore": func(ts *testscript.TestScript, _ bool, args []string) {
		s, t := ts.Value("system").(*system), ts.Value("t").(*testing.T)
		position, err := strconv.ParseInt(args[0], 10, 64)
		ts.Check(err)
		s.stop()
		s.restore(t, position)
		s.start(t)
		ts.Setenv("CONFIGCTL_SERVER", s.url)
		testkit.Eventually(t, func() error { // the relay has looked
			if got := contract.New(s.url).Do(t, "GET", "/v1/health", ""); !strings.Contains(got.Body, "the relay has halted") {
				return errors.New(got.Body)
			}
			return nil
		})
	},
	// sql STATEMENT runs it as the owner of the database.
	"sql": func(ts *testscript.TestScript, _ bool, args []string) {
		ts.Value("system").(*system).execute(ts.Value("t").(*testing.T), strings.Join(args, " "))
	},
	// manylines FILE N makes a file of N lines like n7=7.
	"manylines": func(ts *testscript.TestScript, _ bool, args []string) {
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "n%d=%d\n", i, i)
		}
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o600))
	},
}

func expect(ts *testscript.TestScript, want int, args []string) {
	if got := configctl(context.Background(), ts, args, ts.Stdout(), ts.Stderr()); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// configctl runs a command line in this process. A last argument <FILE is its standard
// input.
func configctl(ctx context.Context, ts *testscript.TestScript, args []string, out, err io.Writer) int {
	in := ""
	if last := len(args) - 1; last >= 0 && strings.HasPrefix(args[last], "<") {
		in, args = ts.ReadFile(args[last][1:]), args[:last]
	}
	return commands.Main(ctx, args, commands.Streams{In: strings.NewReader(in), Out: out, Err: err, Env: ts.Getenv})
}
