package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/config-api/config-api/shared/check"
	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/testkit"
	"github.com/config-api/config-api/shared/testkit/contract"
)

// restore has the log end earlier, as after a restore from an older backup.
func (s *system) restore(t *testing.T, position int64) {
	t.Helper()
	s.execute(t, fmt.Sprintf(`
		alter table eventstore.events disable trigger all;
		delete from eventstore.events where position > %[1]d;
		update eventstore.log_head set (position, recorded_at, hash) =
			(select position, recorded_at, hash from eventstore.events where position = %[1]d);
		alter table eventstore.events enable always trigger append_only`, position))
}

// A log that was restored from a backup, while the feed and all readers have more:
// nothing is mixed, and two calls bring the system to what the log has.
func TestRecoverARestoredLog(t *testing.T) {
	t.Parallel()
	for name, emptyFeed := range map[string]bool{"the feed is ahead": false, "a person has deleted the feed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSystem(t)
			c := newClient(t, s.url)
			ns := c.Namespace("ns")
			for i := range 5 {
				must[client.Written](t)(ns.Set(t.Context(), "a", i))
			}
			must[client.Written](t)(ns.Set(t.Context(), "lost", 1))
			old := c.Seen()
			must[client.Config](t)(ns.Get(t.Context(), "lost"))
			must[check.Report](t)(checkOnce(t, s, check.Options{}))  // all is applied
			testkit.Eventually(t, func() error { return logged(s) }) // and in the change log
			s.stop()
			s.restore(t, 3)
			if emptyFeed {
				js := testkit.Feed(t, s.nats)
				mustBe(t, js.DeleteStream(t.Context(), "CONFIG_EVENTS"))
			}
			s.start(t)
			api := contract.New(s.url)
			c = newClient(t, s.url)
			ns = c.Namespace("ns")
			if !emptyFeed {
				testkit.Eventually(t, func() error {
					if got := api.Do(t, "GET", "/v1/health", ""); !strings.Contains(got.Body, "the relay has halted: the feed is ahead of the log (6, the log ends at 3)") {
						return errors.New(got.Body)
					}
					return nil
				})
			}
			if written, err := ns.Set(t.Context(), "b", "after"); err != nil || written.Position != 4 {
				t.Fatalf("written %+v, %v", written, err)
			}
			// What was served is served on until a person decides.
			if got := api.Do(t, "GET", "/v2/namespaces/ns/configs/lost", ""); got.Status != 200 {
				t.Errorf("before: %d %s", got.Status, got.Body)
			}

			head := must[client.Head](t)(c.Head(t.Context()))
			fresh := must[client.Head](t)(c.Recover(t.Context(), head.Epoch))
			must[client.Rebuild](t)(c.StartRebuild(t.Context(), 0))
			must[client.Rebuild](t)(c.AwaitRebuild(t.Context(), nil))
			c = newClient(t, s.url)
			c.Echo(config.Token{Epoch: fresh.Epoch, Position: fresh.Position})
			ns = c.Namespace("ns")
			// The query service hears of the new tables and loads them.
			testkit.Eventually(t, func() error {
				got, err := ns.Get(t.Context(), "a")
				if err == nil && string(got.Value) != "2" {
					err = fmt.Errorf("a is %s, want 2", got.Value)
				}
				return err
			})
			if _, err := ns.Get(t.Context(), "lost"); !errors.Is(err, client.ErrNotFound) {
				t.Errorf("lost is there: %v", err)
			}
			if got := must[client.Config](t)(ns.Get(t.Context(), "b")); string(got.Value) != `"after"` {
				t.Errorf("b is %s", got.Value)
			}
			if got := api.Do(t, "GET", "/v2/namespaces/ns/configs/a?min_position="+old.String(), ""); got.Status != 412 {
				t.Errorf("a token of before: %d %s", got.Status, got.Body)
			}
			must[client.Written](t)(ns.Set(t.Context(), "a", "on"))
			if got := must[client.Config](t)(ns.Get(t.Context(), "a")); string(got.Value) != `"on"` {
				t.Errorf("a is %s", got.Value)
			}
			report := must[check.Report](t)(checkOnce(t, s, check.Options{}))
			wantFaults(t, &report)
			testkit.Eventually(t, func() error { return logged(s, "b", "a") })
		})
	}
}

// logged reports whether the change log ends with these names, each once.
func logged(s *system, names ...string) error {
	var have []string
	for line := range strings.Lines(s.output.String()) {
		if _, rest, ok := strings.Cut(line, `"config_name":"`); ok && strings.Contains(line, `"msg":"config changed"`) {
			name, _, _ := strings.Cut(rest, `"`)
			have = append(have, name)
		}
	}
	if got, want := strings.Join(have, " "), strings.Join(append([]string{"a a a a a lost"}, names...), " "); got != want {
		return fmt.Errorf("the change log has %s, want %s", got, want)
	}
	return nil
}

// An export into another system is the same log, and a backup.
func TestExportAndImport(t *testing.T) {
	t.Parallel()
	from, to := startSystem(t), newSystem(t)
	to.execute(t, `update eventstore.log_head set (epoch, origin) = (select id, id from gen_random_uuid() as id)`)
	to.start(t)
	c := newClient(t, from.url)
	fill(t, c)
	var export bytes.Buffer
	var done int64
	header := must[config.ExportHeader](t)(c.Export(t.Context(), &export, func(n, _ int64) { done = n }))
	if header.Position != 28 || done != 28 {
		t.Errorf("exported %d, progress %d, want 28", header.Position, done)
	}
	target := newClient(t, to.url)
	head := must[client.Head](t)(target.Import(t.Context(), &export))
	if head.Position != header.Position || head.Hash != header.Hash || head.Origin != header.Origin || head.Epoch == header.Epoch {
		t.Errorf("imported as %+v, exported as %+v", head, header)
	}
	report := must[check.Report](t)(checkOnce(t, to, check.Options{}))
	wantFaults(t, &report)
	if report.Position != 28 {
		t.Errorf("the imported system is at %d", report.Position)
	}
	for _, ns := range []string{"shop", "web"} {
		for item, err := range c.Namespace(ns).List(t.Context(), "") {
			mustBe(t, err)
			if got, err := target.Namespace(ns).Get(t.Context(), item.Name); err != nil || string(got.Value) != string(item.Value) || !got.UpdatedAt.Equal(item.UpdatedAt) || got.Version != item.Version {
				t.Errorf("%s of %s is %+v, %v; it was %+v", item.Name, ns, got, err, item)
			}
		}
	}
	export.WriteString("x")
	if _, err := target.Import(t.Context(), &export); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("import of something else: %v", err)
	}
}
