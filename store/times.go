package store

import (
	"time"

	"github.com/afterhours/afterhours"
)

// Times that ingest and compactors must agree on, whichever build they are of. They
// lean on one another: to change one alone loses rows.
const (
	// Renewal is how old an index row may be at most when a row of its lane is
	// acknowledged. See [RenewalFor].
	Renewal = time.Hour

	// SharedFor is how long after its day ingest acknowledges rows of a shared lane.
	// Rows that come later are written again, into that day's lane.
	SharedFor = 24 * time.Hour

	// SettledAfter is how many days after its own a shared lane has all the rows that
	// it will ever have: compactors read it then for the last time, and sweeps take
	// it for swept. It is SharedFor, and room for [Skew].
	SettledAfter afterhours.Day = 2

	// Skew is by how much clocks may differ.
	Skew = 24 * time.Hour
)

// RenewalFor returns how old an index row may be when a row of its lane is
// acknowledged, in a store where rows live for ttl: an index row lives twice as long
// from when it was put, so it outlives a row that is written within that time.
func RenewalFor(ttl time.Duration) time.Duration { return min(Renewal, ttl/2) }
