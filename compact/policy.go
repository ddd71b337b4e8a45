package compact

import (
	"errors"
	"time"

	"github.com/afterhours/afterhours"
)

// Policy says how long a marked hour waits, so that one rewrite serves many
// marks. Whatever it says, no result depends on it: only the number of rewrites.
//
// An hour is first published when it is over plus Grace. What comes later waits
// until nothing more has come for a while: the older the hour, the longer, since
// a rewrite that moves a whole partition for one row should be as rare as the
// row is late.
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
		return over
	}
	quiet := p.quiet(last.Time().Sub(h.End().Time()))
	// Marks that keep coming delay a rewrite to twice the quiet, and never
	// beyond MaxDelay.
	due, limit := last.Time().Add(quiet), first.Time().Add(min(2*quiet, p.MaxDelay))
	if due.After(limit) {
		return limit
	}
	return due
}

// quiet returns how long nothing must have come for an hour of this age.
func (p Policy) quiet(age time.Duration) time.Duration {
	if p.AgeShare == 0 {
		return p.Quiet
	}
	return max(p.Quiet, time.Duration(float64(age)/p.AgeShare))
}
