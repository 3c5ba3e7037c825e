// Package commands is configctl: what a person does every day with a Config API,
// over HTTP.
package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/config-api/config-api/shared/client"
)

// Streams are what a command line is run with.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Env      func(string) string
}

// cli is what all commands share: where they print to, and the flags that all
// have.
type cli struct {
	Streams
	began   bool // a command was found, and its flags and arguments make sense
	server  string
	where   string // the URL in use, for messages
	flags   flags
	changed func(flag string) bool // was it given
	stop    context.CancelFunc
}

// flags are those of all commands.
type flags struct {
	context, namespace, actor, format string
	eventual                          bool
	timeout                           time.Duration
}

// long marks commands that take as long as they take.
var long = map[string]string{"long": ""}

const about = `configctl reads and changes configs over the HTTP API.

What is not said with a flag is taken from the environment (CONFIGCTL_SERVER,
CONFIGCTL_NAMESPACE, CONFIGCTL_ACTOR, CONFIGCTL_CONTEXT), then from the context in
use (configctl context), then it is http://127.0.0.1:4000 and the namespace
default. NO_COLOR turns colours off.

Times are written as people do: 2026-11-24T14:00:00Z, "2026-11-24 14:00", 14:00,
today, "yesterday 14:00", "2h ago", "3 days ago", in the time zone of this machine;
a number is a position of the log.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 conflict (somebody else
has changed it, or the state forbids it), 5 unavailable (try again).`

// Main runs a command line and returns its exit code.
func Main(ctx context.Context, args []string, s Streams) int {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c := &cli{Streams: s, stop: stop}
	root := c.root()
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	c.stop()
	if err == nil {
		return codeDone
	}
	if !c.began {
		err = usagef("%w", err)
	}
	if errors.Is(err, context.Canceled) {
		err = fmt.Errorf("interrupted: %w", err)
	}
	fmt.Fprintln(c.Err, "configctl:", err)
	code := exitCode(err)
	if hint := c.hint(err, command.CommandPath()); hint != "" {
		fmt.Fprintln(c.Err, "  "+hint)
	}
	return code
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use: "configctl", Short: "the command line of Config API", Long: about,
		Example:      "  configctl set motd \"hello\"\n  configctl get motd",
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return c.begin(cmd) },
	}
	root.SetIn(c.In)
	root.SetOut(c.Out)
	root.SetErr(c.Err)
	f := root.PersistentFlags()
	f.StringVar(&c.server, "server", "", "URL of the API")
	f.StringVarP(&c.flags.namespace, "namespace", "n", "", "namespace")
	f.StringVar(&c.flags.context, "context", "", "named context to take server, namespace and actor from")
	f.StringVar(&c.flags.actor, "actor", "", "who makes the change (default $USER@host)")
	f.StringVarP(&c.flags.format, "format", "o", "", "output: table, json, yaml or value")
	f.BoolVar(&c.flags.eventual, "eventual", false, "read what the service has, also if it is behind")
	f.DurationVar(&c.flags.timeout, "timeout", 30*time.Second, "how long to wait for answers; 0 is for ever")
	_ = root.RegisterFlagCompletionFunc("namespace", c.completeNamespaces)
	_ = root.RegisterFlagCompletionFunc("context", c.completeContexts)
	_ = root.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"table", "json", "yaml", "value"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(
		c.get(), c.set(), c.delete(), c.list(), c.history(), c.diff(), c.revert(), c.copy(), c.watch(), c.audit(),
		c.apply(), c.export(), c.imports(), c.schema(), c.verify(), c.check(), c.rebuild(), c.recovery(), c.parked(), c.status(),
		c.bench(), c.contexts(), c.version(),
	)
	root.InitDefaultCompletionCmd("completion") // it is there only if it is asked for
	return root
}

// begin is called when a command's flags and arguments make sense.
func (c *cli) begin(cmd *cobra.Command) error {
	c.changed = cmd.Flags().Changed
	if err := c.checkFormat(); err != nil {
		return err
	}
	if _, is := cmd.Annotations["long"]; !is && c.flags.timeout > 0 {
		ctx, stop := context.WithTimeout(cmd.Context(), c.flags.timeout)
		c.stop = stop
		cmd.SetContext(ctx)
	}
	c.began = true
	return nil
}

// group is a command that only has others below it.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usagef("%s needs a command: %s --help shows them", cmd.CommandPath(), cmd.CommandPath())
		},
	}
	for _, b := range below {
		cmd.Example += b.Example + "\n"
	}
	cmd.Example = cmd.Example[:max(0, len(cmd.Example)-1)]
	cmd.AddCommand(below...)
	return cmd
}

// note tells a person something beside the answer; a script that asked for a
// format is left alone.
func (c *cli) note(format string, args ...any) {
	if !c.changed("format") {
		fmt.Fprintf(c.Err, format+"\n", args...)
	}
}

// reads are the options of every read: a person who has just written expects to
// read it.
func (c *cli) reads(more ...client.ReadOption) []client.ReadOption {
	if !c.flags.eventual {
		more = append(more, client.Strong())
	}
	return more
}
