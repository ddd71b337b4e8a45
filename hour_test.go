package afterhours_test

import (
	"cmp"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/afterhours/afterhours"
)

// at is the instant that an RFC 3339 text names.
func at(t *testing.T, text string) afterhours.Micros {
	t.Helper()
	v, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return afterhours.MicrosOf(v)
}

// TestHourOf shows to which hour an instant belongs, at its ends and before 1970.
func TestHourOf(t *testing.T) {
	for instant, want := range map[string]string{
		"2026-11-20T10:00:00Z":           "2026-11-20T10",
		"2026-11-20T10:59:59.999999Z":    "2026-11-20T10",
		"2026-11-20T11:00:00Z":           "2026-11-20T11",
		"2026-11-20T10:30:00+05:30":      "2026-11-20T05",
		"2024-02-29T23:59:59.9999999Z":   "2024-02-29T23",
		"1970-01-01T00:00:00Z":           "1970-01-01T00",
		"1969-12-31T23:59:59.999999999Z": "1969-12-31T23",
		"1969-12-31T23:00:00Z":           "1969-12-31T23",
		"1969-12-31T22:59:59.999999Z":    "1969-12-31T22",
		"0001-01-01T00:00:00Z":           "0001-01-01T00",
		"9999-12-31T23:59:59.999999Z":    "9999-12-31T23",
	} {
		m := at(t, instant)
		h := afterhours.HourOf("purchase", m)
		if h.String() != "purchase/"+want || h.Span() != want {
			t.Errorf("%s belongs to %s, want %s", instant, h, want)
		}
		if !h.Contains(m) || h.Contains(h.End()) || h.Contains(h.Start-1) || h.End()-h.Start != 3_600e6 {
			t.Errorf("hour %s of %s goes from %s to %s", h, instant, h.Start, h.End())
		}
	}
}

// TestMicros shows that times are cut off towards the past, on both sides of 1970.
func TestMicros(t *testing.T) {
	for nanos, want := range map[int64]afterhours.Micros{0: 0, 999: 0, 1_000: 1, -1: -1, -1_000: -1, -1_001: -2} {
		if got := afterhours.MicrosOf(time.Unix(0, nanos)); got != want {
			t.Errorf("%d ns are %d µs, want %d", nanos, got, want)
		}
	}
	if got := at(t, "2026-11-20T10:00:00.5+02:00").String(); got != "2026-11-20T08:00:00.5Z" {
		t.Errorf("printed %s", got)
	}
}

// TestParseHour shows both widths, and types that hold what a time might.
func TestParseHour(t *testing.T) {
	start := at(t, "2026-11-20T10:00:00Z")
	day := at(t, "2026-11-20T00:00:00Z")
	for text, want := range map[string]afterhours.Hour{
		"purchase/2026-11-20T10":     {Type: "purchase", Start: start},
		"purchase/2026-11-20":        {Type: "purchase", Start: day, Width: afterhours.Daily},
		"a/b/2026-11-20T10":          {Type: "a/b", Start: start},
		"//2026-11-20T10":            {Type: "/", Start: start},
		"a/2026-11-20/2026-11-20T10": {Type: "a/2026-11-20", Start: start},
		"ünïcode type/2026-11-20":    {Type: "ünïcode type", Start: day, Width: afterhours.Daily},
		"_quarantine/2026-11-20T10":  {Type: afterhours.QuarantineType, Start: start},
		"purchase/1969-12-31T23":     {Type: "purchase", Start: -3_600e6},
		"purchase/0001-01-01T00":     {Type: "purchase", Start: at(t, "0001-01-01T00:00:00Z")},
		"purchase/9999-12-31":        {Type: "purchase", Start: at(t, "9999-12-31T00:00:00Z"), Width: afterhours.Daily},
	} {
		if h, err := afterhours.ParseHour(text); err != nil || h != want || h.String() != text {
			t.Errorf("%q was read as %+v, want %+v, error %v", text, h, want, err)
		}
	}
}

// TestParseHourRefuses shows that there is one text for an hour, and that the
// error quotes what was given.
func TestParseHourRefuses(t *testing.T) {
	for _, text := range []string{
		"", "/", "purchase", "purchase/", "/2026-11-20T10", "purchase/2026-11-20T24", "purchase/2026-11-20T1", "purchase/2026-11-20T010",
		"purchase/2026-11-20t10", "purchase/2026-11-20 10", "purchase/2026-11-20T10:00", "purchase/2026-11-20T10Z", "purchase/2026-02-30T10",
		"purchase/2026-1-20T10", "purchase/0000-01-01T00", "purchase/10000-01-01T00", "purchase/+026-11-20T10", "purchase/2026-11-20T10 ",
		" /", "a\n/2026-11-20T10", "a\xff/2026-11-20T10", "_a/2026-11-20T10", strings.Repeat("x", 201) + "/2026-11-20T10", "purchase/2026-11-2",
		"purchase/2026-11", "purchase\\2026-11-20T10",
	} {
		h, err := afterhours.ParseHour(text)
		if err == nil {
			t.Errorf("%q was read as %+v", text, h)
		} else if !strings.Contains(err.Error(), "parse hour ") {
			t.Errorf("error of %q: %v", text, err)
		}
	}
}

// FuzzParseHour shows that what is accepted is printed as it was, and is a valid
// hour of a valid type.
func FuzzParseHour(f *testing.F) {
	for _, s := range []string{"purchase/2026-11-20T10", "a/b/2026-11-20", "/2026-11-20T10", "x/0001-01-01T00", "x/0000-12-31", "x/2026-02-29T00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h, err := afterhours.ParseHour(text)
		if err != nil {
			return
		}
		if h.String() != text {
			t.Fatalf("%q was read as %+v, which prints as %q", text, h, h)
		}
		if err := afterhours.ValidateType(h.Type); err != nil {
			t.Fatalf("%q has an invalid type: %v", text, err)
		}
		if h.Width == afterhours.Hourly && (afterhours.HourOf(h.Type, h.Start) != h || afterhours.HourOf(h.Type, h.End()-1) != h) {
			t.Fatalf("%q does not contain its ends", text)
		}
	})
}

// hours draws hours of types that resemble each other.
var hours = rapid.Custom(func(t *rapid.T) afterhours.Hour {
	eventType := rapid.SampledFrom([]string{"a", "a/b", "a/", "b", "é", "a/2026-11-20T10"}).Draw(t, "type")
	h := afterhours.HourOf(eventType, afterhours.Micros(rapid.Int64Range(-62135596800e6, 253402300800e6-1).Draw(t, "time")))
	if rapid.Bool().Draw(t, "daily") {
		d, err := afterhours.ParseSpan(eventType, h.Span()[:len("2026-11-20")])
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	return h
})

// TestHourText shows that every hour is read back from its text.
func TestHourText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := hours.Draw(t, "hour")
		if back, err := afterhours.ParseHour(h.String()); err != nil || back != h {
			t.Fatalf("%s was read as %+v, want %+v, error %v", h, back, h, err)
		}
	})
}

// TestHourCompare shows that the order is total: equal only if the same, and
// transitive.
func TestHourCompare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := hours.Draw(t, "a"), hours.Draw(t, "b"), hours.Draw(t, "c")
		if (a.Compare(b) == 0) != (a == b) || cmp.Compare(a.Compare(b), 0) != cmp.Compare(0, b.Compare(a)) {
			t.Fatalf("%s and %s compare as %d and %d", a, b, a.Compare(b), b.Compare(a))
		}
		if a.Compare(b) <= 0 && b.Compare(c) <= 0 && a.Compare(c) > 0 {
			t.Fatalf("%s, %s and %s have no order", a, b, c)
		}
	})
}

// TestHourOfAnyTime shows that no instant, however far, is outside of its hour.
func TestHourOfAnyTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := afterhours.Micros(rapid.Int64Range(math.MinInt64+3_600e6, math.MaxInt64-3_600e6).Draw(t, "time"))
		if h := afterhours.HourOf("a", m); !h.Contains(m) || h.Start%3_600e6 != 0 {
			t.Fatalf("%d is not in %d to %d", m, h.Start, h.End())
		}
	})
}
