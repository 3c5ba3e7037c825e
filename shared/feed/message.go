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

// cloudEvent is the body of a message: a CloudEvents 1.0 document in structured
// mode. Attributes that the standard does not know are extensions. Positions
// and versions are texts, since its integers have 32 bits.
type cloudEvent struct {
	SpecVersion     string           `json:"specversion"`
	ID              string           `json:"id"`
	Source          string           `json:"source"`
	Type            config.EventType `json:"type"`
	Subject         string           `json:"subject"`
	Time            time.Time        `json:"time"`
	DataContentType string           `json:"datacontenttype"`

	Namespace     string `json:"namespace"`
	Name          string `json:"configname"`
	Position      int64  `json:"position,string"`
	Version       int64  `json:"version,string"`
	Commit        int64  `json:"commit,string"`
	SchemaVersion int    `json:"schemaversion"`
	Epoch         string `json:"epoch"`
	Origin        string `json:"origin"`
	CommandID     string `json:"commandid"`
	CorrelationID string `json:"correlationid,omitempty"`
	RequestID     string `json:"requestid,omitempty"`
	Actor         string `json:"actor,omitempty"`
	Reason        string `json:"reason,omitempty"`
	Hash          string `json:"hash"`

	Data json.RawMessage `json:"data"`
}

// Encode makes the message of an event of a log.
func Encode(e *config.Event, log config.LogID) (*nats.Msg, error) {
	hash := hex.EncodeToString(e.Hash[:])
	var body bytes.Buffer
	body.Grow(len(e.Data) + 1024)
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // data must arrive byte for byte
	err := encoder.Encode(cloudEvent{
		SpecVersion: "1.0", ID: e.ID, Source: "/config-api/" + log.Epoch, Type: e.Type,
		Subject: e.Namespace + "/" + e.Name, Time: e.RecordedAt, DataContentType: "application/json",
		Namespace: e.Namespace, Name: e.Name, Position: e.Position, Version: e.Version, Commit: e.Commit,
		SchemaVersion: e.SchemaVersion, Epoch: log.Epoch, Origin: log.Origin, CommandID: e.CommandID, CorrelationID: e.CorrelationID,
		RequestID: e.RequestID, Actor: e.Actor, Reason: e.Reason, Hash: hash,
		Data: e.Data,
	})
	if err != nil {
		return nil, fmt.Errorf("encode event %d: %w", e.Position, err)
	}
	msg := &nats.Msg{
		Subject: Subject(e.Namespace, e.Name),
		Data:    body.Bytes(),
		Header: nats.Header{
			"Content-Type": {"application/cloudevents+json"},
			HeaderPosition: {strconv.FormatInt(e.Position, 10)},
			HeaderVersion:  {strconv.FormatInt(e.Version, 10)},
			HeaderCommit:   {strconv.FormatInt(e.Commit, 10)},
			HeaderEpoch:    {log.Epoch},
			HeaderHash:     {hash},
		},
	}
	if e.Trace != "" {
		msg.Header[HeaderTrace] = []string{e.Trace}
	}
	return msg, nil
}

// Decode reads the body of a message: the event as it was appended, and which
// log it is of. The event's texts share the memory of one copy of the body.
//
// Every reader of the feed does this for every event, and encoding/json would
// take most of a rebuild's time for it.
func Decode(body []byte) (config.Event, config.LogID, error) {
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
