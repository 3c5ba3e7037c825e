package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/testkit"
)

// faulty is a proxy before a system that breaks things: it counts down fail, and
// while that is above zero does what harm says.
type faulty struct {
	*httptest.Server
	fail atomic.Int32
	harm atomic.Value // func(w http.ResponseWriter, r *http.Request, next http.Handler)
}

type harm func(w http.ResponseWriter, r *http.Request, next http.Handler)

func newFaulty(t *testing.T, system string) *faulty {
	t.Helper()
	target, err := url.Parse(system)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	f := &faulty{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.fail.Add(-1) >= 0 {
			f.harm.Load().(harm)(w, r, proxy)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

func (f *faulty) next(n int32, h harm) {
	f.harm.Store(h)
	f.fail.Store(n)
}

var (
	// cut ends the connection before the request goes anywhere.
	cut harm = func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }
	// lost does what is asked, and ends the connection instead of answering.
	lost harm = func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
	// busy is what a gateway answers whose service is down.
	busy harm = func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		http.Error(w, "no upstream", http.StatusBadGateway)
	}
)

func newClient(t *testing.T, url string, options ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New(url, append([]client.Option{client.WithActor("ann")}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// Whatever breaks, a write is done once, and a read shows it.
func TestClientTriesAgain(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	proxy := newFaulty(t, startSystem(t).url)
	c := newClient(t, proxy.URL)
	ns := c.Namespace("retry")
	version := int64(0)
	for name, h := range map[string]harm{"cut": cut, "lost": lost, "busy": busy} {
		for failures := range int32(3) {
			proxy.next(failures, h)
			version++
			if got, err := ns.Set(t.Context(), "a", map[string]string{"<": "&"}); err != nil || got.Version != version {
				t.Fatalf("%s %d times: %+v, %v, want version %d", name, failures, got, err, version)
			}
			proxy.next(failures, h)
			if got, err := ns.Get(t.Context(), "a"); err != nil || got.Version != version || string(got.Value) != `{"<":"&"}` {
				t.Fatalf("%s %d times: read %+v, %v, want version %d", name, failures, got, err, version)
			}
		}
	}

	// It does not try for ever, nor when that would be of no use.
	proxy.next(100, busy)
	var answered *client.Error
	if _, err := newClient(t, proxy.URL, client.WithAttempts(2)).Namespace("retry").Get(t.Context(), "a"); !errors.As(err, &answered) || answered.Status != 502 {
		t.Errorf("error %v, want a 502", err)
	}
	if left := proxy.fail.Load(); left != 98 {
		t.Errorf("2 attempts were %d", 100-left)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := ns.Get(ctx, "a"); err == nil {
		t.Error("no error although the time was up")
	}
	proxy.next(0, nil)
	if _, err := ns.Set(t.Context(), "a..b", 1); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("error %v, want that the name is refused", err)
	}
}

func TestClientErrors(t *testing.T) {
	t.Parallel()
	c := newClient(t, startSystem(t).url)
	ns := c.Namespace("errors")
	if health := must[client.Health](t)(c.Health(t.Context())); !health.Healthy() || len(health.Checks) == 0 {
		t.Errorf("health is %+v", health)
	}
	elsewhere := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(elsewhere.Close)
	if health, err := newClient(t, elsewhere.URL).Health(t.Context()); err == nil {
		t.Errorf("health of something else is %+v", health)
	}
	if _, err := ns.Get(t.Context(), "a"); !errors.Is(err, client.ErrNotFound) || errors.Is(err, client.ErrGone) {
		t.Errorf("error %v, want ErrNotFound", err)
	}
	must[client.Written](t)(ns.Set(t.Context(), "a", 1, client.Actor("bob"), client.Reason("first"), client.CorrelationID("c1")))
	_, err := ns.Set(t.Context(), "a", 2, client.IfVersion(0))
	var answered *client.Error
	if !errors.Is(err, client.ErrPreconditionFailed) || !errors.As(err, &answered) || answered.Conflicts[0].Version != 1 || answered.RequestID == "" {
		t.Errorf("error %#v, want the version that is there", err)
	}
	if err := ns.SetSchema(t.Context(), "*", json.RawMessage(`{"maximum":3}`), false); err != nil {
		t.Error(err)
	}
	_, err = ns.Apply(t.Context(), []client.Change{client.Set("b", 5), client.Delete("a").If(1)})
	if !errors.Is(err, client.ErrSchemaViolation) || !strings.Contains(err.Error(), "maximum") {
		t.Errorf("error %v, want what the schema says", err)
	}
	if schema := must[client.Schema](t)(ns.Schema(t.Context(), "*")); string(schema.Schema) != `{"maximum":3}` {
		t.Errorf("the schema is %s", schema.Schema)
	}
	schemas := 0
	for schema, err := range ns.Schemas(t.Context()) {
		if schemas++; err != nil || schema.Pattern != "*" {
			t.Errorf("%+v, %v", schema, err)
		}
	}
	if err := ns.DeleteSchema(t.Context(), "*"); err != nil {
		t.Error(err)
	}
	must[client.Written](t)(ns.Set(t.Context(), "big", 5, client.IdempotencyKey("k")))
	if _, err := ns.Set(t.Context(), "big", 6, client.IdempotencyKey("k")); !errors.Is(err, client.ErrKeyReused) {
		t.Errorf("error %v, want that the key is used", err)
	}
	must[client.Written](t)(ns.Delete(t.Context(), "big"))
	if _, err := ns.Delete(t.Context(), "big"); !errors.Is(err, client.ErrGone) {
		t.Errorf("error %v, want ErrGone", err)
	}
	if _, err := ns.RevertChange(t.Context(), "nothing", client.Rewriting{}); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("error %v, want ErrNotFound", err)
	}
	events := 0
	for e, err := range c.Audit(t.Context(), client.AuditQuery{Actor: "bob", CorrelationID: "c1", Namespace: "errors", From: time.Now().Add(-time.Hour)}) {
		if events++; err != nil || e.Reason != "first" {
			t.Errorf("audit: %+v, %v", e, err)
		}
	}
	if list := must[[]client.NamespaceInfo](t)(c.Namespaces(t.Context(), client.Strong())); events != 1 || schemas != 1 || len(list) != 1 || list[0].Configs != 1 {
		t.Errorf("%d events of bob, %d schemas, namespaces %+v", events, schemas, list)
	}
	head := must[client.Head](t)(c.Head(t.Context()))
	if v := must[client.Verification](t)(c.Verify(t.Context(), 1, head.Position)); !v.Valid || v.To != head.Position || head.Hash == "" {
		t.Errorf("verified %+v up to %+v", v, head)
	}

	if diff := must[client.Diff](t)(ns.Diff(t.Context(), client.Position(0), client.Instant{})); len(diff.Changes) != 1 || len(diff.Events) == 0 {
		t.Errorf("diff %+v", diff)
	}
	other := c.Namespace("other")
	if copied := must[client.Rewrite](t)(other.CopyFrom(t.Context(), "errors", client.Time(time.Now()), client.Rewriting{Names: []string{"a"}, DryRun: true})); len(copied.Changes) != 1 || !copied.DryRun {
		t.Errorf("copied %+v", copied)
	}
	if back := must[client.Rewrite](t)(ns.Revert(t.Context(), client.Position(0), client.Rewriting{}, client.Reason("all"))); len(back.Changes) != 1 {
		t.Errorf("reverted %+v", back)
	}
	version := int64(0)
	for e, err := range ns.History(t.Context(), "a", client.Strong()) {
		if version++; err != nil || e.Version != version {
			t.Errorf("event %d of the history: %+v, %v", version, e, err)
		}
	}
	if version != 2 {
		t.Errorf("%d events, want that it was set and deleted", version)
	}

	// A position of a log that is no more is told once, and then forgotten.
	c.Echo(config.Token{Epoch: "0191f3a2-0000-7000-8000-000000000000", Position: 7})
	if _, err := ns.Get(t.Context(), "a", client.Wait(time.Second)); !errors.Is(err, client.ErrEpochMismatch) {
		t.Errorf("error %v, want that the log is another", err)
	}
	if _, err := ns.Get(t.Context(), "a", client.Strong()); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("error %v, want that it is deleted by the revert", err)
	}
	for _, u := range []string{"", "127.0.0.1:4000", "ftp://x", "http://"} {
		if _, err := client.New(u); err == nil {
			t.Errorf("%q: no error", u)
		}
	}
}

// A watch shows each change once and in order, however often its connection
// breaks.
func TestClientWatchResumes(t *testing.T) {
	t.Parallel()
	proxy := newFaulty(t, startSystem(t).url)
	ns := newClient(t, proxy.URL).Namespace("watched")
	const events = 40
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := range events {
			if i%4 == 0 {
				proxy.CloseClientConnections()
			}
			if i%10 == 5 {
				proxy.next(2, busy)
			}
			if _, err := ns.Set(t.Context(), fmt.Sprint("name-", i%3), i); err != nil {
				t.Error(err)
			}
		}
	})
	defer writing.Wait() // the last change can be seen before it is answered
	n, last := 0, config.Token{}
	for e, err := range ns.Watch(t.Context(), client.WatchOptions{Prefix: "name-", After: client.Begin, Reached: func(at config.Token) { last = at }}) {
		if err != nil {
			t.Fatal(err)
		}
		if string(e.Value) != fmt.Sprint(n) || e.Name != fmt.Sprint("name-", n%3) {
			t.Fatalf("event %d is %+v", n, e)
		}
		if n++; n == events {
			break
		}
	}
	if last.Position != events-1 {
		t.Errorf("the watch told of position %d, want %d", last.Position, events-1)
	}
	for _, err := range ns.Watch(t.Context(), client.WatchOptions{Name: "no such name!"}) {
		if !errors.Is(err, client.ErrInvalid) {
			t.Errorf("error %v, want ErrInvalid", err)
		}
	}
}
