package commands

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
)

// The exit codes. Scripts rely on them: they never change.
const (
	codeDone = iota
	codeFailed
	codeUsage
	codeNotFound
	codeConflict
	codeUnavailable
)

// usageError means that the command line makes no sense.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitCode sorts an error into what a script can act on.
func exitCode(err error) int {
	var usage usageError
	var answered *client.Error
	switch {
	case errors.As(err, &usage):
		return codeUsage
	case errors.As(err, &answered):
		return codeOf(answered)
	case errors.Is(err, context.DeadlineExceeded), unreachable(err):
		return codeUnavailable
	}
	return codeFailed
}

func codeOf(e *client.Error) int {
	switch e.Code {
	case config.NotFound, config.Gone:
		return codeNotFound
	case config.Conflict, config.PreconditionFailed, config.EpochMismatch, config.KeyReused:
		return codeConflict
	case config.Unavailable, config.TooManyRequests:
		return codeUnavailable
	}
	switch e.Status { // of something between
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return codeUnavailable
	}
	return codeFailed
}

// unreachable reports whether there was no answer at all.
func unreachable(err error) bool {
	var op *net.OpError
	var address *url.Error
	return errors.As(err, &op) || errors.As(err, &address) && !errors.Is(err, context.Canceled)
}

// hint says what to do next, or nothing.
func (c *cli) hint(err error, command string) string {
	if errors.Is(err, context.Canceled) {
		return ""
	}
	var usage usageError
	var answered *client.Error
	switch {
	case errors.As(err, &usage):
		return command + " --help shows how, with an example"
	case errors.As(err, &answered):
		return c.hintOf(answered, command)
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time from " + c.where + ": configctl status says what is slow or down, --timeout waits longer"
	case unreachable(err):
		return "is Config API running at " + c.where + "? --server, CONFIGCTL_SERVER or configctl context say where it is"
	}
	return ""
}

func (c *cli) hintOf(e *client.Error, command string) string {
	where := ""
	if c.flags.namespace != "" {
		where = "-n " + c.flags.namespace + " "
	}
	if e.Code == config.PreconditionFailed && len(e.Conflicts) > 0 && command != "configctl apply" {
		now := e.Conflicts[0]
		if now.Deleted || now.Version == 0 {
			return fmt.Sprintf("it has no value now: configctl history %s%s shows why, --if-version 0 sets it", where, now.Name)
		}
		return fmt.Sprintf("look at it with configctl get %s%s, then write with --if-version %d", where, now.Name, now.Version)
	}
	switch e.Code {
	case config.NotFound:
		return notFound(command, where)
	case config.Gone:
		return "it was deleted: configctl history shows when and by whom, get --at reads what was before"
	case config.EpochMismatch:
		return "the log was restored from a backup: read again, positions of before mean nothing now"
	case config.SchemaViolation:
		return "configctl schema list shows what values must be like"
	case config.Unavailable, config.TooManyRequests:
		return "try again; configctl status says what is down or behind, --eventual reads what there is"
	case config.Internal, "":
		if e.RequestID != "" {
			return "the services' logs have more under request_id " + e.RequestID
		}
	}
	return ""
}

// notFound says where to look for what is not there.
func notFound(command, where string) string {
	switch {
	case strings.HasPrefix(command, "configctl schema"):
		return "configctl schema list " + where + "shows the patterns"
	case strings.HasPrefix(command, "configctl rebuild"):
		return "configctl rebuild start begins one"
	case command == "configctl revert":
		return "configctl audit " + where + "-o json shows correlation ids"
	}
	return "configctl list " + where + "shows what there is, configctl list --namespaces where"
}
