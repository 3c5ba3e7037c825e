// Command configctl reads and writes configs over the HTTP API.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

const usage = `configctl reads and writes configs over the HTTP API.

  configctl [--server URL] COMMAND [ARGUMENT…]

Commands
  get NAME          print the value (--at TIME: the value then, RFC 3339)
  set NAME VALUE    set it; the VALUE - is read from standard input
  delete NAME       delete it
  list              print all names and values, one a line
  history NAME      print every change, oldest first
  version           print the version of this program

  --server URL      where the API is; default $CONFIGCTL_SERVER, otherwise
                    http://127.0.0.1:4000

Exit status: 0 done, 1 refused or failed, 2 wrong usage.
`

// errUsage means that the command line makes no sense.
var errUsage = errors.New("wrong usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout)
	stop()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "configctl:", err)
	if errors.Is(err, errUsage) {
		fmt.Fprintln(os.Stderr, "configctl --help shows the commands")
		os.Exit(2)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout io.Writer) error {
	server := getenv("CONFIGCTL_SERVER")
	if server == "" {
		server = "http://127.0.0.1:4000"
	}
	flags := flag.NewFlagSet("configctl", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&server, "server", server, "")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		_, err := io.WriteString(stdout, usage)
		return err
	} else if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if flags.NArg() == 0 {
		return fmt.Errorf("%w: no command", errUsage)
	}
	c := client{server: server, stdin: stdin, stdout: stdout}
	command, args := flags.Arg(0), flags.Args()[1:]
	switch {
	case command == "get" && len(args) == 1:
		return c.get(ctx, args[0], "")
	case command == "get" && len(args) == 3 && args[0] == "--at":
		return c.get(ctx, args[2], args[1])
	case command == "get" && len(args) == 3 && args[1] == "--at":
		return c.get(ctx, args[0], args[2])
	case command == "set" && len(args) == 2:
		return c.set(ctx, args[0], args[1])
	case command == "delete" && len(args) == 1:
		return c.delete(ctx, args[0])
	case command == "list" && len(args) == 0:
		return c.list(ctx)
	case command == "history" && len(args) == 1:
		return c.history(ctx, args[0])
	case command == "version" && len(args) == 0:
		_, err := fmt.Fprintln(stdout, version())
		return err
	case command == "help":
		_, err := io.WriteString(stdout, usage)
		return err
	default:
		return fmt.Errorf("%w: %s with %d arguments", errUsage, command, len(args))
	}
}

// version is what the build says about itself.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
