package ingest

import (
	"math"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// What makes an hour that is over worth a lane of its own.
const (
	ownBatch   = 32    // rows of one batch
	ownTrickle = 1_000 // rows in small batches within about an hour
)

// trickleHours is how many hours of stragglers a process remembers, about: 75
// bytes each, and up to twice as many for a moment.
const trickleHours = 1 << 19

// Trickle decides for one worker which rows go to a lane that all writers share,
// numbers these rows, and remembers which index rows of such lanes are fresh. It
// knows no clock and keeps nothing but memory that may be lost. It is exported
// for simulations; one goroutine uses it.
type Trickle struct {
	renewal afterhours.Micros
	hours   *recent[afterhours.Hour, trickled]
	day     afterhours.Day
	segment afterhours.Segment // of the rows received on day
	next    int64              // number of the next row
}

// trickled is what is remembered of an hour.
type trickled struct {
	indexed afterhours.Micros // when the index row of its lane of day was sent; 0: not known
	day     afterhours.Day
	rows    int32 // from then on
}

// NewTrickle returns a Trickle that remembers up to twice the given number of
// hours. What it forgets is written once more than necessary. renewal is that of
// [store.RenewalFor].
func NewTrickle(hours int, renewal time.Duration) *Trickle {
	r := micros(renewal)
	return &Trickle{renewal: r, hours: newRecent[afterhours.Hour, trickled](r, hours)}
}

// Shares reports whether a batch of so many rows, sent at the given time, goes to
// the shared lane of the day. Its hour has no lane of its own open. If it does
// not, the hour deserves one.
func (t *Trickle) Shares(h afterhours.Hour, rows int, at afterhours.Micros) bool {
	if at < h.End() || rows >= ownBatch {
		return false
	}
	return int(t.seen(h, at).rows)+rows <= ownTrickle
}

// seen returns what is still of use of what is remembered of an hour.
func (t *Trickle) seen(h afterhours.Hour, at afterhours.Micros) trickled {
	seen, _ := t.hours.get(h, at)
	if day := afterhours.DayOf(at); seen.day != day || seen.indexed != 0 && at-seen.indexed > t.renewal {
		return trickled{day: day}
	}
	return seen
}

// Add numbers a batch of rows for the lane of the day on which it is sent: first,
// and those that follow it. indexed is when the lane's index row was sent the last
// time, 0 if that is not known or too long ago.
func (t *Trickle) Add(h afterhours.Hour, rows int, at afterhours.Micros) (first afterhours.RowID, indexed afterhours.Micros) {
	day := afterhours.DayOf(at)
	if t.segment == (afterhours.Segment{}) || t.day != day || t.next+int64(rows) > math.MaxUint32+1 {
		t.day, t.segment, t.next = day, afterhours.NewSegment(), 0
	}
	first = afterhours.RowID{Segment: t.segment, Seq: uint32(t.next)}
	t.next += int64(rows)

	seen := t.seen(h, at)
	seen.rows += int32(rows)
	t.hours.put(h, seen, at)
	return first, seen.indexed
}

// Indexed tells that the index row of an hour's lane of a day is acknowledged,
// which was sent at the given time.
func (t *Trickle) Indexed(h afterhours.Hour, day afterhours.Day, at afterhours.Micros) {
	seen, known := t.hours.get(h, at)
	switch {
	case !known:
		seen.day = day
	case seen.day != day:
		return // rows go to another day's lane by now
	}
	seen.indexed = at
	t.hours.put(h, seen, at)
}

// Opened tells that the hour got a lane of its own: its rows are counted anew.
func (t *Trickle) Opened(h afterhours.Hour, at afterhours.Micros) {
	if seen := t.seen(h, at); seen.rows > 0 {
		seen.rows = 0
		t.hours.put(h, seen, at)
	}
}

// Forget drops what is no longer of use.
func (t *Trickle) Forget(at afterhours.Micros) { t.hours.forget(at) }

// micros returns a duration in the unit of instants.
func micros(d time.Duration) afterhours.Micros { return afterhours.Micros(d.Microseconds()) }

// settles returns when the shared lane of a day takes no more rows.
func settles(day afterhours.Day) afterhours.Micros {
	return day.End() + micros(store.SharedFor)
}
