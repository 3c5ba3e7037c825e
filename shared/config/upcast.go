package config

import "fmt"

// upcast turns the data of an event of one schema version into that of the next.
// It is pure: what it needs is in the event, so that a replay in ten years gives
// what it gave today.
type upcast func(t EventType, data []byte) ([]byte, error)

// upcasts[i] is from schema version i+1 to i+2. Events stay as they were written,
// also in the feed; every reader decodes by [Event.Payload], so that this is the
// one place that knows older versions. Who changes the encoding adds an upcast
// here and golden files of the new version in testdata, and leaves the others.
var upcasts = []upcast{}

// SchemaVersion is the version of the event encoding that this program writes.
// It reads every version up to it.
var SchemaVersion = len(upcasts) + 1

// upcastWith brings data of a version up to the one that the steps end with.
func upcastWith(steps []upcast, t EventType, version int, data []byte) ([]byte, error) {
	if version < 1 || version > len(steps)+1 {
		return nil, &UnknownEventError{t, version}
	}
	for i, step := range steps[version-1:] {
		var err error
		if data, err = step(t, data); err != nil {
			return nil, fmt.Errorf("upcast from schema version %d: %w", version+i, err)
		}
	}
	return data, nil
}
