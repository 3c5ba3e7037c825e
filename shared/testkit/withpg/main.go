// Command withpg runs another command with a private Postgres: it starts the
// server, sets TEST_DATABASE_URL, and stops it when the command has ended. With
// -durable the server waits for the disk, as one that matters does: benchmarks
// want that, tests don't.
//
//	go run ./shared/testkit/withpg -durable -- go test -bench=. ./...
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/config-api/config-api/shared/testkit"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "withpg:", err)
	}
	os.Exit(code)
}

// run returns the command's exit code.
func run(args []string) (int, error) {
	flags := flag.NewFlagSet("withpg", flag.ContinueOnError)
	durable := flags.Bool("durable", false, "wait for the disk at every commit")
	if err := flags.Parse(args); err != nil {
		return 2, err
	}
	args = flags.Args()
	if len(args) == 0 {
		return 2, errors.New("usage: withpg [-durable] -- command [argument…]")
	}
	url, err := testkit.StartPrivatePostgres(*durable)
	if err != nil {
		return 1, err
	}
	// Ctrl-C reaches the command too; this process waits for what it does. It does
	// not ignore the signal, which the command would inherit.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "TEST_DATABASE_URL="+url)
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(1, exit.ExitCode()), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}
