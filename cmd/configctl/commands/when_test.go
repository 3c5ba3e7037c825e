package commands

import (
	"testing"
	"time"
)

func TestParseInstant(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zones on this machine: ", err)
	}
	// Nine hours after the clocks were set back.
	now := time.Date(2026, 10, 25, 11, 30, 15, 500, berlin)
	day := func(month time.Month, day, hour, minute, second int) time.Time {
		return time.Date(2026, month, day, hour, minute, second, 0, berlin)
	}
	for text, want := range map[string]instant{
		"0":                           {position: 0},
		" 42 ":                        {position: 42},
		"now":                         {time: now},
		"2026-11-24T14:00:00Z":        {time: time.Date(2026, 11, 24, 14, 0, 0, 0, time.UTC)},
		"2026-11-24T14:00:00.123456Z": {time: time.Date(2026, 11, 24, 14, 0, 0, 123456000, time.UTC)},
		"2026-11-24t14:00:00+02:00":   {time: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)},
		"2026-11-24 14:00:00Z":        {time: time.Date(2026, 11, 24, 14, 0, 0, 0, time.UTC)},
		"2026-11-24 14:00-01:00":      {time: time.Date(2026, 11, 24, 15, 0, 0, 0, time.UTC)},
		"2026-11-24T14:00Z":           {time: time.Date(2026, 11, 24, 14, 0, 0, 0, time.UTC)},
		"2026-11-24":                  {time: day(11, 24, 0, 0, 0)},
		"2026-11-24 14:00":            {time: day(11, 24, 14, 0, 0)},
		"2026-11-24T14:00":            {time: day(11, 24, 14, 0, 0)},
		"2026-11-24T14:00:05":         {time: day(11, 24, 14, 0, 5)},
		"14:00":                       {time: day(10, 25, 14, 0, 0)},
		"9:05:06":                     {time: day(10, 25, 9, 5, 6)},
		"Today":                       {time: day(10, 25, 0, 0, 0)},
		"today 08:00":                 {time: day(10, 25, 8, 0, 0)},
		"yesterday":                   {time: day(10, 24, 0, 0, 0)},
		"yesterday   14:00":           {time: day(10, 24, 14, 0, 0)},
		"90s ago":                     {time: now.Add(-90 * time.Second)},
		"15 minutes ago":              {time: now.Add(-15 * time.Minute)},
		"2h ago":                      {time: now.Add(-2 * time.Hour)},
		"2h30m ago":                   {time: now.Add(-150 * time.Minute)},
		"1 hour 5 min ago":            {time: now.Add(-65 * time.Minute)},
		"10h ago":                     {time: now.Add(-10 * time.Hour)},
		"1 day ago":                   {time: time.Date(2026, 10, 24, 11, 30, 15, 500, berlin)}, // 25 hours
		"2 weeks ago":                 {time: time.Date(2026, 10, 11, 11, 30, 15, 500, berlin)},
	} {
		got, err := parseInstant(text, now)
		if err != nil || got.position != want.position || !got.time.Equal(want.time) {
			t.Errorf("%q is %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "-1", "tomorrow", "2h", "ago", "h ago", "2 fortnights ago", "2026-13-01", "2026-11-24 25:00", "yesterday noon", "24.11.2026",
		"99999999999999999999 h ago", "today yesterday", "1.5h ago", "12345678901234567890",
	} {
		if got, err := parseInstant(text, now); err == nil {
			t.Errorf("%q is taken for %+v", text, got)
		}
	}
}
