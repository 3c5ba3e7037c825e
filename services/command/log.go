package command

import (
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/mod/sumdb/note"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
)

// logHead answers where the log ends. Note is the head signed as a note, when a
// key is configured: a copy kept elsewhere proves that nothing before it was
// rewritten since.
type logHead struct {
	Epoch      string    `json:"epoch"`
	Origin     string    `json:"origin"`
	Position   int64     `json:"position"`
	RecordedAt time.Time `json:"recorded_at"`
	Hash       string    `json:"hash"`
	Note       string    `json:"note,omitempty"`
}

func headOf(head eventlog.Head) logHead {
	return logHead{
		Epoch: head.Epoch, Origin: head.Origin, Position: head.Position, RecordedAt: head.RecordedAt,
		Hash: hex.EncodeToString(head.Hash[:]),
	}
}

func (s *Service) getHead(c echo.Context) error {
	head, err := s.log.Head(c.Request().Context())
	if err != nil {
		return err
	}
	answer := headOf(head)
	if s.signer != nil {
		signed, err := note.Sign(&note.Note{Text: noteText(head)}, s.signer)
		if err != nil {
			return err
		}
		answer.Note = string(signed)
	}
	c.Response().Header().Set("Config-Position", head.Token().String())
	return c.JSON(http.StatusOK, answer)
}

// noteText is what is signed: the form of a checkpoint, one fact a line.
func noteText(head eventlog.Head) string {
	return "config-api/" + head.Epoch + "\n" +
		strconv.FormatInt(head.Position, 10) + "\n" +
		hex.EncodeToString(head.Hash[:]) + "\n"
}

// getEvents answers the events after from_position, whole change sets only.
func (s *Service) getEvents(c echo.Context) error {
	after, err := number(c, "from_position", 0, 0, 1<<62)
	if err != nil {
		return err
	}
	limit, err := number(c, "limit", config.MaxChanges, 1, config.MaxChanges)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	head, err := s.log.Head(ctx)
	if err != nil {
		return err
	}
	events, err := s.log.Read(ctx, after, config.MaxChanges)
	if err != nil {
		return err
	}
	items := []config.Record{}
	for i := range events[:min(int64(len(events)), limit)] {
		items = append(items, config.RecordOf(&events[i]))
	}
	// A later write adds to an answer that ends where the log does.
	full := int64(len(items)) == limit || len(items) > 0 && items[len(items)-1].Position < head.Position
	c.Response().Header().Set("Config-Position", head.Token().String())
	return c.JSON(http.StatusOK, map[string]any{"items": items, "position": head.Position, "final": full})
}

// getVerify walks the chain and answers whether it holds, or the first position
// that does not.
func (s *Service) getVerify(c echo.Context) error {
	from, err := number(c, "from", 1, 1, 1<<62)
	if err != nil {
		return err
	}
	to, err := number(c, "to", 0, 0, 1<<62)
	if err != nil {
		return err
	}
	if to > 0 && from > to {
		return config.Errorf(config.Invalid, "from is after to")
	}
	// The walk may take longer than any other request.
	_ = http.NewResponseController(c.Response()).SetWriteDeadline(time.Time{})
	v, err := s.log.Verify(c.Request().Context(), from, to, nil)
	if err != nil {
		return err
	}
	c.Response().Header().Set("Config-Position", config.Token{Epoch: v.Epoch, Position: v.To}.String())
	answer := struct {
		eventlog.Verification
		Hash string `json:"hash,omitempty"`
	}{Verification: v}
	if v.Valid {
		answer.Hash = hex.EncodeToString(v.Hash[:])
	}
	return c.JSON(http.StatusOK, answer)
}

// number reads an integer query parameter within bounds.
func number(c echo.Context, name string, missing, least, most int64) (int64, error) {
	text := c.QueryParam(name)
	if text == "" {
		return missing, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, config.Errorf(config.Invalid, "%s=%s: use a whole number from %d to %d", name, text, least, most)
	}
	return n, nil
}
