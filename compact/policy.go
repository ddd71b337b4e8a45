package compact

import (
	"errors"
	"math"
	"time"

	"github.com/afterhours/afterhours"
)

// Policy says how long a marked hour waits, so that one rewrite serves many
// marks. Whatever it says, no result depends on it: only the number of rewrites.
//
// An hour is first published when it is over plus Grace; one that lies days ahead
// is not waited for. What comes later waits until nothing more has come for a
// while: the older the hour, the longer, since a rewrite that moves a whole
// partition for one row should be as rare as the row is late. Then its rows are
// weighed: a rewrite that would write many bytes again for few rows waits for more
// of them, or for longer.
type Policy struct {
	Grace    time.Duration // after the hour's end, before its first rewrite
	Quiet    time.Duration // without another mark, before a later rewrite, at least
	AgeShare float64       // the quiet asked for is the hour's age divided by this, if that is more; 0: never
	MaxDelay time.Duration // longest wait of a mark, whatever comes after it
	RowWorth int64         // bytes worth writing again for one late row that has waited for the quiet; 0: rows are not weighed
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
	if p.RowWorth < 0 {
		errs = append(errs, errors.New("row-worth cannot be negative"))
	}
	return errors.Join(errs...)
}

// Due returns when an hour is to be rewritten whose first unserved mark was
// appended at first and whose last at last, as far as marks tell: what they are of
// may not outweigh the partition yet.
func (p Policy) Due(h afterhours.Hour, first, last afterhours.Micros) time.Time {
	if p.early(h, first) {
		return earlier(p.over(h), first.Time().Add(maxAhead+p.Grace))
	}
	quiet := p.quiet(h, last)
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

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// over returns when an hour is rewritten that was marked while it ran.
func (p Policy) over(h afterhours.Hour) time.Time { return h.End().Time().Add(p.Grace) }

// early reports whether an hour was first marked before it was over, grace included.
func (p Policy) early(h afterhours.Hour, first afterhours.Micros) bool {
	return first.Time().Before(p.over(h))
}

// quiet returns how long nothing must have come after an hour's last mark.
func (p Policy) quiet(h afterhours.Hour, last afterhours.Micros) time.Duration {
	if p.AgeShare == 0 {
		return p.Quiet
	}
	age := last.Time().Sub(h.End().Time())
	return max(p.Quiet, time.Duration(float64(age)/p.AgeShare))
}

// price returns how long late rows must have waited, their waits added up, to be
// worth writing a partition of so many bytes again.
func (p Policy) price(h afterhours.Hour, last afterhours.Micros, bytes int64) time.Duration {
	if p.RowWorth == 0 {
		return 0
	}
	d := float64(p.quiet(h, last)) * float64(bytes) / float64(p.RowWorth)
	return time.Duration(min(d, math.MaxInt64/4)) // 73 years
}
