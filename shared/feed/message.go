package feed

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/config-api/config-api/shared/config"
)

// Headers repeat what a subscriber may want without parsing the body.
const (
	HeaderPosition = "Config-Position"
	HeaderVersion  = "Config-Version"
	HeaderCommit   = "Config-Commit"
	HeaderEpoch    = "Config-Epoch"
	HeaderHash     = "Config-Hash"
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
	return &nats.Msg{
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
	}, nil
}

// Decode reads the body of a message: the event as it was appended, and which
// log it is of.
func Decode(body []byte) (config.Event, config.LogID, error) {
	var c cloudEvent
	if err := json.Unmarshal(body, &c); err != nil {
		return config.Event{}, config.LogID{}, fmt.Errorf("decode a message of the feed: %w", err)
	}
	e := config.Event{
		Position: c.Position, Namespace: c.Namespace, Name: c.Name, Version: c.Version, ID: c.ID, Type: c.Type,
		SchemaVersion: c.SchemaVersion, Commit: c.Commit, CommandID: c.CommandID, Actor: c.Actor, Reason: c.Reason,
		CorrelationID: c.CorrelationID, RequestID: c.RequestID, RecordedAt: c.Time.UTC(), Data: c.Data,
	}
	hash, err := hex.DecodeString(c.Hash)
	if err != nil || len(hash) != len(e.Hash) {
		return config.Event{}, config.LogID{}, fmt.Errorf("message of event %d has no hash", c.Position)
	}
	copy(e.Hash[:], hash)
	log := config.LogID{Epoch: c.Epoch, Origin: c.Origin}
	if log.Origin == "" { // of a release in which the two were one
		log.Origin = log.Epoch
	}
	return e, log, nil
}
