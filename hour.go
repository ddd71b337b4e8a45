package afterhours

import (
	"fmt"
	"strings"
	"time"
)

// Width is how much time an Hour spans. Its zero value is one hour; it is part
// of the value so that a type with few events can be kept by the day without
// another text form.
type Width uint8

// The widths there are.
const (
	Hourly Width = iota
	Daily
)

// Layouts of the time part of an hour's text form; their lengths differ, which
// is how ParseHour tells the widths apart.
const (
	hourLayout = "2006-01-02T15"
	dayLayout  = "2006-01-02"
)

// Duration returns the span as time.
func (w Width) Duration() time.Duration {
	if w == Daily {
		return 24 * time.Hour
	}
	return time.Hour
}

func (w Width) layout() string {
	if w == Daily {
		return dayLayout
	}
	return hourLayout
}

// Hour is an event type and a UTC hour: the unit of storage, of dirtiness and
// of rewriting. Hours are comparable and make good map keys.
type Hour struct {
	Type  string
	Start Micros // first instant, a multiple of the width
	Width Width
}

// HourOf returns the hour in which an event of the given type and event time
// belongs.
func HourOf(eventType string, at Micros) Hour {
	return Hour{Type: eventType, Start: floor(at, Hourly), Width: Hourly}
}

// floor rounds towards the past, also before 1970.
func floor(at Micros, w Width) Micros {
	span := Micros(w.Duration().Microseconds())
	r := at % span
	if r < 0 {
		r += span
	}
	return at - r
}

// End returns the first instant after the hour.
func (h Hour) End() Micros { return h.Start + Micros(h.Width.Duration().Microseconds()) }

// Contains reports whether an event of h's type at the given time belongs in h.
func (h Hour) Contains(at Micros) bool { return at >= h.Start && at < h.End() }

// Span returns the time part of the text form, such as "2026-11-20T10".
func (h Hour) Span() string { return h.Start.Time().Format(h.Width.layout()) }

// String returns the text form, such as "purchase/2026-11-20T10". It is the key
// of the hour's marks and the inverse of [ParseHour].
func (h Hour) String() string { return h.Type + "/" + h.Span() }

// ParseHour reads the text form. It accepts exactly what String prints, for a
// valid event type, and nothing else.
func ParseHour(s string) (Hour, error) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return Hour{}, fmt.Errorf("parse hour %q: want TYPE/2026-11-20T10", s)
	}
	if err := ValidateType(s[:i]); err != nil {
		return Hour{}, fmt.Errorf("parse hour %q: %w", s, err)
	}
	h, err := ParseSpan(s[:i], s[i+1:])
	if err != nil {
		return Hour{}, fmt.Errorf("parse hour %q: %w", s, err)
	}
	return h, nil
}

// ParseSpan reads an hour whose type is known from the time part of its text
// form: 2026-11-20T10 for an hour, 2026-11-20 for a day.
func ParseSpan(eventType, span string) (Hour, error) {
	w := Hourly
	if len(span) == len(dayLayout) {
		w = Daily
	}
	t, err := time.Parse(w.layout(), span)
	if err != nil || t.Format(w.layout()) != span || t.Year() < 1 {
		return Hour{}, fmt.Errorf("time %q: want 2026-11-20T10 (UTC)", span)
	}
	return Hour{Type: eventType, Start: MicrosOf(t), Width: w}, nil
}

// Compare orders hours by type, then start, then width.
func (h Hour) Compare(o Hour) int {
	if c := strings.Compare(h.Type, o.Type); c != 0 {
		return c
	}
	if h.Start != o.Start {
		if h.Start < o.Start {
			return -1
		}
		return 1
	}
	return int(h.Width) - int(o.Width)
}
