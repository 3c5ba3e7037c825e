// Package client is a Go client of the v2 HTTP API.
//
//	c, err := client.New("http://127.0.0.1:4000", client.WithActor("ann"))
//	shop := c.Namespace("shop")
//	_, err = shop.Set(ctx, "checkout.timeout", 30, client.Reason("slow bank"))
//	got, err := shop.Get(ctx, "checkout.timeout")
//
// Reads show all writes and reads made before with the same [Client]: it echoes
// the highest position it has seen. A request that fails for a passing reason is
// sent again, a write with an idempotency key, so that it is done once.
package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/config-api/config-api/shared/config"
)

const (
	defaultAttempts = 5
	// The wait between attempts doubles from the first to the longest, each
	// time a random part of it.
	firstPause, longestPause = 50 * time.Millisecond, 5 * time.Second
)

// Client talks to one Config API. It may be used by many goroutines.
type Client struct {
	base     string // without a slash at the end
	http     *http.Client
	actor    string
	attempts int

	mu   sync.Mutex
	seen config.Token
}

// Option configures a [Client].
type Option func(*Client)

// WithActor says who makes the writes, in the absence of a credential.
func WithActor(actor string) Option { return func(c *Client) { c.actor = actor } }

// WithHTTPClient replaces [http.DefaultClient]. A timeout of its own would also
// end watches.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = h } }

// WithAttempts says how often a request is sent before its failure is returned;
// 5 by default, 1 is never again. Watches go on for ever.
func WithAttempts(n int) Option { return func(c *Client) { c.attempts = max(1, n) } }

// New returns a client of the API at a base URL, like http://127.0.0.1:4000. It
// makes no connection yet.
func New(base string, options ...Option) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not the URL of a Config API: use one like http://127.0.0.1:4000", base)
	}
	c := &Client{base: strings.TrimSuffix(base, "/"), http: http.DefaultClient, attempts: defaultAttempts}
	for _, option := range options {
		option(c)
	}
	return c, nil
}

// Namespace returns a namespace. It needs no creation.
func (c *Client) Namespace(name string) *Namespace {
	return &Namespace{client: c, name: name, path: "/v2/namespaces/" + url.PathEscape(name)}
}

// Seen returns the highest position that an answer to this client was of; the
// zero token before the first.
func (c *Client) Seen() config.Token {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen
}

// Echo makes later reads show at least a position that another client has seen:
// hand on [Client.Seen] with the message that tells of a write.
func (c *Client) Echo(t config.Token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.Epoch != c.seen.Epoch && t.Epoch != "" || t.Position > c.seen.Position {
		c.seen = t
	}
}

// note takes what an answer says of its position, or forgets what was seen of a
// log that is no more.
func (c *Client) note(answer *http.Response, failure *Error) {
	if failure != nil && failure.Code == config.EpochMismatch {
		c.mu.Lock()
		c.seen = config.Token{}
		c.mu.Unlock()
		return
	}
	// A read of the past answers the present position too.
	if t, err := config.ParseToken(answer.Header.Get("Config-Position")); err == nil {
		c.Echo(t)
	}
}

// Namespaces returns all namespaces, by name.
func (c *Client) Namespaces(ctx context.Context, options ...ReadOption) ([]NamespaceInfo, error) {
	var answer struct{ Items []NamespaceInfo }
	err := c.read(ctx, "/v2/namespaces", nil, options, &answer)
	return answer.Items, err
}
