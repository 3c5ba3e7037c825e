// Package config is the domain of Config API: what a config is, which changes
// are allowed, and what an event means. It imports the standard library only.
//
// A config is a name in a namespace with a JSON value. Everything that happens
// to it is an [Event]; the events of one config are its stream, numbered by
// version from 1. All events of all streams form one log, numbered by position
// from 1 without gaps.
//
// The two functions to read first are [Decide], which turns a requested
// [ChangeSet] into events or refuses it, and [State.Apply], which folds events
// back into the current state. Both are pure.
package config
