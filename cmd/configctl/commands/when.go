package commands

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/config-api/config-api/shared/client"
)

// instant is a moment as a person wrote it: a position of the log, or a time.
type instant struct {
	position int64
	time     time.Time // zero if it is a position
}

// The ways to write a time of a day, and a day; a zone may follow the time.
var (
	hours = []string{"15:04", "15:04:05"}
	days  = []string{time.DateOnly}
	// ago is 2h30m ago, 3 days ago, 1 week ago.
	ago    = regexp.MustCompile(`^((?:\d+ *[a-z]+ *)+) ago$`)
	amount = regexp.MustCompile(`(\d+) *([a-z]+)`)
)

const whenHelp = `use a time like 2026-11-24T14:00:00Z, "2026-11-24 14:00", 14:00, today, "yesterday 14:00" or "2h ago", or a position like 42`

// parseInstant reads what a person wrote at a moment, in the zone of that moment. A
// day alone is its beginning.
func parseInstant(text string, now time.Time) (instant, error) {
	text = strings.Join(strings.Fields(text), " ")
	if position, err := strconv.ParseInt(text, 10, 64); err == nil && position >= 0 {
		return instant{position: position}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04Z07:00", "2006-01-02 15:04Z07:00"} {
		if t, err := time.Parse(layout, strings.ToUpper(text)); err == nil {
			return instant{time: t}, nil
		}
	}
	words := strings.ToLower(text)
	switch words {
	case "":
		return instant{}, usagef("there is no time: %s", whenHelp)
	case "now":
		return instant{time: now}, nil
	}
	if t, ok := parseAgo(words, now); ok {
		return instant{time: t}, nil
	}
	if t, ok := parseLocal(words, now); ok {
		return instant{time: t}, nil
	}
	return instant{}, usagef("%q is no time: %s", text, whenHelp)
}

// parseAgo reads 2h30m ago. Days and weeks are of the calendar: yesterday at the
// same hour, also when the clocks were changed in between.
func parseAgo(words string, now time.Time) (time.Time, bool) {
	found := ago.FindStringSubmatch(words)
	if found == nil {
		return now, false
	}
	t := now
	for _, part := range amount.FindAllStringSubmatch(found[1], -1) {
		n, err := strconv.Atoi(part[1])
		if err != nil || n > 1_000_000 {
			return now, false
		}
		switch part[2] {
		case "s", "sec", "secs", "second", "seconds":
			t = t.Add(-time.Duration(n) * time.Second)
		case "m", "min", "mins", "minute", "minutes":
			t = t.Add(-time.Duration(n) * time.Minute)
		case "h", "hour", "hours":
			t = t.Add(-time.Duration(n) * time.Hour)
		case "d", "day", "days":
			t = t.AddDate(0, 0, -n)
		case "w", "week", "weeks":
			t = t.AddDate(0, 0, -7*n)
		default:
			return now, false
		}
	}
	return t, true
}

// parseLocal reads a day, a time of today, or both.
func parseLocal(words string, now time.Time) (time.Time, bool) {
	year, month, date := now.Date()
	day, rest, _ := strings.Cut(words, " ")
	if before, after, is := strings.Cut(words, "t"); is && len(before) == len(time.DateOnly) {
		day, rest = before, after // 2026-11-24T14:00
	}
	switch day {
	case "today":
	case "yesterday":
		date--
	default:
		if t, ok := parseAs(day, days); ok {
			year, month, date = t.Date()
		} else {
			rest = words // there is no day
		}
	}
	var clock time.Time
	if rest != "" {
		var ok bool
		if clock, ok = parseAs(rest, hours); !ok {
			return now, false
		}
	}
	return time.Date(year, month, date, clock.Hour(), clock.Minute(), clock.Second(), 0, now.Location()), true
}

func parseAs(text string, layouts []string) (time.Time, bool) {
	for _, layout := range layouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// instant reads the text of a flag or an argument, and says what it was taken for.
func (c *cli) instant(text string) (instant, error) {
	i, err := parseInstant(text, time.Now())
	if err == nil && !i.time.IsZero() {
		c.note("%s is %s", text, i)
	}
	return i, err
}

// at is instant for a read; the present if there is no text.
func (c *cli) at(text string) ([]client.ReadOption, error) {
	if text == "" {
		return c.reads(), nil
	}
	i, err := c.instant(text)
	if err != nil {
		return nil, err
	}
	if i.time.IsZero() {
		return c.reads(client.AtPosition(i.position)), nil
	}
	return c.reads(client.At(i.time)), nil
}

// api is the moment as the client takes it.
func (i instant) api() client.Instant {
	if i.time.IsZero() {
		return client.Position(i.position)
	}
	return client.Time(i.time)
}

func (i instant) String() string {
	if i.time.IsZero() {
		return "position " + strconv.FormatInt(i.position, 10)
	}
	return i.time.Local().Format("2006-01-02 15:04:05 -0700")
}

// timeOf reads a time where a position is of no use; none is the zero time.
func (c *cli) timeOf(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	i, err := c.instant(text)
	if err == nil && i.time.IsZero() {
		return i.time, usagef("%s is a position, and a time is needed", text)
	}
	return i.time, err
}
