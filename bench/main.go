// Command bench measures Config API and its peers in one run, on one machine, with
// one load generator, and prints what came out as a page in Markdown.
//
// Every system is a process of its own and waits for the disk before it answers a
// write. The systems take turns, round after round, so that what else the machine
// does hits them alike; a figure is the median over the rounds, and a ratio is the
// median of the rounds' ratios.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// options of a run.
type options struct {
	configd string // the program
	out     string
	only    string
	rounds  int
	span    time.Duration // of one measurement
	clients []int
	large   int // events of the long log
	names   int // in the memory of the query service
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

func run(ctx context.Context) error {
	if len(os.Args) == 4 && os.Args[1] == "serve" {
		return serve(ctx, os.Args[2], os.Args[3])
	}
	o := options{clients: []int{1, 16, 64, 256}, large: 1_000_000, names: 1_000_000}
	quick := flag.Bool("quick", false, "one short round of all: a test that it works, no figures to keep")
	flag.StringVar(&o.configd, "bin", filepath.Join("..", "bin"), "directory of configd and the services")
	flag.StringVar(&o.out, "out", "", "file to write the page to")
	flag.StringVar(&o.only, "only", "", "the parts to run, separated by commas: "+strings.Join(partNames(), ", "))
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each measurement")
	flag.DurationVar(&o.span, "span", 3*time.Second, "how long one measurement takes")
	flag.Func("clients", "numbers of clients, separated by commas (default 1,16,64,256)", func(text string) error {
		o.clients = nil
		for field := range strings.SplitSeq(text, ",") {
			n, err := strconv.Atoi(field)
			if err != nil || n < 1 {
				return errors.New("use numbers from 1 on")
			}
			o.clients = append(o.clients, n)
		}
		return nil
	})
	flag.Parse()
	if *quick {
		o.rounds, o.span, o.clients, o.large, o.names = 1, 200*time.Millisecond, []int{1, 16}, 20_000, 20_000
	}
	dir, err := os.MkdirTemp("", "config-api-bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// Postgres runs as another user where we are root.
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // nothing secret is in it
		return err
	}
	b := &bench{options: o, dir: dir, logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	defer b.stop()
	for _, p := range parts {
		if o.only != "" && !slices.Contains(strings.Split(o.only, ","), p.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format("15:04:05"), p.name)
		if err := p.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	page := b.page()
	if _, err := os.Stdout.WriteString(page); err != nil {
		return err
	}
	if o.out != "" {
		return os.WriteFile(o.out, []byte(page), 0o644) //nolint:gosec // to be read by everybody
	}
	return nil
}

// part is one table of the page.
type part struct {
	name string
	run  func(context.Context, *bench) error
}

var parts = []part{
	{"put", puts}, {"get", gets}, {"latency", latencies}, {"prefix", prefixes}, {"append", appends}, {"past", pasts}, {"memory", memory},
}

func partNames() []string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

var errStopped = errors.New("stopped")
