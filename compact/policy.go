package compact

import (
	"time"

	"github.com/afterhours/afterhours"
)

// Policy says how long a marked hour waits, so that one rewrite serves many
// marks. Whatever it says, no result depends on it: only the number of rewrites.
type Policy struct {
	Grace    time.Duration // after the hour's end, before its first rewrite
	Quiet    time.Duration // without another mark, before a rewrite
	MaxDelay time.Duration // after which marks that keep coming no longer delay it
}

// Due returns when an hour is to be rewritten whose first unserved mark was
// appended at first and whose last at last.
func (p Policy) Due(h afterhours.Hour, first, last afterhours.Micros) time.Time {
	over := h.End().Time().Add(p.Grace)
	settled := last.Time().Add(p.Quiet)
	if limit := first.Time().Add(p.MaxDelay); settled.After(limit) {
		settled = limit
	}
	if settled.After(over) {
		return settled
	}
	return over
}
