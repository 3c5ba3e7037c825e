package query

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/tracing"
)

const (
	// bookmarkEvery is how often a watch without news says where it is.
	bookmarkEvery = 15 * time.Second
	// watchWrite is how long one write to a watcher may take: a reader that
	// stops reading is dropped after it.
	watchWrite = 10 * time.Second
	// watchBehind is the most events that a watch may be behind the view. One
	// that is further behind reads the tables, or is dropped.
	watchBehind              = 10_000
	defaultWatchers          = 10_000
	defaultWatchersPerClient = 2_000
	// replayPage is how many events are read from the tables at a time.
	replayPage = 1000
)

// watchers counts the open watches and ends them at shutdown.
type watchers struct {
	options Options
	behind  int64 // the most events that a watch may be behind the view
	stopped chan struct{}
	sent    atomic.Int64 // events, to all watches

	mu     sync.Mutex
	open   int
	client map[string]int
}

func newWatchers(o Options) *watchers {
	if o.Watchers == 0 {
		o.Watchers, o.WatchersPerClient = defaultWatchers, defaultWatchersPerClient
	}
	return &watchers{options: o, behind: watchBehind, stopped: make(chan struct{}), client: map[string]int{}}
}

func (w *watchers) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.stopped:
	default:
		close(w.stopped)
	}
}

func (w *watchers) enter(client string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open >= w.options.Watchers {
		return config.Errorf(config.TooManyRequests, "there are %d open watches, the most that this service allows: try again later, or another", w.open)
	}
	if w.client[client] >= w.options.WatchersPerClient {
		return config.Errorf(config.TooManyRequests, "you have %d open watches, the most that one address may have: close some", w.client[client])
	}
	w.open++
	w.client[client]++
	return nil
}

func (w *watchers) leave(client string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open--
	if w.client[client]--; w.client[client] == 0 {
		delete(w.client, client)
	}
}

// filter is which events of a namespace a watch shows.
type filter struct{ namespace, name, prefix string }

func (f filter) matches(namespace, name string) bool {
	return namespace == f.namespace && (f.name == "" || name == f.name) && strings.HasPrefix(name, f.prefix)
}

// watch streams the changes of a namespace as server-sent events: first those
// after from_position (or Last-Event-ID) from the read tables, then live ones.
// There is no gap and no repetition at the seam: the live part begins at the
// very link of the chain whose position the old part was read up to.
func (s *Service) watch(c echo.Context) error {
	f := filter{c.Param("namespace"), c.QueryParam("name"), c.QueryParam("prefix")}
	if err := config.CheckNamespace(f.namespace); err != nil {
		return err
	}
	if f.name != "" {
		if err := config.CheckName(f.name); err != nil {
			return err
		}
	}
	r, err := s.parseRead(c)
	if err != nil {
		return err
	}
	if r.past {
		return config.Errorf(config.Invalid, "a watch has no at: use from_position to begin in the past")
	}
	now, err := s.memory(c, &r)
	if err != nil {
		return err
	}
	start, err := startOf(c, now)
	if err != nil {
		return err
	}
	if start.Position > now.position {
		r.wanted = start
		if now, err = s.memory(c, &r); err != nil {
			return err
		}
	}
	if err := s.watchers.enter(c.RealIP()); err != nil {
		return err
	}
	defer s.watchers.leave(c.RealIP())
	w := &watch{service: s, filter: f, epoch: now.epoch, position: start.Position, c: c, control: http.NewResponseController(c.Response())}
	w.open()
	w.run(c.Request().Context())
	return nil // what went wrong was said in the stream, or there is no one to say it to
}

// startOf is the position after which the watch begins: the Last-Event-ID of a
// client that reconnects, else from_position, else now.
func startOf(c echo.Context, now *state) (config.Token, error) {
	text := c.Request().Header.Get("Last-Event-ID")
	if text == "" {
		text = c.QueryParam("from_position")
	}
	if text == "" {
		return now.token(), nil
	}
	start, err := parsePosition(text)
	if err != nil {
		return start, err
	}
	if start.OfOtherLog(now.token()) {
		return start, errEpoch
	}
	if start.Epoch == "" {
		start.Epoch = now.epoch
	}
	return start, nil
}

// watch is one open stream.
type watch struct {
	service  *Service
	filter   filter
	epoch    string
	position int64 // all up to it has been shown
	c        echo.Context
	control  *http.ResponseController
}

func (w *watch) open() {
	h := w.c.Response().Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies would hold events back
	w.c.Response().WriteHeader(http.StatusOK)
}

func (w *watch) run(ctx context.Context) {
	// The first thing a client sees is where it is.
	if w.send(w.bookmark()) != nil {
		return
	}
	bookmarks := time.NewTicker(bookmarkEvery)
	defer bookmarks.Stop()
	at := w.catchUp(ctx)
	for at != nil {
		select {
		case <-at.ready:
			at = w.show(ctx, at.next)
		case <-bookmarks.C:
			if w.send(w.bookmark()) != nil {
				return
			}
		case <-w.service.watchers.stopped:
			_ = w.send(w.dropped("the service is stopping: connect again"))
			return
		case <-ctx.Done():
			return
		}
	}
}

// show sends the link's events and returns it, or nil when the watch is over.
func (w *watch) show(ctx context.Context, k *link) *link {
	if !w.isOf(k.epoch) {
		_ = w.send(w.dropped("the log was restored or made anew: read the namespace again and watch from there"))
		return nil
	}
	if w.service.live.newest.Load().position-k.position > w.service.watchers.behind {
		_ = w.send(w.dropped("you read too slowly: connect again, the Last-Event-ID says from where"))
		return nil
	}
	if k.from > w.position {
		return w.catchUp(ctx) // the view was loaded anew and has skipped events
	}
	var out []byte
	var spans tracing.Spans
	events := 0
	for i, message := range k.messages() {
		if e := &k.events[i]; e.Position > w.position && w.filter.matches(e.Namespace, e.Name) {
			out = append(out, message...)
			spans = append(spans, w.service.tracer.Handle("watch", k.events[i:i+1])...)
			events++
		}
	}
	err := w.sendEvents(out, events)
	spans.End(err)
	if err != nil {
		return nil
	}
	w.position = max(w.position, k.position)
	return k
}

// isOf reports whether the watch is one of this log. A watch that began when the
// log had no event yet is of the log that gets the first.
func (w *watch) isOf(epoch string) bool {
	if w.epoch == "" {
		w.epoch = epoch
	}
	return w.epoch == epoch
}

// catchUp shows what the read tables have after the watch's position, up to a
// link of the live chain, and returns that link; nil when the watch is over.
func (w *watch) catchUp(ctx context.Context) *link {
	target := w.service.live.newest.Load()
	for w.position < target.position {
		entries, reached, err := w.page(ctx, target.position)
		if err != nil {
			if ctx.Err() == nil {
				w.service.logger.Warn("a watch ended while catching up", "error", err)
				_ = w.send(w.dropped("the past can't be read now: connect again"))
			}
			return nil
		}
		var out []byte
		events := 0
		for i := range entries {
			if e := &entries[i]; w.filter.matches(e.Namespace, e.Name) {
				out = append(out, encodeChange(w.epoch, changeOf(e))...)
				events++
			}
		}
		if w.sendEvents(out, events) != nil {
			return nil
		}
		w.position = reached
		// While that was read the view went on, and the chain behind target
		// is held in memory: take a newer one before it gets long.
		if newest := w.service.live.newest.Load(); newest.position-target.position > w.service.watchers.behind/2 {
			target = newest
		}
	}
	return target
}

// page reads the next events of the namespace up to a position, and says how
// far that is. It waits for the read tables to have them.
func (w *watch) page(ctx context.Context, to int64) ([]readmodel.Entry, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	var entries []readmodel.Entry
	seen, err := w.service.readTables(ctx, config.Token{Epoch: w.epoch, Position: to}, func(ctx context.Context) (checkpoint readmodel.Checkpoint, err error) {
		entries, checkpoint, err = w.service.store.Between(ctx, w.filter.namespace, w.position, to, replayPage)
		return checkpoint, err
	})
	switch {
	case err != nil:
		return nil, 0, err
	case !w.isOf(seen.Epoch):
		return nil, 0, errEpoch
	case len(entries) == replayPage:
		return entries, entries[replayPage-1].Position, nil
	case seen.Position < to:
		return nil, 0, config.Errorf(config.Unavailable, "the read tables are behind")
	default:
		return entries, to, nil
	}
}

// sendEvents is send of so many events.
func (w *watch) sendEvents(out []byte, events int) error {
	err := w.send(out)
	if err == nil {
		w.service.watchers.sent.Add(int64(events))
	}
	return err
}

// send writes and flushes; an error means that the watch is over.
func (w *watch) send(out []byte) error {
	if len(out) == 0 {
		return nil
	}
	_ = w.control.SetWriteDeadline(time.Now().Add(watchWrite))
	if _, err := w.c.Response().Write(out); err != nil {
		return err
	}
	return w.control.Flush()
}

// bookmark says which position has been reached.
func (w *watch) bookmark() []byte {
	return message("bookmark", config.Token{Epoch: w.epoch, Position: w.position}, []byte(`{"position":`+strconv.FormatInt(w.position, 10)+`}`))
}

// dropped is the last event of a watch that the service ends.
func (w *watch) dropped(why string) []byte {
	data, err := json.Marshal(map[string]any{"position": w.position, "detail": why})
	if err != nil {
		panic(err) // a number and a text
	}
	return message("dropped", config.Token{Epoch: w.epoch, Position: w.position}, data)
}

// message is one server-sent event. JSON has no line breaks, so data is one
// line.
func message(event string, id config.Token, data []byte) []byte {
	b := make([]byte, 0, len(data)+96)
	b = append(b, "event: "...)
	b = append(b, event...)
	b = append(b, "\nid: "...)
	b = append(b, id.String()...)
	b = append(b, "\ndata: "...)
	b = append(b, data...)
	return append(b, "\n\n"...)
}

func encodeChange(epoch string, ch change) []byte {
	data, err := service.EncodeJSON(ch)
	if err != nil { // its values were checked when they came in
		data = []byte(`{}`)
	}
	return message(string(ch.Type), config.Token{Epoch: epoch, Position: ch.Position}, data)
}

func encodeEvent(epoch string, e *config.Event) []byte {
	entry, err := readmodel.EntryOf(e)
	if err != nil { // the view has applied it, so it can be read
		entry = readmodel.Entry{}
	}
	return encodeChange(epoch, changeOf(&entry))
}
