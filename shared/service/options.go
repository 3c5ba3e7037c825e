// Package service is what every process of Config API does: options from flags
// and the environment, logs, HTTP with one table of errors, health, and to run
// and stop.
package service

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/joho/godotenv"
)

// ErrHelp says that the arguments asked for something to be printed, which was
// done: the process should end with success.
var ErrHelp = errors.New("help was asked for")

// Options binds a process's options to flags and to environment variables of
// the same name: --nats-url is NATS_URL. A flag wins over the environment, that
// over NAME_FILE (a file that holds the value, for secrets), that over a .env
// file in the working directory, and that over the default.
type Options struct {
	program, about string
	options        []*option
}

type option struct {
	name, def, help string
	secret          bool
	required        bool
	set             func(string) error
	value           string // as text, once parsed
}

// Kind says how an option is treated.
type Kind int

const (
	// Secret options are never printed, and can come from NAME_FILE.
	Secret Kind = 1 << iota
	// Required options have no default and must be given.
	Required
)

// NewOptions returns the options of a program; about is a sentence for --help.
func NewOptions(program, about string) *Options { return &Options{program: program, about: about} }

// String binds a text.
func (o *Options) String(dst *string, name, def, help string, kinds ...Kind) {
	o.add(name, def, help, kinds, func(s string) error { *dst = s; return nil })
}

// OneOf binds a text that must be one of the choices.
func (o *Options) OneOf(dst *string, name, def, help string, choices ...string) {
	o.add(name, def, help+" ("+strings.Join(choices, ", ")+")", nil, func(s string) error {
		if !slices.Contains(choices, s) {
			return fmt.Errorf("use one of %s", strings.Join(choices, ", "))
		}
		*dst = s
		return nil
	})
}

// Int binds a whole number from least to most.
func (o *Options) Int(dst *int, name string, def, least, most int, help string) {
	o.add(name, strconv.Itoa(def), help, nil, func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return fmt.Errorf("use a whole number from %d to %d", least, most)
		}
		*dst = n
		return nil
	})
}

// Bool binds true or false.
func (o *Options) Bool(dst *bool, name string, def bool, help string) {
	o.add(name, strconv.FormatBool(def), help, nil, func(s string) error {
		b, err := strconv.ParseBool(s)
		if err != nil {
			return errors.New("use true or false")
		}
		*dst = b
		return nil
	})
}

// Duration binds a duration like 30s.
func (o *Options) Duration(dst *time.Duration, name string, def time.Duration, help string) {
	o.add(name, def.String(), help, nil, func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return errors.New("use a duration like 500ms, 30s or 5m")
		}
		*dst = d
		return nil
	})
}

func (o *Options) add(name, def, help string, kinds []Kind, set func(string) error) {
	opt := &option{name: name, def: def, help: help, set: set}
	for _, k := range kinds {
		opt.secret = opt.secret || k&Secret != 0
		opt.required = opt.required || k&Required != 0
	}
	o.options = append(o.options, opt)
}

func (o *option) variable() string { return strings.ToUpper(strings.ReplaceAll(o.name, "-", "_")) }

// Parse sets every option, or returns an error that names all faults at once.
// environ is in the form of [os.Environ]. For --help, --version and
// --print-options it prints to out and returns [ErrHelp].
func (o *Options) Parse(args, environ []string, out io.Writer) error {
	dotenv, err := godotenv.Read(".env")
	var unreadable *fs.PathError
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist):
	case errors.As(err, &unreadable):
		return err
	default: // the parser's error quotes the file, which may hold secrets
		return errors.New(".env can't be read: write NAME=value on each line, with quotes in pairs")
	}
	env := map[string]string{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	flags := flag.NewFlagSet(o.program, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are returned and help is our own
	given := map[string]string{}
	for _, opt := range o.options {
		flags.Func(opt.name, "", func(s string) error { given[opt.name] = s; return nil })
	}
	var show, version bool
	flags.BoolVar(&show, "print-options", false, "")
	flags.BoolVar(&version, "version", false, "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		o.printHelp(out)
		return ErrHelp
	case err != nil:
		return fmt.Errorf("%w (see %s --help)", err, o.program)
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q (see %s --help)", flags.Arg(0), o.program)
	case version:
		fmt.Fprintln(out, o.program, Version())
		return ErrHelp
	}
	var faults []error
	for _, opt := range o.options {
		if err := opt.resolve(given, env, dotenv); err != nil {
			faults = append(faults, fmt.Errorf("--%s (%s): %w", opt.name, opt.variable(), err))
		}
	}
	if show {
		o.print(out)
		if len(faults) == 0 {
			return ErrHelp
		}
	}
	return errors.Join(faults...)
}

func (o *option) resolve(given, env, dotenv map[string]string) error {
	value, ok := given[o.name]
	if !ok {
		value, ok = env[o.variable()]
	}
	if file := env[o.variable()+"_FILE"]; !ok && file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		value, ok = strings.TrimSpace(string(text)), true
	}
	if !ok {
		value, ok = dotenv[o.variable()]
	}
	if !ok {
		value = o.def
	}
	o.value = value
	if value == "" && o.required {
		return errors.New("is required")
	}
	if err := o.set(value); err != nil {
		if o.secret {
			return err
		}
		return fmt.Errorf("%q: %w", value, err)
	}
	return nil
}

func (o *Options) printHelp(out io.Writer) {
	fmt.Fprintf(out, "%s: %s\n\nOptions, as flags or environment variables (or in a .env file):\n\n", o.program, o.about)
	for _, opt := range o.options {
		note := ""
		switch {
		case opt.required:
			note = " (required)"
		case opt.def != "":
			note = " (default " + opt.def + ")"
		}
		if opt.secret {
			note += fmt.Sprintf(" [or a file: %s_FILE]", opt.variable())
		}
		fmt.Fprintf(out, "  --%-22s %-22s %s%s\n", opt.name, opt.variable(), opt.help, note)
	}
	fmt.Fprint(out, "\n  --print-options        show what the options are, secrets hidden, and end\n  --version              show the version and end\n")
}

func (o *Options) print(out io.Writer) {
	for _, opt := range o.options {
		value := opt.value
		if opt.secret && value != "" {
			value = "(hidden)"
		}
		fmt.Fprintf(out, "%s=%s\n", opt.variable(), value)
	}
}
