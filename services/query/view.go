package query

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/btree"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/pg"
	"github.com/config-api/config-api/shared/readmodel"
)

const (
	// applyAtOnce is about the most events that make one state. While they are
	// applied the next ones gather.
	applyAtOnce = 2000
	// reloadPause is between two tries to load the view.
	reloadPause = 500 * time.Millisecond
	// haltedPause is how often it is looked whether the feed was mended.
	haltedPause = 10 * time.Second
	// behindPause is how long tables that were made anew are given to reach
	// what is served.
	behindPause = 20 * time.Millisecond
)

// state is every current value at one position. It never changes: whoever holds
// one reads without locks, and sees change sets whole.
type state struct {
	epoch      string
	position   int64
	hash       config.Hash // of the event at position
	recordedAt time.Time
	rows       *btree.Map[string, *readmodel.Row] // by key, deleted ones too
	parked     *readmodel.ParkedNames             // whose rows are not what they should be
	superseded chan struct{}                      // closed when there is a newer state
}

func (s *state) token() config.Token { return config.Token{Epoch: s.epoch, Position: s.position} }

// key orders the rows by namespace, then name. A '/' is in neither.
func key(namespace, name string) string { return namespace + "/" + name }

// get returns a config, or one of version 0 if it was never there. The error is
// [config.Parked].
func (s *state) get(namespace, name string) (*readmodel.Row, error) {
	if parked := s.parked.Find(namespace, name, s.position); parked != nil {
		return nil, parked.Error()
	}
	row, ok := s.rows.Get(key(namespace, name))
	if !ok {
		return &readmodel.Row{Namespace: namespace, Name: name}, nil
	}
	return row, nil
}

// list calls f with the live configs of a namespace whose names have the prefix
// and come after a name, in order, until f returns false. It leaves out what is
// parked.
func (s *state) list(namespace, prefix, after string, f func(*readmodel.Row) bool) {
	start := namespace + "/" + max(prefix, firstName)
	if after >= prefix {
		start = max(start, key(namespace, after)+"\x00")
	}
	s.rows.Ascend(start, func(k string, row *readmodel.Row) bool {
		if !strings.HasPrefix(k, namespace+"/"+prefix) {
			return false
		}
		return row.Deleted || s.parked.Find(row.Namespace, row.Name, s.position) != nil || f(row)
	})
}

// firstName is before every name of a config and after every stream of a
// schema.
const firstName = "-"

// view keeps the newest state: loaded from the read tables in one snapshot,
// then kept fresh by the feed.
type view struct {
	store  *readmodel.Store
	js     jetstream.JetStream
	logger *slog.Logger
	// changed is called after each new state, with the events that made it.
	changed func(*state, []config.Event)

	rows       *btree.Map[string, *readmodel.Row] // of run alone; states have copies of it
	generation atomic.Int64                       // of the read tables that were loaded
	revision   atomic.Int64                       // of what was parked in them
	remade     chan struct{}                      // another generation is read now
	current    atomic.Pointer[state]              // nil until the first load
	loaded     chan struct{}                      // closed by the first load
	problem    atomic.Pointer[error]              // why the state is not kept fresh, if so
	loads      atomic.Int64                       // from the read tables
}

// errLoading is the answer to a read that has waited for the first state in vain.
var errLoading = config.Errorf(config.Unavailable, "the service is starting: try again")

// now returns the newest state.
func (v *view) now() (*state, error) {
	if s := v.current.Load(); s != nil {
		return s, nil
	}
	return nil, errLoading
}

// wait returns a state that has reached the position, or the newest one when
// ctx ends before.
func (v *view) wait(ctx context.Context, position int64) (*state, error) {
	for {
		s, err := v.now()
		newer := v.loaded
		if err == nil {
			if s.position >= position {
				return s, nil
			}
			newer = s.superseded
		}
		select {
		case <-newer:
		case <-ctx.Done():
			return s, err
		}
	}
}

// run loads and follows until ctx ends. It loads anew when the feed is of
// another log than the state, and halts on an event that this program does not
// understand: what it has is still served. A [*pg.NewerError] ends it.
func (v *view) run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := v.follow(ctx)
		var newer *pg.NewerError
		if errors.As(err, &newer) {
			return newer
		}
		if ctx.Err() == nil {
			v.await(ctx, err)
		}
	}
	return nil
}

// await waits until, after an error, another try is worth while.
func (v *view) await(ctx context.Context, err error) {
	if errors.Is(err, errRemade) {
		v.logger.Info("the read tables were made anew, loading them")
		return
	}
	if errors.Is(err, errBehind) {
		pause(ctx, behindPause)
		return
	}
	v.problem.Store(&err)
	var unknown *config.UnknownEventError
	if errors.As(err, &unknown) {
		v.logger.Error("the view has halted: see \"An event is newer than the program\" in docs/operations.md", "error", err)
		<-ctx.Done()
		return
	}
	var tampered *feed.TamperedError
	var missing *feed.MissingError
	if errors.As(err, &tampered) || errors.As(err, &missing) {
		v.logger.Error("the view has halted: see \"The log was restored, or the feed was changed\" in docs/operations.md", "error", err)
		select {
		case <-time.After(haltedPause):
		case <-v.remade: // from a feed that was made anew, most likely
		case <-ctx.Done():
		}
		return
	}
	v.logger.Warn("the view is not kept fresh, loading it anew", "error", err)
	pause(ctx, reloadPause)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

var (
	errRemade = errors.New("another generation of the read tables is read now")
	// errBehind means that the new generation has not reached what was served.
	errBehind = errors.New("the read tables are behind")
)

// heard is called with the generation that a projector works on, and the revision
// of its set of parked names.
func (v *view) heard(generation, revision int64) {
	if loaded := v.generation.Load(); generation == 0 || loaded == 0 || generation == loaded && revision == v.revision.Load() {
		return
	}
	select {
	case v.remade <- struct{}{}:
	default:
	}
}

// changes are whole change sets on their way from the feed into a state.
type changes struct {
	epoch  string
	events []config.Event
}

func (v *view) follow(ctx context.Context) error {
	s, err := v.load(ctx)
	if err != nil {
		return err
	}
	v.problem.Store(nil)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	arrived := make(chan changes, applyAtOnce)
	followed := make(chan error, 1)
	go func() {
		followed <- feed.Follow(ctx, v.js, feed.Place{Token: s.token(), Hash: s.hash}, v.logger, func(epoch string, events []config.Event) error {
			select {
			case arrived <- changes{epoch, events}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	for {
		select {
		case first := <-arrived:
			if s, err = v.apply(s, gather(first, arrived)); err != nil {
				return err
			}
		case err := <-followed:
			return err
		case <-v.remade:
			if !v.asLoaded(ctx) {
				return errRemade
			}
		}
	}
}

// asLoaded reports whether the read tables are still those that were loaded, although
// others were announced: a standby does not have them yet. They are announced again.
func (v *view) asLoaded(ctx context.Context) bool {
	there, err := v.store.Checkpoint(ctx)
	return err == nil && there.Generation == v.generation.Load() && there.Revision == v.revision.Load()
}

// gather takes what has arrived behind first, without waiting.
func gather(first changes, arrived <-chan changes) []changes {
	all, events := []changes{first}, len(first.events)
	for events < applyAtOnce {
		select {
		case next := <-arrived:
			all = append(all, next)
			events += len(next.events)
		default:
			return all
		}
	}
	return all
}

func (v *view) load(ctx context.Context) (*state, error) {
	// Once loaded it goes on beside a newer program that migrates.
	if v.current.Load() == nil {
		if err := v.store.Check(ctx); err != nil {
			return nil, err
		}
	}
	rows := new(btree.Map[string, *readmodel.Row])
	checkpoint, err := v.store.Load(ctx, func(row readmodel.Row) error {
		rows.Set(key(row.Namespace, row.Name), &row)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s := &state{
		epoch: checkpoint.Epoch, position: checkpoint.Position, hash: checkpoint.Hash, recordedAt: checkpoint.RecordedAt,
		rows: rows.Copy(), parked: checkpoint.Parked, superseded: make(chan struct{}),
	}
	if old := v.current.Load(); old != nil && old.epoch == s.epoch && old.position > s.position {
		// What was served never goes back. Of the same tables the feed goes on
		// from there; others are waited for.
		if v.generation.Load() != checkpoint.Generation || v.revision.Load() != checkpoint.Revision {
			return nil, errBehind
		}
		return old, nil
	}
	v.generation.Store(checkpoint.Generation)
	v.revision.Store(checkpoint.Revision)
	v.rows = rows
	v.publish(s, nil)
	v.loads.Add(1)
	v.logger.Info("view loaded", "position", s.position, "names", rows.Len())
	return s, nil
}

// apply makes the next state from s and whole change sets.
func (v *view) apply(s *state, all []changes) (*state, error) {
	var events []config.Event
	for _, c := range all {
		events = append(events, c.events...)
	}
	last := events[len(events)-1]
	parked, applied := s.parked, events[:0]
	for i := range events {
		e := &events[i]
		if parked.Find(e.Namespace, e.Name, e.Position) != nil {
			continue // it waits behind another
		}
		row, err := readmodel.RowOf(e)
		var unknown *config.UnknownEventError
		if errors.As(err, &unknown) {
			return nil, err
		}
		if err != nil { // as the projector does
			parked = parked.With(readmodel.Parked{
				Namespace: e.Namespace, Name: e.Name, Position: e.Position, Events: 1, Reason: err.Error(), Since: e.RecordedAt,
			})
			continue
		}
		row.Keep()
		v.rows.Set(key(row.Namespace, row.Name), &row)
		applied = append(applied, *e)
	}
	next := &state{
		epoch: all[len(all)-1].epoch, position: last.Position, hash: last.Hash, recordedAt: last.RecordedAt,
		rows: v.rows.Copy(), parked: parked, superseded: make(chan struct{}),
	}
	v.publish(next, applied)
	return next, nil
}

func (v *view) publish(s *state, events []config.Event) {
	old := v.current.Swap(s)
	v.changed(s, events)
	if old == nil {
		close(v.loaded)
	} else {
		close(old.superseded)
	}
}
