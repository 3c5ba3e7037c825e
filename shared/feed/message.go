package feed

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidwall/gjson"

	"github.com/config-api/config-api/shared/config"
)

// Headers repeat what a subscriber may want without parsing the body.
const (
	HeaderPosition = "Config-Position"
	HeaderVersion  = "Config-Version"
	HeaderCommit   = "Config-Commit"
	HeaderEpoch    = "Config-Epoch"
	HeaderHash     = "Config-Hash"
	// HeaderTrace is of W3C Trace Context, on messages of events that are traced.
	HeaderTrace = "traceparent"
)

// Encode makes the message of an event of a log. Its body is a CloudEvents 1.0
// document in structured mode. Attributes that the standard does not know are
// extensions; positions and versions are texts, since its integers have 32 bits.
func Encode(e *config.Event, log config.LogID) (*nats.Msg, error) {
	if !gjson.ValidBytes(e.Data) {
		return nil, fmt.Errorf("encode event %d: its data is not JSON", e.Position)
	}
	position, version, commit := strconv.FormatInt(e.Position, 10), strconv.FormatInt(e.Version, 10), strconv.FormatInt(e.Commit, 10)
	hash := hex.EncodeToString(e.Hash[:])
	b := make([]byte, 0, len(e.Data)+len(e.Namespace)+len(e.Name)+len(e.Actor)+len(e.Reason)+1024)
	b = append(b, `{"specversion":"1.0","id":`...)
	b = appendText(b, e.ID)
	b = append(b, `,"source":`...)
	b = appendText(b, "/config-api/"+log.Epoch)
	b = append(b, `,"type":`...)
	b = appendText(b, string(e.Type))
	b = append(b, `,"subject":`...)
	b = appendText(b, e.Namespace+"/"+e.Name)
	b = append(b, `,"time":"`...)
	b, err := e.RecordedAt.AppendText(b)
	if err != nil {
		return nil, fmt.Errorf("encode event %d: %w", e.Position, err)
	}
	b = append(b, `","datacontenttype":"application/json","namespace":`...)
	b = appendText(b, e.Namespace)
	b = append(b, `,"configname":`...)
	b = appendText(b, e.Name)
	b = append(append(b, `,"position":"`...), position...)
	b = append(append(b, `","version":"`...), version...)
	b = append(append(b, `","commit":"`...), commit...)
	b = append(b, `","schemaversion":`...)
	b = strconv.AppendInt(b, int64(e.SchemaVersion), 10)
	b = append(b, `,"epoch":`...)
	b = appendText(b, log.Epoch)
	b = append(b, `,"origin":`...)
	b = appendText(b, log.Origin)
	b = append(b, `,"commandid":`...)
	b = appendText(b, e.CommandID)
	b = appendOptional(b, `,"correlationid":`, e.CorrelationID)
	b = appendOptional(b, `,"requestid":`, e.RequestID)
	b = appendOptional(b, `,"actor":`, e.Actor)
	b = appendOptional(b, `,"reason":`, e.Reason)
	b = append(append(b, `,"hash":"`...), hash...)
	b = append(b, `","data":`...)
	b = append(b, e.Data...) // must arrive byte for byte
	b = append(b, "}\n"...)

	header := [...]string{"application/cloudevents+json", position, version, commit, log.Epoch, hash, e.Trace}
	msg := &nats.Msg{
		Subject: Subject(e.Namespace, e.Name),
		Data:    b,
		Header: nats.Header{
			"Content-Type": header[0:1:1],
			HeaderPosition: header[1:2:2],
			HeaderVersion:  header[2:3:3],
			HeaderCommit:   header[3:4:4],
			HeaderEpoch:    header[4:5:5],
			HeaderHash:     header[5:6:6],
		},
	}
	if e.Trace != "" {
		msg.Header[HeaderTrace] = header[6:7:7]
	}
	return msg, nil
}

func appendOptional(b []byte, before, s string) []byte {
	if s == "" {
		return b
	}
	return appendText(append(b, before...), s)
}

// appendText appends s as a JSON string.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			var quoted bytes.Buffer
			encoder := json.NewEncoder(&quoted)
			encoder.SetEscapeHTML(false)
			_ = encoder.Encode(s) // a string can't fail
			return append(b, bytes.TrimSuffix(quoted.Bytes(), []byte("\n"))...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// Decode reads the body of a message: the event as it was appended, and which
// log it is of. The event's texts share the memory of one copy of the body.
//
// Every reader of the feed does this for every event, and encoding/json would
// take most of a rebuild's time for it.
func Decode(body []byte) (config.Event, config.LogID, error) {
	if event, log, ok := decodeInOrder(string(body)); ok {
		return event, log, nil
	}
	return decodeAny(body)
}

// decodeAny reads any JSON object that has what an event needs.
func decodeAny(body []byte) (config.Event, config.LogID, error) {
	if !gjson.ValidBytes(body) {
		return config.Event{}, config.LogID{}, errors.New("a message of the feed is not JSON")
	}
	d := decoder{}
	gjson.ParseBytes(body).ForEach(d.member)
	if d.err == nil && !d.hashed {
		d.err = fmt.Errorf("message of event %d has no hash", d.event.Position)
	}
	if d.err != nil {
		return config.Event{}, config.LogID{}, fmt.Errorf("decode a message of the feed: %w", d.err)
	}
	if d.log.Origin == "" { // of a release in which the two were one
		d.log.Origin = d.log.Epoch
	}
	return d.event, d.log, nil
}

type decoder struct {
	event  config.Event
	log    config.LogID
	hashed bool
	err    error
}

// member takes one attribute, and reports whether to go on.
func (d *decoder) member(name, value gjson.Result) bool {
	e := &d.event
	switch name.Str {
	case "id":
		e.ID = d.text(name, value)
	case "type":
		e.Type = config.EventType(d.text(name, value))
	case "time":
		var err error
		if e.RecordedAt, err = time.Parse(time.RFC3339Nano, d.text(name, value)); err != nil {
			d.err = err
		}
		e.RecordedAt = e.RecordedAt.UTC()
	case "namespace":
		e.Namespace = d.text(name, value)
	case "configname":
		e.Name = d.text(name, value)
	case "position":
		e.Position = d.number(name, value)
	case "version":
		e.Version = d.number(name, value)
	case "commit":
		e.Commit = d.number(name, value)
	case "schemaversion":
		if value.Type != gjson.Number {
			d.err = fmt.Errorf("%s is %s", name.Str, value.Raw)
		}
		e.SchemaVersion = int(value.Int())
	case "epoch":
		d.log.Epoch = d.text(name, value)
	case "origin":
		d.log.Origin = d.text(name, value)
	case "commandid":
		e.CommandID = d.text(name, value)
	case "correlationid":
		e.CorrelationID = d.text(name, value)
	case "requestid":
		e.RequestID = d.text(name, value)
	case "actor":
		e.Actor = d.text(name, value)
	case "reason":
		e.Reason = d.text(name, value)
	case "hash":
		hash, err := config.ParseHash(d.text(name, value))
		if err != nil {
			d.err = err
		}
		e.Hash, d.hashed = hash, true
	case "data":
		e.Data = []byte(value.Raw)
	}
	return d.err == nil
}

func (d *decoder) text(name, value gjson.Result) string {
	if value.Type != gjson.String {
		d.err = fmt.Errorf("%s is %s, and no text", name.Str, value.Raw)
	}
	return value.Str
}

func (d *decoder) number(name, value gjson.Result) int64 {
	n, err := strconv.ParseInt(d.text(name, value), 10, 64)
	if err != nil {
		d.err = fmt.Errorf("%s is %s, and no number as a text", name.Str, value.Raw)
	}
	return n
}
