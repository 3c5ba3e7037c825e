package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/config-api/config-api/shared/check"
	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/testkit"
	"github.com/config-api/config-api/shared/testkit/contract"
)

// wantParked waits until the projector says that so many names are parked, and
// that a query service knows it.
func wantParked(t *testing.T, s *system, want ...string) {
	t.Helper()
	c := newClient(t, s.url)
	testkit.Eventually(t, func() error {
		projections, err := c.Projections(t.Context())
		if err != nil {
			return err
		}
		var have []string
		for _, p := range projections[0].Parked {
			have = append(have, fmt.Sprintf("%s/%s %d+%d", p.Namespace, p.Name, p.Position, p.Events))
		}
		if strings.Join(have, ", ") != strings.Join(want, ", ") {
			return fmt.Errorf("parked are %v, want %v", have, want)
		}
		return nil
	})
}

// An event that Postgres refuses parks its name: others go on, reads of it say so,
// and once the reason is gone all its events are applied in order, as if nothing
// had been.
func TestAParkedName(t *testing.T) {
	t.Parallel()
	wantNameParked(t, 9)
}

func TestAParkedNameInSnapshots(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	wantNameParked(t, 999)
}

// wantNameParked parks a name beside so many others.
func wantNameParked(t *testing.T, others int) {
	t.Helper()
	s := startSystem(t)
	patient := client.WithAttempts(15) // about as Eventually: it writes much beside other tests
	api, c := contract.New(s.url), newClient(t, s.url, patient)
	ns := c.Namespace("default")
	var many []client.Change
	for i := range others {
		many = append(many, client.Set(fmt.Sprint("n", i), i))
	}
	written := func(name string, value any) int64 {
		t.Helper()
		return must[client.Written](t)(ns.Set(t.Context(), name, value)).Position
	}
	first := written("bad", 1)
	must[client.ChangeSet](t)(ns.Apply(t.Context(), many))
	must[check.Report](t)(checkOnce(t, s, check.Options{})) // all is applied
	s.execute(t, `alter table readmodel.history_1 add constraint odd check (name <> 'bad' or version <> 2)`)
	second := written("bad", 2)
	third := written("bad", 3)
	must[client.ChangeSet](t)(ns.Apply(t.Context(), many))
	good := written("good", 1)
	parked := fmt.Sprintf("default/bad %d+2", second)
	wantParked(t, s, parked)
	if got := must[client.Config](t)(ns.Get(t.Context(), "good")); got.Position != good {
		t.Errorf("good is %+v", got)
	}

	t.Log("Reads of it say so, now and from the first event that waits on.")
	testkit.Eventually(t, func() error {
		if _, err := ns.Get(t.Context(), "bad"); !errors.Is(err, client.ErrParked) {
			return fmt.Errorf("bad: %w", err)
		}
		return nil
	})
	for _, path := range []string{
		"/v1/config/bad", "/v1/config/bad/history", "/v1/config/bad/at/2101-01-01T00:00:00Z",
		"/v2/namespaces/default/configs/bad", "/v2/namespaces/default/configs/bad/history",
		fmt.Sprint("/v2/namespaces/default/configs/bad?at_position=", third),
	} {
		got := api.Do(t, "GET", path, "")
		if got.Status != 409 || !strings.Contains(got.Body, fmt.Sprintf("bad in default is parked: event %d can't be applied (Postgres refuses the row: new row", second)) {
			t.Errorf("GET %s: %d %s", path, got.Status, got.Body)
		}
	}
	if got := must[client.Config](t)(ns.Get(t.Context(), "bad", client.AtPosition(first))); string(got.Value) != "1" {
		t.Errorf("before: %s", got.Value)
	}
	for _, option := range []client.ReadOption{client.Strong(), client.AtPosition(good)} {
		page := must[client.Page](t)(ns.ListPage(t.Context(), "", 5, "", option))
		if page.Items[0].Name != "good" || strings.Join(page.Parked, " ") != "bad" || page.Final {
			t.Errorf("the list begins with %s and leaves out %v", page.Items[0].Name, page.Parked)
		}
	}
	if got := api.Do(t, "GET", "/v1/config", ""); got.Status != 200 || strings.Contains(got.Body, `"bad"`) {
		t.Errorf("the v1 list: %d, %.60s", got.Status, got.Body)
	}
	if got := api.Do(t, "GET", fmt.Sprintf("/v2/namespaces/default/diff?from=%d&to=%d", first, good), ""); got.Status != 200 || !strings.Contains(got.Body, `"parked":["bad"]`) {
		t.Errorf("the diff: %d %.300s", got.Status, got.Body)
	}
	report := must[check.Report](t)(checkOnce(t, s, check.Options{}))
	wantFaults(t, &report)
	if got := api.Do(t, "GET", "/metrics", ""); !strings.Contains(got.Body, `config_api_projection_parked_names{service="projector"} 1`) {
		t.Errorf("the metrics do not tell of a parked name: %d", got.Status)
	}

	t.Log("A restart changes nothing.")
	s.stop()
	s.start(t)
	api, c = contract.New(s.url), newClient(t, s.url, patient)
	ns = c.Namespace("default")
	if got := api.Do(t, "GET", "/v1/config/bad", ""); got.Status != 409 {
		t.Errorf("after a restart: %d %s", got.Status, got.Body)
	}
	still := must[[]client.Retried](t)(c.RetryParked(t.Context(), "default", "bad"))
	if len(still) != 1 || still[0].Applied != 0 || still[0].Position != second || !strings.Contains(still[0].Reason, "odd") {
		t.Errorf("tried too early: %+v", still)
	}
	wantParked(t, s, parked)
	if _, err := c.RetryParked(t.Context(), "default", "good"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("a name that is not parked: %v", err)
	}
	if _, err := c.RetryParked(t.Context(), "default", ""); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("half a name: %v", err)
	}

	list := fmt.Sprint("/v2/namespaces/default/configs?at_position=", good)
	without := api.Do(t, "GET", list, "")
	s.execute(t, `alter table readmodel.history_1 drop constraint odd`)
	done := must[[]client.Retried](t)(c.RetryParked(t.Context(), "", ""))
	if len(done) != 1 || done[0].Applied != 2 || done[0].Reason != "" {
		t.Errorf("tried again: %+v", done)
	}
	wantParked(t, s)
	if again := api.Do(t, "GET", list, "", "If-None-Match", without.Header.Get("ETag")); again.Status != 200 || strings.Contains(again.Body, "parked") {
		t.Errorf("the list that lacked a name is still %d %.200s", again.Status, again.Body)
	}
	testkit.Eventually(t, func() error {
		got, err := ns.Get(t.Context(), "bad")
		if err == nil && string(got.Value) != "3" {
			err = fmt.Errorf("bad is %s", got.Value)
		}
		return err
	})
	for position, want := range map[int64]string{second: "2", third: "3", good: "3"} {
		// From the history, and in the namespace, whose snapshots lacked it.
		if got := must[client.Config](t)(ns.Get(t.Context(), "bad", client.AtPosition(position))); string(got.Value) != want {
			t.Errorf("at %d: %s, want %s", position, got.Value, want)
		}
		page := must[client.Page](t)(ns.ListPage(t.Context(), "bad", 1000, "", client.AtPosition(position)))
		if len(page.Items) != 1 || string(page.Items[0].Value) != want {
			t.Errorf("the list at %d: %+v, want %s", position, page.Items, want)
		}
	}
	report = must[check.Report](t)(checkOnce(t, s, check.Options{}))
	wantFaults(t, &report)
	must[client.Rebuild](t)(c.StartRebuild(t.Context(), 0))
	must[client.Rebuild](t)(c.AwaitRebuild(t.Context(), nil)) // it is compared
}

// An event whose data can't be read parks its name in the tables and in memory,
// in a rebuild too; it can be written over, and nothing else is held up.
func TestAnEventThatCannotBeRead(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := startSystem(t)
	api, c := contract.New(s.url), newClient(t, s.url)
	ns := c.Namespace("ns")
	must[client.Written](t)(ns.Set(t.Context(), "bad", 1))
	must[client.Written](t)(ns.Set(t.Context(), "good", 1))
	var live []string
	var watching sync.WaitGroup
	watching.Go(func() { live = seen(t, ns, 4) })
	s.appendBroken(t, "ns", "bad", 2)
	after := must[client.ChangeSet](t)(ns.Apply(t.Context(), []client.Change{client.Set("bad", 3), client.Set("good", 2)}))
	wantParked(t, s, "ns/bad 3+2")
	if got := must[client.Config](t)(ns.Get(t.Context(), "good")); string(got.Value) != "2" || got.Position != after.Position {
		t.Errorf("good is %+v after %+v", got, after)
	}
	bad := func() error {
		if got := api.Do(t, "GET", "/v2/namespaces/ns/configs/bad", ""); got.Status != 409 || !strings.Contains(got.Body, "data of event 3 has no value") {
			return fmt.Errorf("bad: %d %s", got.Status, got.Body)
		}
		return nil
	}
	mustBe(t, bad())
	must[client.Rebuild](t)(c.StartRebuild(t.Context(), 0))
	must[client.Rebuild](t)(c.AwaitRebuild(t.Context(), nil))
	wantParked(t, s, "ns/bad 3+2")
	must[client.Written](t)(ns.Set(t.Context(), "good", 3))
	must[client.Config](t)(ns.Get(t.Context(), "good"))
	mustBe(t, bad())
	// A watch that was open goes on behind it, and one from the beginning is the same.
	watching.Wait()
	again := seen(t, ns, 4)
	if want := "1 2 5 6"; strings.Join(live, " ") != want || strings.Join(again, " ") != want {
		t.Errorf("watches have seen %v, and from the beginning %v, want %s", live, again, want)
	}
	report := must[check.Report](t)(checkOnce(t, s, check.Options{}))
	wantFaults(t, &report)
	testkit.Eventually(t, func() error {
		for _, want := range []string{`"msg":"name parked: see`, `"error":"data of event 3 has no value"`} {
			if !strings.Contains(s.output.String(), want) {
				return fmt.Errorf("the log does not have %s", want)
			}
		}
		return nil
	})
}

// seen returns the positions of the first n changes of a namespace that a watch
// shows.
func seen(t *testing.T, ns *client.Namespace, n int) (positions []string) {
	t.Helper()
	for e, err := range ns.Watch(t.Context(), client.WatchOptions{After: client.Begin}) {
		if err != nil {
			t.Errorf("watch: %v", err)
			return positions
		}
		if positions = append(positions, strconv.FormatInt(e.Position, 10)); len(positions) == n {
			return positions
		}
	}
	return positions
}

// appendBroken appends an event to the log whose data says nothing, as a program
// with a bug would.
func (s *system) appendBroken(t *testing.T, namespace, name string, version int64) {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), s.database)
	mustBe(t, err)
	defer pool.Close()
	var origin string
	e := config.Event{
		Namespace: namespace, Name: name, Version: version, ID: "0191f3a2-0000-7000-8000-0000000000aa", Type: config.ValueSet, SchemaVersion: 1,
		CommandID: "0191f3a2-0000-7000-8000-0000000000ab", CorrelationID: "c", RecordedAt: time.Now().UTC().Truncate(time.Microsecond),
		Data: []byte(`{"config_name":"bad"}`),
	}
	var hash []byte
	tx, err := pool.Begin(t.Context())
	mustBe(t, err)
	mustBe(t, tx.QueryRow(t.Context(), `select origin::text, position + 1, hash from eventstore.log_head for update`).Scan(&origin, &e.Position, &hash))
	e.Commit = e.Position
	e.Hash = e.ChainHash(config.Hash(hash), origin)
	_, err = tx.Exec(t.Context(), `insert into eventstore.events
		(position, namespace, name, version, event_id, type, schema_version, commit_position, command_id, actor, reason, correlation_id, request_id, recorded_at, data, hash)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, '', '', $10, '', $11, $12, $13)`,
		e.Position, e.Namespace, e.Name, e.Version, e.ID, string(e.Type), e.SchemaVersion, e.Commit, e.CommandID, e.CorrelationID, e.RecordedAt, e.Data, e.Hash[:])
	mustBe(t, err)
	_, err = tx.Exec(t.Context(), `update eventstore.log_head set position = $1, recorded_at = $2, hash = $3`, e.Position, e.RecordedAt, e.Hash[:])
	mustBe(t, err)
	mustBe(t, tx.Commit(t.Context()))
}
