package command

import (
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/testkit"
	"github.com/config-api/config-api/shared/testkit/contract"
)

// Each kind of write, sent again with its key to another process after the
// first has ended, is answered as it was the first time and done once. The key
// with another request is refused.
func TestReplayOverARestart(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	database := testkit.DatabaseURL(t, eventlog.Schema)
	writes := []struct{ method, path, body, other string }{
		{"PUT", "/v2/namespaces/ns/configs/a", `{"value":1}`, `{"value":2}`},
		{"PUT", "/v1/config/a", `{"value":"1"}`, `{"value":"2"}`},
		{"POST", "/v2/namespaces/ns/changes", `{"changes":[{"op":"set","name":"a","value":2},{"op":"set","name":"b","value":2}]}`, `{"changes":[{"op":"delete","name":"a"}]}`},
		{"PUT", "/v2/namespaces/ns/schemas/c.*", `{"schema":{"type":"number"}}`, `{"schema":true}`},
		{"DELETE", "/v2/namespaces/ns/configs/b", ``, `{"reason":"another"}`},
		{"POST", "/v2/namespaces/ns/revert", `{"to":0,"names":["a"]}`, `{"to":0,"names":["a"],"reason":"another"}`},
		{"POST", "/v2/namespaces/copy/copy", `{"from":"default"}`, `{"from":"default","names":["a"]}`},
		{"DELETE", "/v2/namespaces/ns/schemas/c.*", ``, `{"reason":"another"}`},
	}
	key := func(i int) []string { return []string{"Idempotency-Key", "key-" + strconv.Itoa(i)} }
	first := start(t, database, noNATS)
	answers := make([]contract.Answer, len(writes))
	for i, w := range writes {
		answers[i] = first.write(t, w.method, w.path, w.body, key(i)...)
		if answers[i].Header.Get("Idempotent-Replay") != "" {
			t.Errorf("%s %s is a replay the first time", w.method, w.path)
		}
	}
	events := len(first.events(t))
	first.Stop()

	second := start(t, database, noNATS)
	for i, w := range writes {
		if again := second.write(t, w.method, w.path, w.body, key(i)...); again.Header.Get("Idempotent-Replay") != "true" ||
			again.Status != answers[i].Status || again.Body != answers[i].Body ||
			again.Header.Get("Config-Position") != answers[i].Header.Get("Config-Position") || again.Header.Get("ETag") != answers[i].Header.Get("ETag") {
			t.Errorf("%s %s: answered %d %s, then %d %s", w.method, w.path, answers[i].Status, answers[i].Body, again.Status, again.Body)
		}
		if got := second.Do(t, w.method, w.path, w.other, key(i)...); got.Status != http.StatusUnprocessableEntity {
			t.Errorf("%s %s with another body and the same key: %d %s", w.method, w.path, got.Status, got.Body)
		}
	}
	second.wantEvents(t, events)
}

// Clients that send one request with one key at once, to two services, are
// answered alike, and it is done once.
func TestOneKeyAtOnceIsOneWrite(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	database := testkit.DatabaseURL(t, eventlog.Schema)
	services := []system{start(t, database, noNATS), start(t, database, noNATS)}
	answers := make([]contract.Answer, 12)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			answers[i] = services[i%2].Do(t, "PUT", "/v2/namespaces/ns/configs/a", `{"value":1}`, "Idempotency-Key", "key")
		})
	}
	wg.Wait()
	first := 0
	for _, a := range answers {
		if a.Status != http.StatusCreated || a.Body != answers[0].Body {
			t.Errorf("answered %d %s and %d %s", answers[0].Status, answers[0].Body, a.Status, a.Body)
		}
		if a.Header.Get("Idempotent-Replay") == "" {
			first++
		}
	}
	if first != 1 {
		t.Errorf("%d clients were told that theirs was the first", first)
	}
	services[0].wantEvents(t, 1)
}

// While somebody ends the service's connections, one time for every write that
// is accepted, a client that repeats a write with its key until it is accepted
// has written exactly once, at the position that it was told.
func TestWritesWhoseConnectionBreaks(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	const clients, writes = 4, 8
	database := testkit.DatabaseURL(t, eventlog.Schema)
	s := start(t, database, noNATS)
	type write struct {
		value    string
		position int64
	}
	accepted := make(chan write, clients*writes)
	var writing sync.WaitGroup
	for c := range clients {
		writing.Go(func() {
			for i := range writes {
				value := strconv.Itoa(c*100 + i)
				accepted <- write{value, s.writeUntilAccepted(t, value)}
			}
		})
	}
	go func() {
		writing.Wait()
		close(accepted)
	}()
	told, broken := map[int64]string{}, 0
	for w := range accepted {
		told[w.position] = w.value
		var n int
		err := s.pool.QueryRow(t.Context(), `select count(pg_terminate_backend(pid)) from pg_stat_activity
			where datname = current_database() and application_name = 'config-api command' and pid <> pg_backend_pid()`).Scan(&n)
		if err != nil && !pg.IsUnavailable(err) {
			t.Error(err)
		}
		broken += n
	}
	for _, e := range s.events(t) {
		if p, err := e.Payload(); err != nil || string(p.Value) != told[e.Position] {
			t.Errorf("event %d sets %s (%v), the client was told %s", e.Position, p.Value, err, told[e.Position])
		}
	}
	s.wantEvents(t, clients*writes)
	t.Logf("%d connections broken", broken)
}

// writeUntilAccepted sets a config with one key, however often it takes, and
// returns its position.
func (s system) writeUntilAccepted(t *testing.T, value string) int64 {
	for t.Context().Err() == nil {
		got := s.Do(t, "PUT", "/v2/namespaces/ns/configs/a", `{"value":`+value+`}`, "Idempotency-Key", "key-"+value)
		switch {
		case got.Status/100 == 2:
			token, err := config.ParseToken(got.Header.Get("Config-Position"))
			if err != nil {
				t.Error(err)
			}
			return token.Position
		case got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "":
			t.Errorf("answered %d %s, want success or 503 with Retry-After", got.Status, got.Body)
			return 0
		}
	}
	return 0
}
