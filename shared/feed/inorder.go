package feed

import (
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/config-api/config-api/shared/config"
)

// decodeInOrder reads the body of a message that [Encode] of this release made
// from texts without escapes, as nearly all are: the same members in the same
// order. It reports false for any other, which may be as good.
//
// It does not look for control characters in the texts, which JSON must escape:
// the hash, which every reader checks, is that of the texts without escapes.
func decodeInOrder(body string) (e config.Event, log config.LogID, ok bool) {
	r := inOrder{rest: body, ok: true}
	r.skip(`{"specversion":"1.0"`)
	e.ID = r.text(`,"id":"`)
	r.text(`,"source":"`)
	e.Type = config.EventType(r.text(`,"type":"`))
	r.text(`,"subject":"`)
	recorded := r.text(`,"time":"`)
	r.skip(`,"datacontenttype":"application/json"`)
	e.Namespace = r.text(`,"namespace":"`)
	e.Name = r.text(`,"configname":"`)
	e.Position = r.number(r.text(`,"position":"`))
	e.Version = r.number(r.text(`,"version":"`))
	e.Commit = r.number(r.text(`,"commit":"`))
	r.skip(`,"schemaversion":`)
	e.SchemaVersion = int(r.number(r.upTo(',')))
	log.Epoch = r.text(`"epoch":"`)
	log.Origin = r.text(`,"origin":"`)
	e.CommandID = r.text(`,"commandid":"`)
	e.CorrelationID = r.optional(`,"correlationid":"`)
	e.RequestID = r.optional(`,"requestid":"`)
	e.Actor = r.optional(`,"actor":"`)
	e.Reason = r.optional(`,"reason":"`)
	hash := r.text(`,"hash":"`)
	r.skip(`,"data":`)
	data, closed := strings.CutSuffix(r.rest, "}\n")
	if !r.ok || !closed || !gjson.Valid(data) {
		return e, log, false
	}
	e.Data = []byte(data)
	var err error
	if e.RecordedAt, err = time.Parse(time.RFC3339Nano, recorded); err != nil {
		return e, log, false
	}
	e.RecordedAt = e.RecordedAt.UTC()
	e.Hash, err = config.ParseHash(hash)
	return e, log, err == nil
}

// inOrder is what is left of a body, as long as it is what was expected.
type inOrder struct {
	rest string
	ok   bool
}

func (r *inOrder) skip(expected string) {
	rest, found := strings.CutPrefix(r.rest, expected)
	r.rest, r.ok = rest, r.ok && found
}

// upTo returns what comes before the next end, and goes past it.
func (r *inOrder) upTo(end byte) string {
	i := strings.IndexByte(r.rest, end)
	if i < 0 {
		r.ok = false
		return ""
	}
	s := r.rest[:i]
	r.rest = r.rest[i+1:]
	return s
}

// text returns a string; before are its name and the quote that opens it.
func (r *inOrder) text(before string) string {
	r.skip(before)
	s := r.upTo('"')
	r.ok = r.ok && strings.IndexByte(s, '\\') < 0
	return s
}

func (r *inOrder) optional(before string) string {
	if !strings.HasPrefix(r.rest, before) {
		return ""
	}
	return r.text(before)
}

func (r *inOrder) number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	r.ok = r.ok && err == nil
	return n
}
