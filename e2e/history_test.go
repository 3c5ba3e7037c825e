//go:build crash || compose

package e2e

import (
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
)

// history is what clients of the cluster were told, as they were told it.
type history struct {
	mu         sync.Mutex
	attempts   []*request
	told       []told // of writes
	past       []pastRead
	violations []string
	unmended   []string // what failed, and its retries too
	requests   int
	lost       int // acknowledged, and not in the log
	doubled    int // in the log more than once
	writes     pulse
	reads      pulse
}

// request is a write and its answer.
type request struct {
	id        string
	namespace string
	changes   []change
	outcome   string // acknowledged, refused or doubt
	position  int64  // of the last event, if the answer has it
	failure   string // the last, of one in doubt
	order     int    // among the requests of its writer
	writer    string
}

type change struct {
	name, value string
	delete      bool
}

// What became of a write, as far as its client knows.
const (
	acknowledged = "acknowledged"
	refused      = "refused"
	doubt        = "in doubt"
)

// told is what a client was told of a config, which every later read that asks
// for this position must show, or something newer.
type told struct {
	namespace, name, value string
	version                int64
	token                  config.Token
}

// pastRead is a read of the past that was said to be final.
type pastRead struct{ path, body string }

// pulse is when something was last seen to work, and the longest pause.
type pulse struct {
	last    time.Time
	longest time.Duration
	count   int
}

func (p *pulse) beat() {
	now := time.Now()
	if !p.last.IsZero() {
		p.longest = max(p.longest, now.Sub(p.last))
	}
	p.last = now
	p.count++
}

func (h *history) violation(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.violations = append(h.violations, fmt.Sprintf(format, args...))
}

// round begins a new measurement of the longest pauses, and returns the old ones.
func (h *history) round() (writes, reads time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	writes, reads = max(h.writes.longest, now.Sub(h.writes.last)), max(h.reads.longest, now.Sub(h.reads.last))
	h.writes.longest, h.reads.longest = 0, 0
	return writes, reads
}

func (h *history) count(outcome string) int {
	n := 0
	for _, r := range h.attempts {
		if r.outcome == outcome {
			n++
		}
	}
	return n
}

// withRequestID is the transport of a client whose requests carry the id that
// their context has, however often they are sent.
type withRequestID struct{ http.RoundTripper }

type requestIDKey struct{}

func (w withRequestID) RoundTrip(r *http.Request) (*http.Response, error) {
	if id, ok := r.Context().Value(requestIDKey{}).(string); ok {
		r = r.Clone(r.Context())
		r.Header.Set("X-Request-Id", id)
	}
	return w.RoundTripper.RoundTrip(r)
}

// load is clients at work. Each pauses between its requests, so that the machine
// has room for what heals.
type load struct {
	*history
	url   string // of the gateway
	pace  time.Duration
	tries int // of a write of v2, by the client
	// retries of what has no key by itself: reads, and writes of v1, which then
	// have one.
	retries int

	transport *http.Transport
	working   sync.WaitGroup
	stop      context.CancelFunc
}

const (
	v2Namespace = "survival"
	// answerWithin is how long a client waits for one answer.
	answerWithin = 5 * time.Second
	// retryAfter is what services ask for when something is down.
	retryAfter = time.Second
)

func (l *load) start(t *testing.T, seed uint64, writers, readers int) *load {
	t.Helper()
	l.history, l.transport = &history{}, &http.Transport{MaxIdleConnsPerHost: 64}
	ctx, stop := context.WithCancel(t.Context())
	l.stop = stop
	l.writes.last, l.reads.last = time.Now(), time.Now()
	for i := range writers {
		l.working.Go(func() { l.write(ctx, t, i, rand.New(rand.NewPCG(seed, uint64(i+1)))) })
	}
	for i := range readers {
		l.working.Go(func() { l.read(ctx, rand.New(rand.NewPCG(seed, uint64(i+1000)))) })
	}
	t.Cleanup(l.end)
	return l
}

// end returns when all clients have had their last answer.
func (l *load) end() {
	l.stop()
	l.working.Wait()
	l.transport.CloseIdleConnections()
}

func (l *load) rest(ctx context.Context, random *rand.Rand) {
	select {
	case <-time.After(l.pace/2 + time.Duration(random.Int64N(int64(l.pace)))):
	case <-ctx.Done():
	}
}

// write sends one write after the other, to names that are this writer's own.
func (l *load) write(ctx context.Context, t *testing.T, writer int, random *rand.Rand) {
	http := &http.Client{Transport: withRequestID{l.transport}, Timeout: answerWithin}
	api, err := client.New(l.url, client.WithActor(fmt.Sprint("writer", writer)), client.WithHTTPClient(http), client.WithAttempts(l.tries))
	if err != nil {
		t.Error(err)
		return
	}
	run := cryptorand.Text()[:8] // several loads may work on the same system
	for n := 0; ctx.Err() == nil; n++ {
		r := &request{writer: fmt.Sprint(writer), order: n, id: fmt.Sprintf("%s-writer%d-%d", run, writer, n), namespace: v2Namespace}
		set := 1
		switch random.IntN(4) {
		case 0:
			r.namespace = config.DefaultNamespace
		case 1:
			set = 2 + random.IntN(9)
		}
		for i := range set {
			r.changes = append(r.changes, change{
				name: fmt.Sprintf("writer%d-%d", writer, (n+i)%12), value: fmt.Sprintf("value %d.%d of writer %d", n, i, writer),
				delete: random.IntN(5) == 0,
			})
		}
		// What was begun is finished, so that its outcome is known.
		sending := context.WithValue(context.WithoutCancel(ctx), requestIDKey{}, r.id)
		if r.namespace == config.DefaultNamespace {
			l.writeV1(sending, http, r)
		} else {
			_ = l.writeV2(sending, api, r) // the history has its outcome
		}
		l.mu.Lock()
		l.attempts = append(l.attempts, r)
		l.requests++
		switch r.outcome {
		case acknowledged:
			l.writes.beat()
		case doubt:
			l.unmended = append(l.unmended, "write "+r.id+": "+r.failure)
		}
		l.mu.Unlock()
		l.rest(ctx, random)
	}
}

// writeV1 sends a write again only if it may. Whatever is no clear answer in the end
// is in doubt.
func (l *load) writeV1(ctx context.Context, c *http.Client, r *request) {
	for try := 0; ; try++ {
		if l.sendV1(ctx, c, r); r.outcome != doubt || try == l.retries {
			return
		}
		time.Sleep(retryAfter)
	}
}

func (l *load) sendV1(ctx context.Context, c *http.Client, r *request) {
	method, body := http.MethodPut, fmt.Sprintf(`{"value":%q}`, r.changes[0].value)
	if r.changes[0].delete {
		method, body = http.MethodDelete, ""
	}
	r.outcome = doubt
	sent, err := http.NewRequestWithContext(ctx, method, l.url+"/v1/config/"+r.changes[0].name, strings.NewReader(body))
	if err != nil {
		return
	}
	if l.retries > 0 {
		sent.Header.Set("Idempotency-Key", r.id)
	}
	resp, err := c.Do(sent)
	if err != nil {
		r.failure = err.Error()
		return
	}
	_ = resp.Body.Close()
	r.failure = resp.Status
	switch resp.StatusCode {
	case http.StatusOK:
		r.outcome = acknowledged
	case http.StatusNotFound, http.StatusGone:
		r.outcome = refused
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
	default:
		l.violation("%s %s: answered %s", method, r.id, resp.Status)
	}
}

func (l *load) writeV2(ctx context.Context, api *client.Client, r *request) error {
	ns, first := api.Namespace(r.namespace), r.changes[0]
	var err error
	var versions []int64
	switch {
	case len(r.changes) > 1:
		changes := make([]client.Change, len(r.changes))
		for i, c := range r.changes {
			if changes[i] = client.Set(c.name, c.value); c.delete {
				changes[i] = client.Delete(c.name)
			}
		}
		var done client.ChangeSet
		done, err = ns.Apply(ctx, changes)
		r.position = done.Position
		for _, c := range done.Changes {
			versions = append(versions, c.Version)
		}
	case first.delete:
		var done client.Written
		done, err = ns.Delete(ctx, first.name)
		r.position, versions = done.Position, []int64{done.Version}
	default:
		var done client.Written
		done, err = ns.Set(ctx, first.name, first.value)
		r.position, versions = done.Position, []int64{done.Version}
	}
	var answered *client.Error
	switch {
	case err == nil:
		r.outcome = acknowledged
		l.tell(api, r, versions)
	case errors.Is(err, client.ErrNotFound), errors.Is(err, client.ErrGone), errors.Is(err, client.ErrConflict):
		r.outcome = refused
	case errors.As(err, &answered) && answered.Status < 500, errors.As(err, &answered) && answered.Status == http.StatusInternalServerError:
		r.outcome = doubt
		l.violation("write %s: answered %d: %v", r.id, answered.Status, err)
	default:
		r.outcome, r.failure = doubt, err.Error()
	}
	return err
}

// tell has readers look for what was written.
func (l *load) tell(api *client.Client, r *request, versions []int64) {
	token := config.Token{Epoch: api.Seen().Epoch, Position: r.position}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, c := range r.changes {
		value := c.value
		if c.delete {
			value = ""
		}
		l.told = append(l.told, told{r.namespace, c.name, value, versions[i], token})
	}
}
