//go:build crash

package e2e

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	checker "github.com/config-api/config-api/shared/check"
	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/testkit"
)

// target is a system to check: its API, its database, its NATS server, and each
// of its query services.
type target struct {
	api, database, nats string
	queries             []string
}

// check compares what is there with what the writers know, and everything that
// is derived from the log with the log.
func check(t *testing.T, d *daemon, writers []*writer) {
	t.Helper()
	events := checkSystem(t, target{d.url, d.databaseURL(t), "nats://" + d.nats, []string{d.url}}, nil)
	checkWrites(t, events, writers)
	t.Logf("%d events, all as they should be", len(events))
}

// checkSystem waits until all is caught up, and checks I1 to I5 and I8 twice: from
// inside, against the tables and the stream, and as users check it, over HTTP.
// requests are the ids of writes that were acknowledged. It returns the log.
func checkSystem(t *testing.T, on target, requests []string) []config.Event {
	t.Helper()
	pool, err := pg.Open(t.Context(), on.database, "crash test")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	log := eventlog.Open(pool, eventlog.Options{Logger: slog.New(slog.DiscardHandler)})
	defer log.Close()

	// I2, I3: the chain covers positions and versions.
	verified, err := log.Verify(t.Context(), 1, 0, nil)
	if err != nil || !verified.Valid {
		t.Fatalf("the log: %+v, %v", verified, err)
	}
	events := readLog(t, log)
	if int64(len(events)) != verified.To {
		t.Fatalf("%d events, the head is at %d", len(events), verified.To)
	}
	fold, versions := map[streamName]config.State{}, map[streamName]int64{}
	for i := range events {
		e := &events[i]
		name := streamName{e.Namespace, e.Name}
		if versions[name]++; e.Position != int64(i+1) || e.Version != versions[name] {
			t.Fatalf("event %d has position %d; it is the %d. of %s and has version %d", i+1, e.Position, versions[name], e.Name, e.Version)
		}
		if fold[name], err = fold[name].Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	checkFeed(t, on.nats, events, verified.Epoch)
	checkReadModel(t, readmodel.New(pool), fold, verified.To)
	for _, q := range on.queries {
		checkMemory(t, q, fold)
	}
	for _, fault := range overHTTP(t, on, requests) {
		t.Error(fault)
	}
	return events
}

type streamName struct{ namespace, name string }

// overHTTP is what configctl check does, and returns what it finds.
func overHTTP(t *testing.T, on target, requests []string) (faults []string) {
	t.Helper()
	api, err := client.New(on.api)
	if err != nil {
		t.Fatal(err)
	}
	options := checker.Options{Requests: requests}
	for _, q := range on.queries {
		reader, err := client.New(q)
		if err != nil {
			t.Fatal(err)
		}
		options.Readers = append(options.Readers, reader)
	}
	report, err := checker.Run(t.Context(), api, options)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		if !r.Holds() {
			faults = append(faults, fmt.Sprintf("%s (%s) does not hold: %d faults, %v", r.Invariant, r.Says, r.Count, r.Faults))
		}
	}
	return faults
}

func readLog(t *testing.T, log *eventlog.Log) []config.Event {
	t.Helper()
	var events []config.Event
	for {
		page, err := log.Read(t.Context(), int64(len(events)), config.MaxChanges)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return events
		}
		events = append(events, page...)
	}
}

// checkWrites matches the events of each name with what its writer asked for, in
// order: what was acknowledged must be there, what was in doubt may.
func checkWrites(t *testing.T, events []config.Event, writers []*writer) {
	t.Helper()
	found := map[string][]attempt{}
	for i := range events {
		p, err := events[i].Payload()
		if err != nil {
			t.Fatal(err)
		}
		a := attempt{id: events[i].RequestID, name: events[i].Name, delete: p.Deleted}
		if !p.Deleted {
			a.value, _ = p.Value.AsString()
		}
		found[a.name] = append(found[a.name], a)
	}
	for _, w := range writers {
		for _, a := range w.attempts {
			next := found[a.name]
			same := len(next) > 0 && next[0].id == a.id && next[0].delete == a.delete && (a.delete || next[0].value == a.value)
			switch {
			case same:
				found[a.name] = next[1:]
			case a.acknowledged:
				t.Fatalf("lost: %+v was acknowledged; the events of its name go on with %+v", a, next[:min(3, len(next))])
			}
		}
	}
	for _, rest := range found {
		if len(rest) > 0 {
			t.Fatalf("events that nobody asked for, or that come twice: %+v", rest)
		}
	}
}

// checkFeed waits for the relay, and compares the stream with the log, message
// by message.
func checkFeed(t *testing.T, url string, events []config.Event, epoch string) {
	t.Helper()
	nc, err := feed.Connect(feed.Options{URL: url, Name: "crash test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() error {
		last, err := feed.LastPosition(t.Context(), js)
		if err == nil && last != int64(len(events)) {
			err = fmt.Errorf("the feed is at %d, the log at %d", last, len(events))
		}
		return err
	})
	consumer, err := js.OrderedConsumer(t.Context(), feed.Stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	for i := range events {
		msg, err := messages.Next(jetstream.NextMaxWait(5 * time.Second))
		if err != nil {
			t.Fatalf("message %d of the feed: %v", i+1, err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		e, of, err := feed.Decode(msg.Data())
		if err != nil || of.Epoch != epoch || meta.Sequence.Stream != uint64(e.Position) {
			t.Fatalf("message %d: event %d of epoch %s, %v", meta.Sequence.Stream, e.Position, of, err)
		}
		if diff := gocmp.Diff(events[i], e); diff != "" {
			t.Fatalf("message %d differs from the log:\n%s", i+1, diff)
		}
	}
}

// checkReadModel waits for the projector, and compares the read table with the
// fold of the log.
func checkReadModel(t *testing.T, store *readmodel.Store, fold map[streamName]config.State, head int64) {
	t.Helper()
	testkit.Eventually(t, func() error {
		rows := map[streamName]config.State{}
		checkpoint, err := store.Load(t.Context(), func(r readmodel.Row) error {
			rows[streamName{r.Namespace, r.Name}] = config.State{Version: r.Version, Position: r.Position, Value: r.Value, Deleted: r.Deleted}
			return nil
		})
		if err == nil && checkpoint.Position != head {
			err = fmt.Errorf("the read model is at %d, the log at %d", checkpoint.Position, head)
		}
		if diff := gocmp.Diff(fold, rows); err == nil && diff != "" {
			err = fmt.Errorf("the read model differs from the fold of the log:\n%s", diff)
		}
		return err
	})
}

// checkMemory compares what a query service answers with the fold of the log.
func checkMemory(t *testing.T, url string, fold map[streamName]config.State) {
	t.Helper()
	api, err := client.New(url)
	if err != nil {
		t.Fatal(err)
	}
	want, namespaces := map[streamName]string{}, map[string]bool{}
	for name, state := range fold {
		namespaces[name.namespace] = true
		if state.Live() {
			want[name] = fmt.Sprintf("version %d at %d: %s", state.Version, state.Position, state.Value)
		}
	}
	testkit.Eventually(t, func() error {
		got := map[streamName]string{}
		for namespace := range namespaces {
			for c, err := range api.Namespace(namespace).List(t.Context(), "") {
				if err != nil {
					return err
				}
				got[streamName{namespace, c.Name}] = fmt.Sprintf("version %d at %d: %s", c.Version, c.Position, c.Value)
			}
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			return fmt.Errorf("%s answers something else than the fold of the log:\n%s", url, diff)
		}
		return nil
	})
}

// databaseURL is that of configd's own Postgres.
func (d *daemon) databaseURL(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(d.dir, "data", "postgres")
	password, err := os.ReadFile(filepath.Join(dir, "password"))
	if err != nil {
		t.Fatal(err)
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword("config_api", string(bytes.TrimSpace(password))), Path: "/config_api_eventstore"}
	u.RawQuery = url.Values{"host": {dir}}.Encode()
	return u.String()
}
