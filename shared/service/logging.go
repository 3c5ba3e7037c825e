package service

import (
	"io"
	"log/slog"
)

// LogOptions are the options of a process's log.
type LogOptions struct {
	Format string
	Level  string // at the start
	// Var is the level of all loggers that New returns; it may be changed at any
	// time. Without it theirs is Level for ever.
	Var *slog.LevelVar
}

// Bind adds --log-format and --log-level.
func (l *LogOptions) Bind(o *Options, format string) {
	l.Var = new(slog.LevelVar)
	o.OneOf(&l.Format, "log-format", format, "form of the log lines", "json", "text")
	o.OneOf(&l.Level, "log-level", "info", "least level that is logged", "debug", "info", "warn", "error")
}

// New returns a logger that writes to w and names the service on each line.
func (l LogOptions) New(w io.Writer, service string) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l.Level)) // was checked; info otherwise
	options := &slog.HandlerOptions{Level: level}
	if l.Var != nil {
		l.Var.Set(level)
		options.Level = l.Var
	}
	var handler slog.Handler = slog.NewJSONHandler(w, options)
	if l.Format == "text" {
		handler = slog.NewTextHandler(w, options)
	}
	return slog.New(handler).With("service", service)
}
