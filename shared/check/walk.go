package check

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
)

const (
	// pageSize is how many events are read at a time.
	pageSize = 1000
	// samples is about how many states of the past are compared.
	samples = 12
	// waitFor is how long a query service may take to reach the log's head.
	waitFor = 30 * time.Second
)

// walk goes through the log once, and holds everything else against it.
type walk struct {
	c     *client.Client
	o     Options
	head  client.Head
	until int64 // position up to which the log is read
	every int64 // how many events lie between two samples

	at       int64 // checked up to there
	hash     config.Hash
	recorded time.Time
	set      *config.Event              // the first event of the set that is not whole yet
	commands map[string]bool            // ids
	byID     map[string]int64           // the last position of each request
	twice    map[string]bool            // requests with more than one change set
	fold     map[string]map[string]fact // by namespace and name
	parked   map[[2]string]int64        // the first position of each parked name
	pages    map[int64][]memory         // what query services remembered at a position

	events, sets, names, messages, rows, remembered, reads, states int
	feedEnd                                                        int64

	commandsWhole, chain, versions, feed, model, forward, served, rebuilt, past, acknowledged Result
}

// fact is the present state of a config in the fold.
type fact struct {
	version, position int64
	value             config.Value // nil when deleted
	actor             string
}

// memory is the first page of a namespace, as a query service remembers it.
type memory struct {
	reader    int
	namespace string
	page      client.Page
}

func newWalk(c *client.Client, o Options) *walk {
	return &walk{
		c: c, o: o, commands: map[string]bool{}, byID: map[string]int64{}, twice: map[string]bool{},
		fold: map[string]map[string]fact{}, pages: map[int64][]memory{},
		commandsWhole: Result{Invariant: "I1", Says: "the events of a command are contiguous, and there once"},
		chain:         Result{Invariant: "I2", Says: "positions have no gaps, times rise, the chain of hashes holds"},
		versions:      Result{Invariant: "I3", Says: "the versions of a name are 1 to n"},
		feed:          Result{Invariant: "I4", Says: "message p of the feed is event p of the log"},
		model:         Result{Invariant: "I5", Says: "the read tables and the memory are the fold of the log"},
		forward:       Result{Invariant: "I6", Says: "the position served does not go back"},
		served:        Result{Invariant: "I7", Says: "a read that waits for a position shows it"},
		rebuilt:       Result{Invariant: "I8", Says: "a rebuild gives what is read"},
		past:          Result{Invariant: "I9", Says: "a read of the past is the fold up to then, each time"},
		acknowledged:  Result{Invariant: "I10", Says: "an acknowledged write is in the log, once"},
	}
}

// remember reads what a query service has in memory, after it has reached the
// log's head.
func (w *walk) remember(ctx context.Context, i int, reader *client.Client) error {
	reader.Echo(config.Token{Epoch: w.head.Epoch, Position: w.head.Position})
	namespaces, err := reader.Namespaces(ctx, client.Wait(waitFor))
	if err != nil {
		return err
	}
	reached := int64(0)
	for _, ns := range namespaces {
		page, err := reader.Namespace(ns.Namespace).ListPage(ctx, "", pageSize, "", client.Wait(waitFor))
		if err != nil {
			return err
		}
		if page.Position < w.head.Position {
			w.served.fault("query service %d answered with position %d where %d was asked for", i+1, page.Position, w.head.Position)
		}
		if page.Position < reached {
			w.forward.fault("query service %d answered with position %d after %d", i+1, page.Position, reached)
		}
		reached = page.Position
		w.pages[page.Position] = append(w.pages[page.Position], memory{i, ns.Namespace, page})
		w.until = max(w.until, page.Position)
		w.reads++
	}
	return nil
}

// log walks the events, and the messages and rows beside them.
func (w *walk) log(ctx context.Context) error {
	w.every = max(w.until/samples, 1)
	w.compareMemory()
	for w.at < w.until {
		records, _, err := w.c.Events(ctx, w.at, pageSize)
		if err != nil {
			return fmt.Errorf("events after %d: %w", w.at, err)
		}
		if len(records) == 0 {
			w.chain.fault("event %d is missing: the log ends at %d", w.at+1, w.until)
			return nil
		}
		events := make([]config.Event, 0, len(records))
		for i := range records {
			e, err := records[i].Event()
			if err != nil {
				w.chain.fault("event %d has no hash", records[i].Position)
			}
			events = append(events, e)
		}
		if err := w.compareFeed(ctx, events); err != nil {
			return err
		}
		if err := w.compareHistory(ctx, events); err != nil {
			return err
		}
		for i := range events {
			if err := w.event(ctx, &events[i]); err != nil {
				return err
			}
		}
		if w.o.Progress != nil {
			w.o.Progress(min(w.at, w.until), w.until)
		}
	}
	return nil
}

// event checks one event of the log, and what is known of the state after it.
func (w *walk) event(ctx context.Context, e *config.Event) error {
	if e.Position != w.at+1 {
		w.chain.fault("event %d follows event %d", e.Position, w.at)
	}
	if e.ChainHash(w.hash, w.head.Origin) != e.Hash {
		w.chain.fault("event %d does not have the hash that its content and the event before it give", e.Position)
	}
	if !e.RecordedAt.After(w.recorded) {
		w.chain.fault("event %d is recorded at %s, not later than the event before it", e.Position, e.RecordedAt.Format(time.RFC3339Nano))
	}
	w.at, w.hash, w.recorded = e.Position, e.Hash, e.RecordedAt
	w.events++
	w.command(e)

	names := w.fold[e.Namespace]
	if names == nil {
		names = map[string]fact{}
		w.fold[e.Namespace] = names
	}
	before, seen := names[e.Name]
	if !seen {
		w.names++
	}
	if e.Version != before.version+1 {
		w.versions.fault("event %d has version %d of %s in %s, which is at %d", e.Position, e.Version, e.Name, e.Namespace, before.version)
	}
	payload, err := e.Payload()
	if err != nil && !w.waits(*e) {
		w.model.fault("event %d can't be read: %v", e.Position, err)
	}
	names[e.Name] = fact{e.Version, e.Position, payload.Value, e.Actor}
	if e.Position != e.Commit {
		return nil
	}
	w.compareMemory()
	if e.Position%w.every == 0 || e.Position+1 == w.until {
		return w.comparePast(ctx, e)
	}
	return nil
}

// command checks the change set that an event is in.
func (w *walk) command(e *config.Event) {
	if w.set == nil {
		if w.commands[e.CommandID] {
			w.commandsWhole.fault("event %d is of command %s, which has events before", e.Position, e.CommandID)
		}
		w.commands[e.CommandID] = true
		if last, seen := w.byID[e.RequestID]; seen && last < e.Position {
			w.twice[e.RequestID] = true
		}
		first := *e
		w.set = &first
		w.sets++
	}
	if e.CommandID != w.set.CommandID || e.Commit != w.set.Commit || e.CorrelationID != w.set.CorrelationID || e.Position > e.Commit {
		w.commandsWhole.fault("event %d is in the middle of the change set that begins at %d and is not of it", e.Position, w.set.Position)
	}
	w.byID[e.RequestID] = e.Commit
	if e.Position >= e.Commit {
		w.set = nil
	}
}

// compareMemory compares what query services remembered at this position.
func (w *walk) compareMemory() {
	for _, m := range w.pages[w.at] {
		what := fmt.Sprintf("the memory of query service %d at position %d", m.reader+1, w.at)
		w.compareState(&w.model, what, m.namespace, m.page.Items, m.page.Next == "")
		w.remembered += len(m.page.Items)
	}
	delete(w.pages, w.at)
}

// compareState compares the configs of a namespace with the fold; of a part, only
// those up to its last.
func (w *walk) compareState(r *Result, what, namespace string, items []client.Config, whole bool) {
	have := make(map[string]bool, len(items))
	last := ""
	for _, item := range items {
		have[item.Name], last = true, item.Name
		f := w.fold[namespace][item.Name]
		if f.value == nil || f.version != item.Version || f.position != item.Position || !bytes.Equal(f.value, item.Value) || f.actor != item.UpdatedBy {
			r.fault("%s has %s of %s with version %d of position %d, the log version %d of position %d", what, item.Name, namespace, item.Version, item.Position, f.version, f.position)
		}
	}
	for name, f := range w.fold[namespace] {
		if _, parked := w.parked[[2]string{namespace, name}]; parked {
			continue
		}
		if f.value != nil && !have[name] && !strings.HasPrefix(name, "$") && (whole || name < last) {
			r.fault("%s does not have %s of %s, which is there since position %d", what, name, namespace, f.position)
		}
	}
}

// compareFeed compares the messages at the positions of events with them.
func (w *walk) compareFeed(ctx context.Context, events []config.Event) error {
	for len(events) > 0 {
		messages, end, err := w.c.Feed(ctx, events[0].Position-1, len(events))
		if err != nil {
			return fmt.Errorf("the feed after %d: %w", events[0].Position-1, err)
		}
		w.feedEnd = end
		for _, m := range messages {
			for len(events) > 0 && events[0].Position < m.Sequence {
				w.feed.fault("message %d of the feed is missing", events[0].Position)
				events = events[1:]
			}
			if len(events) > 0 {
				w.message(&events[0], &m)
				events = events[1:]
			}
		}
		if len(messages) == 0 {
			for _, e := range events {
				if e.Position <= end {
					w.feed.fault("message %d of the feed is missing", e.Position)
				}
			}
			return nil // what is behind the end is not published yet
		}
	}
	return nil
}

func (w *walk) message(e *config.Event, m *client.StoredMessage) {
	w.messages++
	record := config.RecordOf(e)
	var got struct {
		ID            string           `json:"id"`
		Type          config.EventType `json:"type"`
		Time          time.Time        `json:"time"`
		Namespace     string           `json:"namespace"`
		Name          string           `json:"configname"`
		Position      int64            `json:"position,string"`
		Version       int64            `json:"version,string"`
		Commit        int64            `json:"commit,string"`
		SchemaVersion int              `json:"schemaversion"`
		Epoch         string           `json:"epoch"`
		CommandID     string           `json:"commandid"`
		CorrelationID string           `json:"correlationid"`
		RequestID     string           `json:"requestid"`
		Actor         string           `json:"actor"`
		Reason        string           `json:"reason"`
		Hash          string           `json:"hash"`
		Data          json.RawMessage  `json:"data"`
	}
	if err := json.Unmarshal(m.Event, &got); err != nil {
		w.feed.fault("message %d of the feed can't be read: %v", m.Sequence, err)
		return
	}
	same := got.ID == record.EventID && got.Type == record.Type && got.Time.Equal(record.RecordedAt) && got.Namespace == record.Namespace &&
		got.Name == record.Name && got.Position == record.Position && got.Version == record.Version && got.Commit == record.Commit &&
		got.SchemaVersion == record.SchemaVersion && got.CommandID == record.CommandID && got.CorrelationID == record.CorrelationID &&
		got.RequestID == record.RequestID && got.Actor == record.Actor && got.Reason == record.Reason && got.Hash == record.Hash &&
		bytes.Equal(got.Data, record.Data)
	header := func(name string) string { return strings.Join(m.Headers[name], ",") }
	switch {
	case !same || m.Sequence != e.Position:
		w.feed.fault("message %d of the feed is not event %d of the log", m.Sequence, e.Position)
	case got.Epoch != w.head.Epoch || header("Config-Epoch") != w.head.Epoch:
		w.feed.fault("message %d of the feed is of epoch %s, the log's is %s", m.Sequence, got.Epoch, w.head.Epoch)
	case header("Config-Position") != strconv.FormatInt(e.Position, 10) || header("Config-Hash") != record.Hash || header("Config-Version") != strconv.FormatInt(e.Version, 10):
		w.feed.fault("message %d of the feed has headers that are not those of event %d", m.Sequence, e.Position)
	}
}

// waits reports whether an event is not applied, because its name is parked.
func (w *walk) waits(e config.Event) bool {
	first, parked := w.parked[[2]string{e.Namespace, e.Name}]
	return parked && first <= e.Position
}

// park reads which names are parked.
func (w *walk) park(ctx context.Context) error {
	projections, err := w.c.Projections(ctx)
	if err != nil {
		return fmt.Errorf("the projections: %w", err)
	}
	w.parked = map[[2]string]int64{}
	for _, p := range projections {
		for _, n := range p.Parked {
			w.parked[[2]string{n.Namespace, n.Name}] = n.Position
		}
		if p.ParkedNames > len(p.Parked) {
			return fmt.Errorf("%d names are parked, more than are listed: mend and retry them first", p.ParkedNames)
		}
	}
	return nil
}

// compareHistory compares the rows of the history with the events.
func (w *walk) compareHistory(ctx context.Context, events []config.Event) error {
	events = slices.DeleteFunc(slices.Clone(events), w.waits)
	if len(events) == 0 {
		return nil
	}
	i := len(events) - 1
	for row, err := range w.c.Audit(ctx, client.AuditQuery{}, client.AtPosition(events[i].Position), client.Wait(waitFor)) {
		if err != nil {
			return fmt.Errorf("the history up to %d: %w", events[i].Position, err)
		}
		w.row(&events[i], &row)
		if i--; i < 0 {
			return nil
		}
	}
	w.model.fault("the history ends before event %d", events[i].Position)
	return nil
}

func (w *walk) row(e *config.Event, row *client.Event) {
	w.rows++
	p, err := e.Payload()
	if err != nil {
		return // said elsewhere
	}
	or := func(v config.Value) []byte {
		if v == nil {
			return []byte("null")
		}
		return v
	}
	if row.Position != e.Position || row.Namespace != e.Namespace || row.Name != e.Name || row.Version != e.Version || row.Type != e.Type ||
		row.Commit != e.Commit || !row.RecordedAt.Equal(e.RecordedAt) || row.Actor != e.Actor || row.Reason != e.Reason ||
		row.CorrelationID != e.CorrelationID || row.RequestID != e.RequestID || row.EventID != e.ID ||
		!bytes.Equal(row.Value, or(p.Value)) || !bytes.Equal(row.OldValue, or(p.OldValue)) {
		w.model.fault("the history's row of event %d is not what the log has", e.Position)
	}
}

// comparePast reads the namespace of an event as of its position and its time.
func (w *walk) comparePast(ctx context.Context, e *config.Event) error {
	ns := w.c.Namespace(e.Namespace)
	for _, at := range []client.ReadOption{client.AtPosition(e.Position), client.At(e.RecordedAt), client.AtPosition(e.Position)} {
		var items []client.Config
		for item, err := range ns.List(ctx, "", at, client.Wait(waitFor)) {
			if err != nil {
				return fmt.Errorf("%s as of position %d: %w", e.Namespace, e.Position, err)
			}
			items = append(items, item)
		}
		w.compareState(&w.past, fmt.Sprintf("a read as of position %d", e.Position), e.Namespace, items, true)
		w.states++
	}
	return nil
}

// tables compares the current values in the read tables with the fold.
func (w *walk) tables(ctx context.Context) error {
	for _, namespace := range slices.Sorted(maps.Keys(w.fold)) {
		var items []client.Config
		for item, err := range w.c.Namespace(namespace).List(ctx, "", client.AtPosition(w.at), client.Wait(waitFor)) {
			if err != nil {
				return fmt.Errorf("%s in the read tables: %w", namespace, err)
			}
			items = append(items, item)
		}
		w.compareState(&w.model, "the read tables", namespace, items, true)
		w.rows += len(items)
	}
	return nil
}

// requests looks for the events of writes that were acknowledged.
func (w *walk) requests(ids []string) {
	for _, id := range ids {
		switch _, there := w.byID[id]; {
		case !there:
			w.acknowledged.fault("request %s was acknowledged, and the log has no event of it", id)
		case w.twice[id]:
			w.acknowledged.fault("request %s has more than one change set", id)
		}
	}
}

// rebuild looks how the last rebuild has ended.
func (w *walk) rebuild(ctx context.Context) error {
	r, err := w.c.Rebuild(ctx)
	switch {
	case errors.Is(err, client.ErrNotFound):
		return nil // there was none
	case err != nil:
		return fmt.Errorf("the last rebuild: %w", err)
	case r.State == "failed":
		w.rebuilt.fault("generation %d: %s", r.Generation, r.Detail)
	case r.State != "done":
		return nil
	}
	w.rebuilt.Checked = fmt.Sprintf("generation %d, compared before it was read", r.Generation)
	return nil
}

// end looks whether the feed has more than the log.
func (w *walk) end(ctx context.Context) error {
	_, feed, err := w.c.Feed(ctx, w.at, 1)
	if err != nil {
		return fmt.Errorf("the end of the feed: %w", err)
	}
	head, err := w.c.Head(ctx) // after it: what is published was committed before
	if err != nil {
		return fmt.Errorf("the end of the log: %w", err)
	}
	if feed > head.Position {
		w.feed.fault("the feed ends at %d, behind the log's end at %d", feed, head.Position)
	}
	return nil
}

func (w *walk) results() []*Result {
	w.commandsWhole.Checked = fmt.Sprintf("%d change sets", w.sets)
	w.chain.Checked = fmt.Sprintf("%d events", w.events)
	w.versions.Checked = fmt.Sprintf("%d names", w.names)
	w.feed.Checked = fmt.Sprintf("%d messages", w.messages)
	w.model.Checked = fmt.Sprintf("%d rows, %d configs in the memory of %d query services", w.rows, w.remembered, len(w.o.Readers))
	w.served.Checked = fmt.Sprintf("%d reads", w.reads)
	if behind := w.at - w.feedEnd; behind > 0 {
		w.feed.Checked += fmt.Sprintf(" (%d are not published yet)", behind)
	}
	if n := len(w.parked); n > 0 {
		w.model.Checked += fmt.Sprintf(" (%d names are parked)", n)
	}
	w.forward.Checked = w.served.Checked
	w.past.Checked = fmt.Sprintf("%d states", w.states)
	if n := len(w.o.Requests); n > 0 {
		w.acknowledged.Checked = fmt.Sprintf("%d requests", n)
	}
	return []*Result{&w.commandsWhole, &w.chain, &w.versions, &w.feed, &w.model, &w.forward, &w.served, &w.rebuilt, &w.past, &w.acknowledged}
}
