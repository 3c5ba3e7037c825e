package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/config-api/config-api/shared/config"
)

// WatchOptions say what to watch, and from where.
type WatchOptions struct {
	Name   string // this config only
	Prefix string // configs whose names begin with it only
	// After is the position after which the watch begins: the zero Token is
	// now, or what this client has seen last; Begin is the beginning.
	After config.Token
	// Reached, if not nil, is called with each position that the watch has
	// reached: the service tells it also when nothing matches. What it was
	// called with last can be the After of a later watch.
	Reached func(config.Token)
}

// Begin is before the first event.
var Begin = config.Token{Position: -1}

// Watch yields the changes of a namespace as they are made, in order, each once,
// until ctx ends. It resumes by itself after whatever breaks the connection. An
// error is the last that is yielded: what trying again can't mend, like
// [ErrInvalid], or [ErrEpochMismatch] when the log was restored from a backup.
func (n *Namespace) Watch(ctx context.Context, o WatchOptions) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		at := o.After
		if at == (config.Token{}) {
			at = n.client.Seen()
		}
		for failures := 1; ; failures++ {
			reached, err := n.watchOnce(ctx, o, at, func(e Event) bool { return yield(e, nil) })
			if reached != at {
				at, failures = reached, 1
			}
			switch {
			case err == nil: // the caller has enough
				return
			case ctx.Err() != nil:
				return
			case !passing(err):
				yield(Event{}, err)
				return
			}
			if pause(ctx, failures, err) != nil {
				return
			}
		}
	}
}

// watchOnce follows one connection, and returns how far it got. The error is nil
// when yield wanted no more.
func (n *Namespace) watchOnce(ctx context.Context, o WatchOptions, at config.Token, yield func(Event) bool) (config.Token, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := request{method: http.MethodGet, path: n.path + "/watch", query: url.Values{}, header: http.Header{"Accept": {"text/event-stream"}}}
	for name, text := range map[string]string{"name": o.Name, "prefix": o.Prefix} {
		if text != "" {
			r.query.Set(name, text)
		}
	}
	switch {
	case at == Begin:
		r.query.Set("from_position", "0")
	case at.Position > 0 || at.Epoch != "": // position 0 too, of a log that had no event then
		r.header.Set("Last-Event-ID", at.String())
	}
	response, err := n.client.send(ctx, r)
	if err != nil {
		return at, err
	}
	defer response.Body.Close()
	for stream := bufio.NewReader(response.Body); ; {
		m, err := readMessage(stream)
		if err != nil {
			return at, fmt.Errorf("watch: %w", err)
		}
		var e Event
		switch m.event {
		case "bookmark":
		case "dropped":
			var why struct{ Detail string }
			_ = json.Unmarshal([]byte(m.data), &why)
			return at, errors.New("the watch was ended: " + why.Detail)
		default:
			if err := json.Unmarshal([]byte(m.data), &e); err != nil {
				return at, &Error{Detail: fmt.Sprintf("the watch's event %s: %v", m.id, err)}
			}
			if !yield(e) {
				return at, nil
			}
		}
		if t, err := config.ParseToken(m.id); err == nil {
			if at = t; t == (config.Token{}) { // the log has no event yet
				at = Begin
			}
			n.client.Echo(t)
			if o.Reached != nil {
				o.Reached(t)
			}
		}
	}
}

// message is one server-sent event.
type message struct{ event, id, data string }

// readMessage reads up to the empty line behind a message.
// https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
func readMessage(r *bufio.Reader) (m message, err error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return m, err
		}
		line = strings.TrimRight(line, "\r\n")
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "" && m != (message{}):
			return m, nil
		case field == "event":
			m.event = value
		case field == "id":
			m.id = value
		case field == "data" && m.data == "":
			m.data = value
		case field == "data":
			m.data += "\n" + value
		}
	}
}
