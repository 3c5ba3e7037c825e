// Command configctl is the command line of Config API, over HTTP.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/config-api/config-api/cmd/configctl/commands"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := commands.Main(ctx, os.Args[1:], commands.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Getenv})
	stop()
	os.Exit(code)
}
