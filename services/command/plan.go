package command

import (
	"bytes"
	"context"
	"maps"
	"slices"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
)

// planned is one change that brings a config from what it is now to what it
// should be. It expects the config to be still at the version that it was
// planned from, so a plan that was overtaken is refused and made anew.
type planned struct {
	Name string
	From config.State // now
	To   config.State // live with a value, or not there
}

// plan compares what names are now with what they should be. Names that are
// alike in both are left out; the order is by name.
func plan(now, wanted map[string]config.State, names []string) []planned {
	var changes []planned
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		from, to := now[name], wanted[name]
		if from.Live() == to.Live() && bytes.Equal(from.Value, to.Value) {
			continue
		}
		changes = append(changes, planned{Name: name, From: from, To: to})
	}
	return changes
}

// change is the planned change as part of a change set.
func (p planned) change() config.Change {
	version := p.From.Version
	c := config.Change{Op: config.Delete, Name: p.Name, Expected: &version}
	if p.To.Live() {
		c.Op, c.Value = config.Set, p.To.Value
	}
	return c
}

// planRevert plans to bring a namespace, or some names of it, back to what it
// was at a position.
func planRevert(ctx context.Context, log *eventlog.Log, namespace string, names []string, position int64) ([]planned, error) {
	head, err := log.Head(ctx)
	if err != nil {
		return nil, err
	}
	if names == nil {
		if names, err = log.ChangedSince(ctx, namespace, position); err != nil {
			return nil, err
		}
	}
	past, err := log.States(ctx, namespace, names, position)
	if err != nil {
		return nil, err
	}
	now, err := log.States(ctx, namespace, names, head.Position)
	if err != nil {
		return nil, err
	}
	return plan(now, past, names), nil
}

// planUndo plans to take one change set back. A config that was changed again
// since is a conflict: taking the set back would lose that later change.
func planUndo(ctx context.Context, log *eventlog.Log, namespace, correlationID string) ([]planned, error) {
	set, err := log.ChangeSet(ctx, namespace, correlationID)
	if err != nil {
		return nil, err
	}
	if len(set.After) == 0 {
		return nil, config.Errorf(config.NotFound, "no change in %s has this correlation id", namespace)
	}
	head, err := log.Head(ctx)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(set.After))
	now, err := log.States(ctx, namespace, names, head.Position)
	if err != nil {
		return nil, err
	}
	var conflicts []config.VersionConflict
	for _, name := range names {
		if after, is := set.After[name].Version, now[name]; is.Version != after {
			conflicts = append(conflicts, config.VersionConflict{
				Name: name, Expected: &after, Version: is.Version, Deleted: is.Deleted, Position: is.Position, Value: is.Value,
			})
		}
	}
	if conflicts != nil {
		return nil, &config.Error{
			Code:      config.Conflict,
			Detail:    "configs of this change set were changed again since: revert those first, or name what to revert to",
			Conflicts: conflicts,
		}
	}
	return plan(now, set.Before, names), nil
}

// planCopy plans to make the names of one namespace equal to what they are, or
// were at a position, in another. Without names it is all names of both.
func planCopy(ctx context.Context, log *eventlog.Log, from, to string, names []string, position int64) ([]planned, error) {
	head, err := log.Head(ctx)
	if err != nil {
		return nil, err
	}
	if names == nil {
		for _, namespace := range []string{from, to} {
			more, err := log.Names(ctx, namespace)
			if err != nil {
				return nil, err
			}
			names = append(names, more...)
		}
	}
	source, err := log.States(ctx, from, names, position)
	if err != nil {
		return nil, err
	}
	now, err := log.States(ctx, to, names, head.Position)
	if err != nil {
		return nil, err
	}
	return plan(now, source, names), nil
}
