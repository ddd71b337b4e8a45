package dirty

import "github.com/afterhours/afterhours"

// Ledger knows, for one partition, which hours still owe a rewrite, and from it
// the offset to commit. It keeps two offsets an hour, however often the hour is
// marked. The zero value is ready; it is not safe for concurrent use.
type Ledger struct {
	position int64 // after the last mark taken
	hours    map[afterhours.Hour]span
}

// span is the first mark of an hour that is not served, and the last taken.
type span struct{ first, last int64 }

// Take records that a mark was handed out.
func (l *Ledger) Take(h afterhours.Hour, offset int64) {
	if l.hours == nil {
		l.hours = map[afterhours.Hour]span{}
	}
	s, waiting := l.hours[h]
	if !waiting {
		s.first = offset
	}
	s.last = offset
	l.hours[h] = s
	l.position = offset + 1
}

// Done records that the hour's marks up to and including offset are served.
func (l *Ledger) Done(h afterhours.Hour, offset int64) {
	s, waiting := l.hours[h]
	switch {
	case !waiting:
	case s.last <= offset:
		delete(l.hours, h)
	default:
		// The first mark beyond offset is not known, only that it is beyond: a
		// floor that is too low is a mark read twice, never one lost.
		s.first = max(s.first, offset+1)
		l.hours[h] = s
	}
}

// Floor returns the offset to commit: every mark below it is served. It is 0
// until the first mark was taken.
func (l *Ledger) Floor() int64 {
	floor := l.position
	for _, s := range l.hours {
		floor = min(floor, s.first)
	}
	return floor
}

// Waiting returns how many hours owe a rewrite.
func (l *Ledger) Waiting() int { return len(l.hours) }
