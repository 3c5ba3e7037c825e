package command

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/testkit"
)

// exportLines returns the lines of an export of a log with some events.
func exportLines(t *testing.T, s system) []string {
	t.Helper()
	s.append(t, set(`{"a":[1.50,"<&>\u2028"]}`, "a", "b"))
	s.append(t, set(`null`, "a"))
	s.write(t, "DELETE", "/v2/namespaces/ns/configs/b", "")
	got := s.Do(t, "GET", "/v2/log/export", "")
	if got.Status != http.StatusOK {
		t.Fatalf("export: %d %s", got.Status, got.Body)
	}
	return strings.SplitAfter(strings.TrimSuffix(got.Body, "\n"), "\n")
}

func TestImportIsTheSameLog(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	from := start(t, testkit.DatabaseURL(t, eventlog.Schema), noNATS)
	lines := exportLines(t, from)
	server := testkit.NATS(t)
	to := start(t, emptyLog(t), server.URL)
	c := client(t, server)
	c.wantFeed(t, to) // the relay leads, with the origin of the empty log
	if got := to.Do(t, "POST", "/v2/log/import", strings.Join(lines, "")); got.Status != http.StatusCreated {
		t.Fatalf("import: %d %s", got.Status, got.Body)
	}
	old, err := from.log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	head, err := to.log.Head(t.Context())
	if err != nil || head.Position != old.Position || head.Hash != old.Hash || head.Origin != old.Origin || !head.RecordedAt.Equal(old.RecordedAt) || head.Epoch == old.Epoch {
		t.Fatalf("the head is %+v, %v; the exported log's %+v", head, err, old)
	}
	again := to.Do(t, "GET", "/v2/log/export", "").Body
	if got, want := strings.SplitAfterN(again, "\n", 2)[1], strings.Join(lines[1:], "")+"\n"; got != want {
		t.Errorf("an export of the imported log is\n%s\nwant\n%s", got, want)
	}
	to.append(t, set(`2`, "a", "c")) // goes on behind it
	if v, err := to.log.Verify(t.Context(), 1, 0, nil); err != nil || !v.Valid || v.To != old.Position+2 {
		t.Errorf("Verify = %+v, %v", v, err)
	}
	c.wantFeed(t, to)
	readable(t, c)
	if got := to.Do(t, "POST", "/v2/log/import", strings.Join(lines, "")); got.Status != http.StatusConflict {
		t.Errorf("a second import: %d %s", got.Status, got.Body)
	}
}

// readable makes sure that a reader accepts the feed's chain.
func readable(t *testing.T, c feedClient) {
	t.Helper()
	last, err := feed.LastPosition(t.Context(), c.js)
	if err != nil {
		t.Fatal(err)
	}
	done := errors.New("done")
	err = feed.Follow(t.Context(), c.js, feed.Place{}, slog.New(slog.DiscardHandler), func(_ string, events []config.Event) error {
		if events[len(events)-1].Position == last {
			return &feed.Stop{Err: done}
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Errorf("a reader of the feed ends with %v", err)
	}
}

func TestImportOfWhatIsNoExport(t *testing.T) {
	t.Parallel()
	lines := exportLines(t, start(t, testkit.DatabaseURL(t, eventlog.Schema), noNATS))
	s := start(t, testkit.DatabaseURL(t, eventlog.Schema), noNATS)
	for name, test := range map[string]struct {
		change func(lines []string) []string
		want   string
	}{
		"nothing":          {func([]string) []string { return nil }, "cut off before line 1"},
		"only a header":    {func(l []string) []string { return l[:1] }, "cut off before line 2"},
		"cut off":          {func(l []string) []string { return l[:len(l)-1] }, fmt.Sprint("cut off before line ", len(lines))},
		"half a line":      {func(l []string) []string { return append(l[:2], l[2][:20]) }, "line 3 is not what an export has there"},
		"another format":   {func(l []string) []string { return append([]string{`{"format":"etcd"}` + "\n"}, l[1:]...) }, "is not config-api-log/1"},
		"too much":         {func(l []string) []string { return append(l, "\n", l[1]) }, "there are more events than line 1 says"},
		"a changed value":  {func(l []string) []string { l[2] = strings.Replace(l[2], "1.50", "1.51", 1); return l }, "event 2 does not have the hash"},
		"a changed origin": {func(l []string) []string { l[0] = strings.Replace(l[0], `"origin":"`, `"origin":"0`, 1); return l }, "event 1 does not have the hash"},
		"a line is gone":   {func(l []string) []string { return slices.Delete(l, 2, 3) }, "event 2 is missing"},
		"no hash":          {func(l []string) []string { l[1] = strings.Replace(l[1], `"hash":"`, `"hash":"x`, 1); return l }, "is not a SHA-256 hash"},
		"another end": {func(l []string) []string {
			l[0] = strings.Replace(l[0], `"hash":"`+hashIn(l[0]), `"hash":"`+strings.Repeat("0", 64), 1)
			return l
		}, "cut off after event 4"},
		"an unknown member": {func(l []string) []string { l[1] = strings.Replace(l[1], "{", `{"more":1,`, 1); return l }, "unknown field"},
	} {
		t.Run(name, func(t *testing.T) {
			body := strings.Join(test.change(slices.Clone(lines)), "")
			got := s.Do(t, "POST", "/v2/log/import", body)
			if got.Status != http.StatusBadRequest || !strings.Contains(got.Body, test.want) {
				t.Errorf("answered %d %s, want %q", got.Status, got.Body, test.want)
			}
			if head, err := s.log.Head(t.Context()); err != nil || head.Position != 0 || head.Origin != head.Epoch {
				t.Errorf("the head is %+v, %v: something was stored", head, err)
			}
		})
	}
}

func hashIn(line string) string {
	_, rest, _ := strings.Cut(line, `"hash":"`)
	return rest[:64]
}

// A log that was restored from a backup gets a new epoch, and a feed of its own.
func TestRecover(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	database := testkit.DatabaseURL(t, eventlog.Schema)
	s := start(t, database, server.URL)
	c := client(t, server)
	s.append(t, set(`1`, "a", "b"))
	key := []string{"Idempotency-Key", "k"}
	first := s.write(t, "PUT", "/v2/namespaces/ns/configs/a", `{"value":2}`, key...)
	c.wantFeed(t, s)
	s.append(t, set(`3`, "a"))
	c.wantFeed(t, s)
	s.Stop()
	lose(t, database, 3)
	s = start(t, database, server.URL)
	testkit.Eventually(t, func() error {
		if halted := s.relay.Status().Halted; !strings.Contains(halted, "the feed is ahead of the log (4, the log ends at 3)") {
			return fmt.Errorf("the relay has halted because of %q", halted)
		}
		return nil
	})
	before, err := s.log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"epoch":%q}`, before.Epoch)
	got := s.Do(t, "POST", "/v2/log/recover", body)
	head, err := s.log.Head(t.Context())
	if err != nil || got.Status != http.StatusOK || head.Epoch == before.Epoch || head.Origin != before.Origin || head.Position != 3 {
		t.Fatalf("recover answered %d %s; the head is %+v, %v", got.Status, got.Body, head, err)
	}
	c.wantFeed(t, s)
	s.append(t, set(`4`, "b"))
	c.wantFeed(t, s)
	readable(t, c)
	replayed := s.write(t, "PUT", "/v2/namespaces/ns/configs/a", `{"value":2}`, key...)
	if want := head.Epoch + ":3"; replayed.Header.Get("Config-Position") != want || first.Header.Get("Config-Position") == want {
		t.Errorf("the outcome of a known key is of %s, want %s", replayed.Header.Get("Config-Position"), want)
	}
	if got := s.Do(t, "POST", "/v2/log/recover", body); got.Status != http.StatusPreconditionFailed {
		t.Errorf("the same a second time: %d %s", got.Status, got.Body)
	}
	server.Stop()
	got = s.Do(t, "POST", "/v2/log/recover", fmt.Sprintf(`{"epoch":%q}`, head.Epoch))
	if got.Status != http.StatusServiceUnavailable || !strings.Contains(got.Body, "do it again with that epoch when NATS is back") {
		t.Errorf("without NATS: %d %s", got.Status, got.Body)
	}
}

// What the log has lost while the service works is not published, although this very
// process has appended it.
func TestRestoredUnderAServiceThatWorks(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	server := testkit.NATS(t)
	database := testkit.DatabaseURL(t, eventlog.Schema)
	s := start(t, database, server.URL)
	c := client(t, server)
	for i := range 5 {
		s.append(t, set(strconv.Itoa(i), "a"))
	}
	c.wantFeed(t, s)
	lose(t, database, 3)
	// A server that is restored is not there for a while.
	execute(t, database, `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`)
	testkit.Eventually(t, func() error {
		if halted := s.relay.Status().Halted; !strings.Contains(halted, "the feed is ahead of the log (5, the log ends at 3)") {
			return fmt.Errorf("the relay has halted because of %q", halted)
		}
		return nil
	})
	s.write(t, "POST", "/v2/log/recover", fmt.Sprintf(`{"epoch":%q}`, s.epoch(t)))
	c.wantFeed(t, s)
	s.append(t, set(`"new"`, "b"))
	c.wantFeed(t, s)
}

// lose has the log end earlier, as after a restore from an older backup.
func lose(t *testing.T, database string, position int64) {
	t.Helper()
	execute(t, database, fmt.Sprintf(`
		alter table eventstore.events disable trigger all;
		delete from eventstore.events where position > %[1]d;
		update eventstore.log_head set (position, recorded_at, hash) =
			(select position, recorded_at, hash from eventstore.events where position = %[1]d);
		alter table eventstore.events enable always trigger append_only`, position))
}

// emptyLog is a database whose log is not that of the other tests' databases,
// which are all made from one template.
func emptyLog(t *testing.T) string {
	t.Helper()
	database := testkit.DatabaseURL(t, eventlog.Schema)
	execute(t, database, `update eventstore.log_head set (epoch, origin) = (select id, id from gen_random_uuid() as id)`)
	return database
}

func execute(t *testing.T, database, sql string) {
	t.Helper()
	pool, err := pg.Open(t.Context(), database, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// An export whose log can't be read on is broken off, and not taken for whole.
func TestExportBreaksOff(t *testing.T) {
	t.Parallel()
	s := start(t, testkit.DatabaseURL(t, eventlog.Schema), noNATS)
	s.append(t, set(`1`, "a", "b"))
	if _, err := s.pool.Exec(t.Context(), `update eventstore.log_head set position = 3`); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(s.URL + "/v2/log/export")
	if err != nil {
		return // before the status
	}
	defer func() { _ = resp.Body.Close() }()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("answered a whole %q", body)
	}
}
