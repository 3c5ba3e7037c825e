//go:build crash || compose

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/config-api/config-api/shared/config"
)

// remembered is how many reads of the past are repeated at the end.
const remembered = 300

func positionOf(resp *http.Response) config.Token {
	t, _ := config.ParseToken(resp.Header.Get("Config-Position"))
	return t
}

// read reads what writers were told, by turns of the instances, and sees whether
// it is there (I7) and whether the position that it is served ever goes back (I6).
func (l *load) read(ctx context.Context, random *rand.Rand) {
	client := &http.Client{Transport: l.transport, Timeout: answerWithin}
	var seen config.Token
	for ctx.Err() == nil {
		if about, ok := l.pick(random); ok {
			if seen.Position < about.token.Position {
				seen = about.token
			}
			if random.IntN(10) == 0 {
				l.readPast(ctx, client, about, random)
			} else {
				seen = l.readNow(ctx, client, about, seen)
			}
		}
		l.rest(ctx, random)
	}
}

// pick prefers what was written last.
func (l *load) pick(random *rand.Rand) (told, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.told) == 0 {
		return told{}, false
	}
	return l.told[len(l.told)-1-random.IntN(min(len(l.told), 40))], true
}

func (l *load) readNow(ctx context.Context, client *http.Client, about told, seen config.Token) config.Token {
	path := fmt.Sprintf("/v2/namespaces/%s/configs/%s", about.namespace, about.name)
	got := l.get(ctx, client, path, seen)
	if got == nil {
		return seen
	}
	switch got.status {
	case http.StatusOK:
		var shown struct {
			Value   string
			Version int64
		}
		if err := json.Unmarshal(got.body, &shown); err != nil {
			l.violation("read of %s: %v", about.name, err)
			return seen
		}
		older := shown.Version < about.version
		other := shown.Version == about.version && shown.Value != about.value
		if older || other {
			l.violation("I7: a read of %s that waited for %v shows version %d (%q); version %d (%q) was acknowledged at %v",
				about.name, seen, shown.Version, shown.Value, about.version, about.value, about.token)
		}
	case http.StatusNotFound: // a later write may have deleted it; its version is not in the answer
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return seen
	default:
		l.violation("read of %s with token %v: answered %d: %s", about.name, seen, got.status, got.body)
		return seen
	}
	if got.at.Epoch != seen.Epoch || got.at.Position < seen.Position {
		l.violation("I6: a client that had seen %v was served %v", seen, got.at)
	}
	l.mu.Lock()
	l.reads.beat()
	l.mu.Unlock()
	return got.at
}

// readPast reads a time or a position and remembers the answer, if it is final.
func (l *load) readPast(ctx context.Context, client *http.Client, about told, random *rand.Rand) {
	path := fmt.Sprintf("/v2/namespaces/%s/configs?limit=1000&at_position=%d", about.namespace, about.token.Position)
	if random.IntN(2) == 0 {
		at := time.Now().Add(-time.Duration(random.IntN(3000)) * time.Millisecond)
		path = fmt.Sprintf("/v2/namespaces/%s/configs?limit=1000&at=%s", about.namespace, url.QueryEscape(at.UTC().Format(time.RFC3339Nano)))
	}
	got := l.get(ctx, client, path, config.Token{})
	if got == nil || got.status != http.StatusOK {
		return
	}
	var shown struct{ Final bool }
	if err := json.Unmarshal(got.body, &shown); err != nil {
		l.violation("read of %s: %v", path, err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if shown.Final {
		if len(l.past) < remembered {
			l.past = append(l.past, pastRead{path, string(got.body)})
		} else {
			l.past[random.IntN(remembered)] = pastRead{path, string(got.body)}
		}
	}
}

// answered is what a read was answered.
type answered struct {
	status int
	at     config.Token
	body   []byte
}

// get returns nil without an answer, retries included.
func (l *load) get(ctx context.Context, client *http.Client, path string, seen config.Token) *answered {
	for try := 0; ; try++ {
		got := l.getOnce(ctx, client, path, seen)
		if got != nil && got.status < http.StatusInternalServerError || ctx.Err() != nil {
			return got
		}
		if try == l.retries {
			l.mu.Lock()
			l.unmended = append(l.unmended, fmt.Sprintf("read %s: %+v", path, got))
			l.mu.Unlock()
			return got
		}
		time.Sleep(retryAfter)
	}
}

func (l *load) getOnce(ctx context.Context, client *http.Client, path string, seen config.Token) *answered {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url+path, nil)
	if err != nil {
		return nil
	}
	if seen.Position > 0 {
		r.Header.Set("Config-Min-Position", seen.String())
	}
	l.mu.Lock()
	l.requests++
	l.mu.Unlock()
	resp, err := client.Do(r)
	if err != nil {
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil
	}
	return &answered{resp.StatusCode, positionOf(resp), body}
}

// repeatPast sees whether every query service still answers the same of the past
// (I9), and returns how many answers that were.
func (l *load) repeatPast(ctx context.Context, queries []string) int {
	client := &http.Client{Transport: l.transport, Timeout: answerWithin}
	for _, was := range l.past {
		for _, q := range queries {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, q+was.path, nil)
			if err != nil {
				l.violation("%v", err)
				continue
			}
			resp, err := client.Do(r)
			if err != nil {
				l.violation("%v", err)
				continue
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || string(body) != was.body {
				l.violation("I9: %s%s answered\n%s\nand now answers (%v)\n%s", q, was.path, was.body, err, body)
			}
		}
	}
	return len(l.past)
}
