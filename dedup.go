package afterhours

import (
	"bytes"
	"cmp"
)

// Copies is what is known of all copies of one event: the one that survives,
// and whether copies with differing payloads were seen.
type Copies struct {
	Event
	Conflict bool
}

// Dedup folds two sets of copies of one event into one. The copy with the
// smallest (received time, payload bytes, event time) survives, and a conflict
// once seen is never forgotten. Dedup is commutative, associative and
// idempotent, so any order and any number of merges gives the same result.
//
// Event time comes last so that the order is total: copies that differ in it
// alone come from two mappings of the same bytes.
func Dedup(a, b Copies) Copies {
	c := cmp.Or(
		cmp.Compare(a.Received, b.Received),
		bytes.Compare(a.Payload, b.Payload),
		cmp.Compare(a.Time, b.Time),
	)
	win := a
	if c > 0 {
		win = b
	}
	win.Conflict = a.Conflict || b.Conflict || !bytes.Equal(a.Payload, b.Payload)
	return win
}
