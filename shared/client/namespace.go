package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// pageSize is how many items are asked for at a time.
const pageSize = 500

// Namespace is a namespace of configs.
type Namespace struct {
	client     *Client
	name, path string
}

// Name returns the namespace's name.
func (n *Namespace) Name() string { return n.name }

func (n *Namespace) config(name string) string { return n.path + "/configs/" + url.PathEscape(name) }

// Get reads a config. The error is [ErrNotFound] if it has no value, or had none
// then.
func (n *Namespace) Get(ctx context.Context, name string, options ...ReadOption) (Config, error) {
	var answer Config
	err := n.client.read(ctx, n.config(name), nil, options, &answer)
	return answer, err
}

// List reads the configs whose names begin with a prefix, by name: one
// consistent state, however long it takes. An error is the last that is yielded.
func (n *Namespace) List(ctx context.Context, prefix string, options ...ReadOption) iter.Seq2[Config, error] {
	return pages[Config](ctx, n.client, n.path+"/configs", url.Values{"prefix": {prefix}}, options)
}

// ListPage reads one page of [Namespace.List]: up to limit configs, 1000 at most.
// The token is that of the page before, or "". The first page of the present is
// from the memory of the service that answers.
func (n *Namespace) ListPage(ctx context.Context, prefix string, limit int, token string, options ...ReadOption) (Page, error) {
	values := url.Values{"limit": {strconv.Itoa(limit)}}
	for name, text := range map[string]string{"prefix": prefix, "page_token": token} {
		if text != "" {
			values.Set(name, text)
		}
	}
	var answer Page
	err := n.client.read(ctx, n.path+"/configs", values, options, &answer)
	return answer, err
}

// History reads the events of a config, oldest first.
func (n *Namespace) History(ctx context.Context, name string, options ...ReadOption) iter.Seq2[Event, error] {
	return pages[Event](ctx, n.client, n.config(name)+"/history", nil, options)
}

// Set sets a config to anything that json.Marshal takes.
func (n *Namespace) Set(ctx context.Context, name string, value any, options ...WriteOption) (Written, error) {
	var answer Written
	err := n.client.write(ctx, http.MethodPut, n.config(name), map[string]any{"value": value}, options, &answer)
	return answer, err
}

// Delete deletes a config. The error is [ErrNotFound] if it was never set, and
// [ErrGone] if it is deleted.
func (n *Namespace) Delete(ctx context.Context, name string, options ...WriteOption) (Written, error) {
	var answer Written
	err := n.client.write(ctx, http.MethodDelete, n.config(name), map[string]any{}, options, &answer)
	return answer, err
}

// Apply makes several changes, all or none: nobody ever sees a part of them.
func (n *Namespace) Apply(ctx context.Context, changes []Change, options ...WriteOption) (ChangeSet, error) {
	var answer ChangeSet
	err := n.client.write(ctx, http.MethodPost, n.path+"/changes", map[string]any{"changes": changes}, options, &answer)
	return answer, err
}

// Instant is a moment of the log: a position, or a time.
type Instant struct{ text string }

// Position is the state after the event at a position.
func Position(p int64) Instant { return Instant{strconv.FormatInt(p, 10)} }

// Time is the state at a time.
func Time(t time.Time) Instant { return Instant{t.UTC().Format(time.RFC3339Nano)} }

// MarshalJSON writes it as the API reads it.
func (i Instant) MarshalJSON() ([]byte, error) { return json.Marshal(i.text) }

// Diff compares the namespace at two moments; the zero Instant as the second is
// now.
func (n *Namespace) Diff(ctx context.Context, from, to Instant, options ...ReadOption) (Diff, error) {
	values := url.Values{"from": {from.text}}
	if to.text != "" {
		values.Set("to", to.text)
	}
	var answer Diff
	err := n.client.read(ctx, n.path+"/diff", values, options, &answer)
	return answer, err
}

// Rewriting narrows a revert or a copy.
type Rewriting struct {
	Names  []string // of these configs only, if not nil
	DryRun bool     // change nothing, and answer what would be changed
}

func (r Rewriting) members(more map[string]any) map[string]any {
	if r.Names != nil {
		more["names"] = r.Names
	}
	if r.DryRun {
		more["dry_run"] = true
	}
	return more
}

// Revert brings the namespace back to what it was, by new events.
func (n *Namespace) Revert(ctx context.Context, to Instant, how Rewriting, options ...WriteOption) (Rewrite, error) {
	var answer Rewrite
	err := n.client.write(ctx, http.MethodPost, n.path+"/revert", how.members(map[string]any{"to": to}), options, &answer)
	return answer, err
}

// RevertChange takes back one change set, by its correlation id. The error is
// [ErrConflict] if something was written over it since.
func (n *Namespace) RevertChange(ctx context.Context, correlationID string, how Rewriting, options ...WriteOption) (Rewrite, error) {
	var answer Rewrite
	err := n.client.write(ctx, http.MethodPost, n.path+"/revert", how.members(map[string]any{"change": correlationID}), options, &answer)
	return answer, err
}

// CopyFrom makes this namespace equal to another, as it is or, with an Instant
// that is not zero, was.
func (n *Namespace) CopyFrom(ctx context.Context, namespace string, at Instant, how Rewriting, options ...WriteOption) (Rewrite, error) {
	members := map[string]any{"from": namespace}
	if at.text != "" {
		members["at"] = at
	}
	var answer Rewrite
	err := n.client.write(ctx, http.MethodPost, n.path+"/copy", how.members(members), options, &answer)
	return answer, err
}

func (n *Namespace) schema(pattern string) string {
	return n.path + "/schemas/" + url.PathEscape(pattern)
}

// Schemas reads the schemas of the namespace, by pattern.
func (n *Namespace) Schemas(ctx context.Context, options ...ReadOption) iter.Seq2[Schema, error] {
	return pages[Schema](ctx, n.client, n.path+"/schemas", nil, options)
}

// Schema reads the schema of a pattern.
func (n *Namespace) Schema(ctx context.Context, pattern string, options ...ReadOption) (Schema, error) {
	var answer Schema
	err := n.client.read(ctx, n.schema(pattern), nil, options, &answer)
	return answer, err
}

// SetSchema makes the values of a pattern's names keep a JSON Schema. The error
// is [ErrConflict] if values of now break it, unless force.
func (n *Namespace) SetSchema(ctx context.Context, pattern string, schema any, force bool, options ...WriteOption) error {
	members := map[string]any{"schema": schema}
	if force {
		members["force"] = true
	}
	return n.client.write(ctx, http.MethodPut, n.schema(pattern), members, options, new(any))
}

// DeleteSchema frees the values again.
func (n *Namespace) DeleteSchema(ctx context.Context, pattern string, options ...WriteOption) error {
	return n.client.write(ctx, http.MethodDelete, n.schema(pattern), map[string]any{}, options, new(any))
}

// AuditQuery says which events; what is empty is no filter.
type AuditQuery struct {
	Namespace, Name, Prefix, Actor, CorrelationID string
	From, To                                      time.Time
}

// Audit reads the events of all namespaces, newest first.
func (c *Client) Audit(ctx context.Context, q AuditQuery, options ...ReadOption) iter.Seq2[Event, error] {
	values := url.Values{}
	for name, text := range map[string]string{
		"namespace": q.Namespace, "name": q.Name, "prefix": q.Prefix, "actor": q.Actor, "correlation_id": q.CorrelationID,
	} {
		if text != "" {
			values.Set(name, text)
		}
	}
	for name, t := range map[string]time.Time{"from": q.From, "to": q.To} {
		if !t.IsZero() {
			values.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	return pages[Event](ctx, c, "/v2/audit", values, options)
}

// pages yields the items of a list, page after page of one state.
func pages[T any](ctx context.Context, c *Client, path string, values url.Values, options []ReadOption) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		asked := url.Values{"limit": {strconv.Itoa(pageSize)}}
		for name, v := range values {
			if v[0] != "" {
				asked[name] = v
			}
		}
		for {
			var page struct {
				Items []T    `json:"items"`
				Next  string `json:"next_page_token"`
			}
			if err := c.read(ctx, path, asked, options, &page); err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			asked.Set("page_token", page.Next)
		}
	}
}
