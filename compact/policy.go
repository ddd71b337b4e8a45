package compact

import (
	"errors"
	"time"

	"github.com/afterhours/afterhours"
)

// Policy says how long a marked hour waits, so that one rewrite serves many
// marks. Whatever it says, no result depends on it: only the number of rewrites.
//
// An hour is first published when it is over plus Grace; one that lies days ahead
// is not waited for. What comes later waits until nothing more has come for a
// while: the older the hour, the longer, since a rewrite that moves a whole
// partition for one row should be as rare as the row is late.
type Policy struct {
	Grace    time.Duration // after the hour's end, before its first rewrite
	Quiet    time.Duration // without another mark, before a later rewrite, at least
	AgeShare float64       // the quiet asked for is the hour's age divided by this, if that is more; 0: never
	MaxDelay time.Duration // longest wait of a mark, whatever comes after it
}

// Validate reports every fault of the policy, joined.
func (p Policy) Validate() error {
	var errs []error
	if p.Grace < 0 || p.Quiet < 0 || p.MaxDelay < 0 {
		errs = append(errs, errors.New("grace, quiet and max-delay cannot be negative"))
	}
	if p.AgeShare < 0 {
		errs = append(errs, errors.New("age-share cannot be negative"))
	}
	return errors.Join(errs...)
}

// Due returns when an hour is to be rewritten whose first unserved mark was
// appended at first and whose last at last.
func (p Policy) Due(h afterhours.Hour, first, last afterhours.Micros) time.Time {
	over := h.End().Time().Add(p.Grace)
	if first.Time().Before(over) {
		return earlier(over, first.Time().Add(maxAhead+p.Grace))
	}
	quiet := p.quiet(last.Time().Sub(h.End().Time()))
	// Marks that keep coming delay a rewrite to twice the quiet, and never
	// beyond MaxDelay.
	return earlier(last.Time().Add(quiet), first.Time().Add(min(2*quiet, p.MaxDelay)))
}

// maxAhead is how long the end of an hour that lies ahead is waited for. An event
// or a file whose clock is decades ahead would have its raw rows expire before.
const maxAhead = 48 * time.Hour

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// quiet returns how long nothing must have come for an hour of this age.
func (p Policy) quiet(age time.Duration) time.Duration {
	if p.AgeShare == 0 {
		return p.Quiet
	}
	return max(p.Quiet, time.Duration(float64(age)/p.AgeShare))
}
