package afterhours

import (
	"testing"
	"time"
)

// A day's text is read back, also before 1970, and nothing else is read.
func TestDay(t *testing.T) {
	for text, want := range map[string]Day{"1970-01-01": 0, "1969-12-31": -1, "2026-11-20": 20777} {
		d, err := ParseDay(text)
		if err != nil || d != want || d.String() != text {
			t.Errorf("ParseDay(%q) = %d, %v; printed %s; want %d", text, d, err, d, want)
		}
	}
	for _, text := range []string{"", "2026-11-31", "2026-1-2", "2026-11-20T10", "20261120"} {
		if d, err := ParseDay(text); err == nil {
			t.Errorf("ParseDay(%q) = %s, want an error", text, d)
		}
	}
}

// A day holds its first instant and not the next day's.
func TestDayOf(t *testing.T) {
	noon := MicrosOf(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC))
	d := DayOf(noon)
	if DayOf(d.Start()) != d || DayOf(d.End()-1) != d || DayOf(d.End()) != d+1 || d.End()-d.Start() != 24*3600e6 {
		t.Errorf("day %s is from %s to %s", d, d.Start(), d.End())
	}
	if d := DayOf(-1); d != -1 {
		t.Errorf("DayOf(-1) = %d, want -1", d)
	}
}
