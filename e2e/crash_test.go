//go:build crash

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	crashSeed   = flag.Uint64("seed", uint64(time.Now().UnixNano()), "what the crash test's choices follow from")
	crashRounds = flag.Int("rounds", 8, "how often configd is killed")
)

const (
	crashWriters = 12
	crashNames   = 3 // a writer has as many of its own
)

// TestCrash kills configd with SIGKILL in the middle of concurrent writes, again
// and again on the same data. After each restart every write that was answered
// is there, once and in order, every other that is there was at least asked for,
// and all that is derived from the log agrees with it.
func TestCrash(t *testing.T) {
	t.Logf("to repeat this run: -seed=%d", *crashSeed)
	random := rand.New(rand.NewPCG(*crashSeed, 0))
	d := newDaemon(t)
	writers := make([]*writer, crashWriters)
	for i := range writers {
		writers[i] = &writer{id: i, daemon: d, random: rand.New(rand.NewPCG(*crashSeed, uint64(i+1)))}
	}
	for round := range *crashRounds {
		d.start(t)
		if random.IntN(4) == 0 { // it must survive being killed while it starts, too
			d.killAfter(t, time.Duration(random.IntN(400))*time.Millisecond)
			d.start(t)
		}
		d.awaitReady(t)
		if round > 0 {
			check(t, d, writers)
		}
		var writing sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		for _, w := range writers {
			writing.Go(func() { w.write(ctx) })
		}
		d.killAfter(t, 50*time.Millisecond+time.Duration(random.IntN(1200))*time.Millisecond)
		stop()
		writing.Wait()
	}
	d.start(t)
	d.awaitReady(t)
	check(t, d, writers)
	d.interrupt(t)

	acknowledged, unknown := 0, 0
	for _, w := range writers {
		for _, a := range w.attempts {
			if a.acknowledged {
				acknowledged++
			} else {
				unknown++
			}
		}
	}
	t.Logf("%d rounds, %d writes acknowledged, %d in doubt at a kill", *crashRounds, acknowledged, unknown)
	if acknowledged < crashWriters**crashRounds {
		t.Error("too few writes to say anything")
	}
}

// attempt is a write that got no refusal: it was acknowledged, or its answer
// never came.
type attempt struct {
	id           string // of the request, which the event keeps
	name, value  string // value is unique
	delete       bool
	acknowledged bool
}

// writer writes one thing after the other to its own names.
type writer struct {
	id       int
	daemon   *daemon
	random   *rand.Rand
	sent     int
	attempts []attempt
}

// write goes on until a write gets no answer.
func (w *writer) write(ctx context.Context) {
	for {
		w.sent++
		a := attempt{
			id:     fmt.Sprintf("writer%d-%d", w.id, w.sent),
			name:   fmt.Sprintf("writer%d-%d", w.id, w.random.IntN(crashNames)),
			value:  fmt.Sprintf("value %d of writer %d", len(w.attempts), w.id),
			delete: w.random.IntN(5) == 0,
		}
		status, err := w.send(ctx, a)
		switch {
		case err == nil && status == http.StatusOK:
			a.acknowledged = true
			w.attempts = append(w.attempts, a)
		case err == nil && a.delete && (status == http.StatusNotFound || status == http.StatusGone):
		case errors.Is(err, syscall.ECONNREFUSED):
			return // never sent
		default: // cut off, or a 503 whose write may still have been committed
			w.attempts = append(w.attempts, a)
			return
		}
	}
}

func (w *writer) send(ctx context.Context, a attempt) (int, error) {
	method, body := http.MethodPut, fmt.Sprintf(`{"value":%q}`, a.value)
	if a.delete {
		method, body = http.MethodDelete, ""
	}
	req, err := http.NewRequestWithContext(ctx, method, w.daemon.url+"/v1/config/"+a.name, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("X-Request-Id", a.id)
	resp, err := w.daemon.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}
