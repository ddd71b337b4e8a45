package afterhours

import (
	"fmt"
	"time"
)

// Day is a UTC day, counted from the Unix epoch. Shared lanes are named by the
// day on which their rows were received.
type Day int32

const dayMicros = Micros(24 * time.Hour / time.Microsecond)

// DayOf returns the day of an instant.
func DayOf(at Micros) Day { return Day(floor(at, Daily) / dayMicros) }

// Start returns the first instant of the day.
func (d Day) Start() Micros { return Micros(d) * dayMicros }

// End returns the first instant after the day.
func (d Day) End() Micros { return d.Start() + dayMicros }

// String returns the day as 2026-11-20, the inverse of [ParseDay].
func (d Day) String() string { return d.Start().Time().Format(dayLayout) }

// ParseDay reads what String prints, and nothing else.
func ParseDay(text string) (Day, error) {
	t, err := time.Parse(dayLayout, text)
	if err != nil || t.Format(dayLayout) != text {
		return 0, fmt.Errorf("parse day %q: want 2026-11-20", text)
	}
	return DayOf(MicrosOf(t)), nil
}

// Origin says where the rows of a segment lie. A segment lies in one lane only.
type Origin struct {
	// Day is the lane's receipt day if the lane is shared, else the day on which
	// the newest row known of the segment was received.
	Day Day

	// Shared tells a lane that many segments share from one of the segment's own.
	Shared bool
}
