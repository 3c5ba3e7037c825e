package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/config-api/config-api/shared/config"
)

// Head reads the end of the log.
func (c *Client) Head(ctx context.Context) (Head, error) {
	var answer Head
	err := c.read(ctx, "/v2/log/head", nil, nil, &answer)
	return answer, err
}

// Verify has the service check the chain of hashes; zeros are the ends of the
// log.
func (c *Client) Verify(ctx context.Context, from, to int64) (Verification, error) {
	values := url.Values{}
	for name, position := range map[string]int64{"from": from, "to": to} {
		if position > 0 {
			values.Set(name, strconv.FormatInt(position, 10))
		}
	}
	var answer Verification
	err := c.read(ctx, "/v2/log/verify", values, nil, &answer)
	return answer, err
}

// Events reads up to limit events of the log after a position, 1000 at most, and
// returns where the log ends. There may be fewer although there are more: go on
// after the last one.
func (c *Client) Events(ctx context.Context, after int64, limit int) (events []config.Record, head int64, err error) {
	var answer struct {
		Items    []config.Record
		Position int64
	}
	err = c.read(ctx, "/v2/log/events", window(after, limit), nil, &answer)
	return answer.Items, answer.Position, err
}

// StoredMessage is a message of the feed as it lies in NATS.
type StoredMessage struct {
	Sequence int64               `json:"sequence"`
	Subject  string              `json:"subject"`
	Headers  map[string][]string `json:"headers"`
	Event    json.RawMessage     `json:"event"` // the body, if it is JSON
}

// Feed reads up to limit messages of the feed after a position, 1000 at most, and
// returns where it ends.
func (c *Client) Feed(ctx context.Context, after int64, limit int) (messages []StoredMessage, last int64, err error) {
	var answer struct {
		Items []StoredMessage
		Last  int64 `json:"last_sequence"`
	}
	err = c.read(ctx, "/v2/log/feed", window(after, limit), nil, &answer)
	return answer.Items, answer.Last, err
}

func window(after int64, limit int) url.Values {
	return url.Values{"from_position": {strconv.FormatInt(after, 10)}, "limit": {strconv.Itoa(limit)}}
}

// PositionAt returns the position that a time stands for: of the last change at
// or before it, 0 if there was none. It is final when no later change can be
// recorded at or before the time.
func (c *Client) PositionAt(ctx context.Context, t time.Time) (position int64, final bool, err error) {
	var answer struct {
		Position int64
		Final    bool
	}
	err = c.read(ctx, "/v2/position", nil, []ReadOption{At(t)}, &answer)
	return answer.Position, answer.Final, err
}

// Export writes the whole log, with its chain of hashes, as it was when the export
// began: a [config.ExportHeader], then a [config.Record] for each event, one a
// line. Every hash is checked on the way; an export that does not hold, or does
// not come to its end, is an error. progress, if not nil, is called now and then.
func (c *Client) Export(ctx context.Context, w io.Writer, progress func(done, total int64)) (config.ExportHeader, error) {
	response, err := c.send(ctx, request{method: http.MethodGet, path: "/v2/log/export", header: http.Header{}})
	if err != nil {
		return config.ExportHeader{}, err
	}
	defer response.Body.Close()
	return copyExport(response.Body, w, progress)
}

// copyExport copies an export and checks it.
func copyExport(r io.Reader, w io.Writer, progress func(done, total int64)) (config.ExportHeader, error) {
	var header config.ExportHeader
	in := bufio.NewReaderSize(r, 64<<10)
	next := func(into any) error {
		line, err := in.ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, into)
		}
		if err == nil {
			_, err = w.Write(line)
		}
		return err
	}
	if err := next(&header); err != nil {
		return header, fmt.Errorf("the export's first line: %w", err)
	}
	if header.Format != config.ExportFormat {
		return header, fmt.Errorf("the export is of format %q, and not %s", header.Format, config.ExportFormat)
	}
	var hash config.Hash
	for position := int64(1); position <= header.Position; position++ {
		var record config.Record
		if err := next(&record); err != nil {
			return header, fmt.Errorf("the export is cut off before event %d of %d: %w", position, header.Position, err)
		}
		event, err := record.Event()
		if err != nil || event.Position != position || event.ChainHash(hash, header.Origin) != event.Hash {
			return header, fmt.Errorf("event %d of the export does not have the hash that it and the event before it give", position)
		}
		hash = event.Hash
		if progress != nil && (position%1000 == 0 || position == header.Position) {
			progress(position, header.Position)
		}
	}
	if want, err := config.ParseHash(header.Hash); err != nil || want != hash {
		return header, errors.New("the export ends with another hash than its header says")
	}
	return header, nil
}

// Import fills an empty log with an export, all or nothing, and returns where the
// log ends then. It is not tried again. The error is [ErrConflict] when the log
// is not empty.
func (c *Client) Import(ctx context.Context, export io.Reader) (Head, error) {
	httpRequest, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/v2/log/import", export)
	if err != nil {
		return Head{}, err
	}
	httpRequest.Header.Set("Content-Type", "application/x-ndjson")
	response, err := c.http.Do(httpRequest)
	if err != nil {
		return Head{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		return Head{}, failureOf(response)
	}
	c.note(response, nil)
	var head Head
	err = json.NewDecoder(response.Body).Decode(&head)
	return head, err
}

// Recover gives the log, whose present epoch is named, a new one, and has the feed
// made anew from it: after a restore, or when the feed was changed. The read
// tables need [Client.Rebuild] then.
func (c *Client) Recover(ctx context.Context, epoch string) (Head, error) {
	body, err := encode(map[string]string{"epoch": epoch})
	if err != nil {
		return Head{}, err
	}
	// Not tried again: the second time the epoch would be another.
	response, err := c.send(ctx, request{
		method: http.MethodPost, path: "/v2/log/recover", header: http.Header{"Content-Type": {"application/json"}}, body: body,
	})
	if err != nil {
		return Head{}, err
	}
	defer response.Body.Close()
	var head Head
	err = json.NewDecoder(response.Body).Decode(&head)
	return head, err
}
