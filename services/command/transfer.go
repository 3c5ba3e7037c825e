package command

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/service"
)

const (
	ndjson = "application/x-ndjson"
	// maxLine is the longest line of an export: an event has two values of a
	// megabyte, which JSON can escape to six times as much.
	maxLine = 16 << 20
	// importPause is how long an import may send nothing.
	importPause = 30 * time.Second
)

// getExport answers the whole log: a header, and a line for each event. A log that
// can't be read to its end breaks the connection off.
func (s *Service) getExport(c echo.Context) error {
	ctx := c.Request().Context()
	head, err := s.log.Head(ctx)
	if err != nil {
		return err
	}
	_ = http.NewResponseController(c.Response()).SetWriteDeadline(time.Time{})
	c.Response().Header().Set(echo.HeaderContentType, ndjson)
	c.Response().Header().Set(echo.HeaderContentDisposition, fmt.Sprintf(`attachment; filename="config-api-%d.ndjson"`, head.Position))
	c.Response().Header().Set("Config-Position", head.Token().String())
	out := bufio.NewWriterSize(c.Response(), 64<<10)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	err = lines.Encode(config.ExportHeader{
		Format: config.ExportFormat, Origin: head.Origin, Epoch: head.Epoch, Position: head.Position,
		RecordedAt: head.RecordedAt, Hash: hex.EncodeToString(head.Hash[:]),
	})
	for at := int64(0); err == nil && at < head.Position; {
		events, readErr := s.log.Read(ctx, at, config.MaxChanges)
		if readErr != nil || len(events) == 0 {
			err = errors.Join(readErr, fmt.Errorf("no events after %d", at))
			break
		}
		for i := range events {
			if at = events[i].Position; at <= head.Position && err == nil {
				err = lines.Encode(config.RecordOf(&events[i]))
			}
		}
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		s.logger.Warn("export broken off", "request_id", service.RequestID(c), "error", err)
		panic(http.ErrAbortHandler) // the status has gone out: else it would look whole
	}
	return nil
}

// postImport fills an empty log with an export.
func (s *Service) postImport(c echo.Context) error {
	control := http.NewResponseController(c.Response())
	_ = control.SetWriteDeadline(time.Time{})
	lines := exported{body: bufio.NewReaderSize(patient{control, c.Request().Body}, 64<<10)}
	var header config.ExportHeader
	if err := lines.next(&header); err != nil {
		return err
	}
	if header.Format != config.ExportFormat {
		return config.Errorf(config.Invalid, "line 1: format %q is not %s: is this an export of a log?", header.Format, config.ExportFormat)
	}
	want, err := config.ParseHash(header.Hash)
	if err != nil {
		return err
	}
	head, err := s.log.Import(c.Request().Context(), header.Origin, want, lines.events(header.Position))
	if err != nil {
		return err
	}
	s.logger.Info("log imported", "request_id", service.RequestID(c), "position", head.Position, "origin", head.Origin)
	c.Response().Header().Set("Config-Position", head.Token().String())
	return c.JSON(http.StatusCreated, headOf(head))
}

// patient is a body that may take as long as it likes, but not stand still.
type patient struct {
	control *http.ResponseController
	body    io.Reader
}

func (p patient) Read(b []byte) (int, error) {
	_ = p.control.SetReadDeadline(time.Now().Add(importPause))
	return p.body.Read(b)
}

// exported reads the lines of an export.
type exported struct {
	body *bufio.Reader
	line int
}

// next reads a line, [io.EOF] after the last.
func (x *exported) next(into any) error {
	x.line++
	var line []byte
	for {
		part, err := x.body.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			return config.Errorf(config.Invalid, "line %d is longer than any event", x.line)
		case err == nil || errors.Is(err, io.EOF) && len(line) > 0:
			decoder := json.NewDecoder(bytes.NewReader(line))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(into); err != nil {
				return config.Errorf(config.Invalid, "line %d is not what an export has there: %v", x.line, err)
			}
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return config.Errorf(config.Invalid, "the export is cut off before line %d", x.line)
		default:
			return config.Errorf(config.Invalid, "the export stopped coming at line %d", x.line)
		}
	}
}

// events reads as many.
func (x *exported) events(n int64) iter.Seq2[config.Event, error] {
	return func(yield func(config.Event, error) bool) {
		for range n {
			var record config.Record
			err := x.next(&record)
			var e config.Event
			if err == nil {
				e, err = record.Event()
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
		if _, err := x.body.Peek(1); err == nil {
			yield(config.Event{}, config.Errorf(config.Invalid, "line %d: there are more events than line 1 says", x.line+1))
		}
	}
}

// postRecover gives the log a new epoch and has the feed made anew from it.
func (s *Service) postRecover(c echo.Context) error {
	body, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return service.BodyError(err)
	}
	var request struct {
		Epoch string `json:"epoch"`
	}
	if err := service.DecodeJSON(body, &request); err != nil {
		return err
	}
	ctx := c.Request().Context()
	head, err := s.log.Recover(ctx, request.Epoch)
	if err != nil {
		return err
	}
	s.logger.Warn("the log has a new epoch", "request_id", service.RequestID(c), "position", head.Position, "epoch", head.Epoch, "old_epoch", request.Epoch)
	if err := feed.Discard(ctx, s.js); err != nil {
		s.logger.Warn("the feed can't be deleted", "request_id", service.RequestID(c), "error", err)
		return config.Errorf(config.Unavailable,
			"the log has the new epoch %s, but the old feed can't be deleted: do it again with that epoch when NATS is back", head.Epoch)
	}
	s.relay.retry()
	c.Response().Header().Set("Config-Position", head.Token().String())
	return c.JSON(http.StatusOK, headOf(head))
}

// storedMessage is a message of the feed, as it lies there.
type storedMessage struct {
	Sequence int64               `json:"sequence"`
	Subject  string              `json:"subject"`
	Headers  map[string][]string `json:"headers"`
	Event    json.RawMessage     `json:"event,omitempty"` // the body
	Body     []byte              `json:"body,omitempty"`  // if that is not JSON
}

// getFeed answers what the feed has, for comparison with the log.
func (s *Service) getFeed(c echo.Context) error {
	after, err := number(c, "from_position", 0, 0, 1<<62)
	if err != nil {
		return err
	}
	limit, err := number(c, "limit", config.MaxChanges, 1, config.MaxChanges)
	if err != nil {
		return err
	}
	messages, last, err := feed.ReadStored(c.Request().Context(), s.js, after, int(limit))
	if err != nil && !errors.Is(err, feed.ErrNoStream) {
		s.logger.Warn("the feed can't be looked at", "request_id", service.RequestID(c), "error", err)
		return config.Errorf(config.Unavailable, "the feed can't be looked at: try again")
	}
	items := make([]storedMessage, len(messages))
	for i, m := range messages {
		items[i] = storedMessage{Sequence: m.Sequence, Subject: m.Subject, Headers: m.Header}
		if json.Valid(m.Body) {
			items[i].Event = m.Body
		} else {
			items[i].Body = m.Body
		}
	}
	return c.JSON(http.StatusOK, map[string]any{"items": items, "last_sequence": last})
}
