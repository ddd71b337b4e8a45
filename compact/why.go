package compact

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// State is where an hour stands on its way to a rewrite.
type State string

// The states there are.
const (
	Settled   State = "settled"   // no mark waits
	Unmarked  State = "unmarked"  // nor was anything ever published
	Stuck     State = "stuck"     // nothing happens until somebody acts
	Requested State = "requested" // a backfill or a rebuild asked for a rewrite
	Running   State = "running"   // the hour is not over, or only just
	Quiet     State = "quiet"     // more may come
	Light     State = "light"     // its rows do not outweigh its partition
	Empty     State = "empty"     // it is marked, but has no row that is not published
	Due       State = "due"       // being rewritten, or among the next
)

// Term is a part of the rule that decides when an hour is rewritten.
type Term struct {
	Name    string    // of the policy's part: grace, quiet, row-worth, max-delay; or ttl
	At      time.Time // the instant that it gives
	Decides bool
}

// Why is what decides when an hour is rewritten.
type Why struct {
	Hour  afterhours.Hour
	State State
	At    time.Time // of this answer
	Until time.Time // when the hour is rewritten if nothing more comes; zero if no mark waits
	Terms []Term    // none if no mark waits

	First, Last afterhours.Micros // when the first and the last unserved mark were appended; 0 if there is none
	Partition   store.Partition   // by the board; zero if nothing was published
	Foreign     bool              // the lake's object is another one, so rows are not weighed
	Requests    []store.Request
	Stuck       *store.Stuck

	Policy Policy
	Quiet  time.Duration // asked for after the last mark
	Price  time.Duration // what the waits of the rows must add up to
	Rows   int64         // that wait, of an hour that is over
	Bytes  int64         // of their payloads
	More   bool          // there are more rows than were counted
}

// mostCounted is how many rows WhyNotYet counts.
const mostCounted = 100_000

// WhyNotYet tells what a daemon with this configuration makes of an hour. It goes by
// the marks that the group has not served, the board, the index, and the rows that
// wait; it changes nothing.
func (c *Compactor) WhyNotYet(ctx context.Context, q Pender, group string, h afterhours.Hour) (Why, error) {
	y := Why{Hour: h, At: c.cfg.Now(), Policy: c.cfg.policy(h)}
	marks, err := q.Pending(ctx, group)
	if err != nil {
		return y, fmt.Errorf("read pending marks: %w", err)
	}
	s := c.emptySchedule(false)
	for _, m := range marks {
		if m.Hour == h {
			s.take(notAhead(m, afterhours.MicrosOf(y.At)))
		}
	}
	if err := c.askBoard(ctx, &y); err != nil {
		return y, fmt.Errorf("read what is known of hour %s: %w", h, err)
	}
	w := s.hours[h]
	if w == nil {
		y.State = y.unmarked()
		return y, nil
	}
	y.First, y.Last, y.Quiet = w.first, w.last, y.Policy.quiet(h, w.last)
	rows, err := c.countWaiting(ctx, &y)
	if err != nil {
		return y, fmt.Errorf("count the rows of hour %s: %w", h, err)
	}
	y.decide(s, w, rows)
	return y, nil
}

// askBoard fills in what the board knows.
func (c *Compactor) askBoard(ctx context.Context, y *Why) (err error) {
	if y.Partition, _, err = c.board.Partition(ctx, y.Hour); err != nil {
		return err
	}
	if y.Requests, err = c.board.Requests(ctx, y.Hour); err != nil {
		return err
	}
	stuck, err := c.board.StuckHours(ctx)
	if i := slices.IndexFunc(stuck, func(s store.Stuck) bool { return s.Hour == y.Hour }); i >= 0 {
		y.Stuck = &stuck[i]
	}
	return err
}

// countWaiting counts the rows that a weighing counts, but does not stop at enough.
func (c *Compactor) countWaiting(ctx context.Context, y *Why) (late, error) {
	rows := late{first: y.First, last: y.Last}
	if y.Policy.early(y.Hour, y.First) {
		return rows, nil
	}
	if y.Partition.Generation > 0 {
		same, err := c.describes(ctx, y.Partition)
		if err != nil {
			return rows, err
		}
		y.Foreign = !same
	}
	err := c.countLate(ctx, y.Hour, y.Partition, &rows, func() bool { return rows.n >= mostCounted })
	if y.More = errors.Is(err, errFound); y.More {
		err = nil
	}
	y.Rows, y.Bytes = rows.n, rows.bytes
	return rows, err
}

// unmarked is the state of an hour of which no mark waits.
func (y *Why) unmarked() State {
	switch {
	case y.Stuck != nil:
		return Stuck
	case len(y.Requests) > 0:
		return Requested
	case y.Partition.Generation == 0:
		return Unmarked
	}
	return Settled
}

// decide says when the hour is rewritten, and which term makes it so.
func (y *Why) decide(s *schedule, w *waiting, rows late) {
	due := y.Policy.Due(y.Hour, w.first, w.last)
	running := y.Policy.early(y.Hour, w.first)
	by, light := "quiet", false
	y.Until = due
	if running {
		by = "grace"
		y.Terms = []Term{{Name: by, At: due}}
	} else {
		y.Terms = []Term{{Name: "grace", At: y.Policy.over(y.Hour)}, {Name: by, At: due}}
		if worth := y.weigh(s.stay(w), rows); worth.After(due) {
			by, light, y.Until = "row-worth", true, worth
		}
		y.bound(&by, "max-delay", w.first.Time().Add(y.Policy.MaxDelay))
	}
	y.bound(&by, "ttl", w.first.Time().Add(s.within))
	for i, t := range y.Terms {
		y.Terms[i].Decides = t.Name == by
	}
	y.State = y.marked(running, light)
}

// weigh returns when the rows outweigh the partition; zero if they are not weighed.
func (y *Why) weigh(st stay, rows late) time.Time {
	if st.until.IsZero() || rows.n == 0 || y.Foreign || len(y.Requests) > 0 || y.Partition.Generation == 0 {
		return time.Time{}
	}
	y.Price = y.Policy.price(y.Hour, y.Last, y.Partition.Bytes)
	at := rows.outweigh(y.Price)
	y.Terms = append(y.Terms, Term{Name: "row-worth", At: at})
	return at
}

// bound adds a term that ends every wait.
func (y *Why) bound(by *string, name string, at time.Time) {
	y.Terms = append(y.Terms, Term{Name: name, At: at})
	if !at.After(y.Until) {
		*by, y.Until = name, at
	}
}

// marked is the state of an hour of which a mark waits.
func (y *Why) marked(running, light bool) State {
	switch {
	case y.Stuck != nil:
		return Stuck
	case len(y.Requests) == 0 && !running && !y.Foreign && y.Rows == 0 && y.Partition.Generation > 0:
		return Empty
	case !y.Until.After(y.At):
		return Due
	case len(y.Requests) > 0:
		return Requested
	case running:
		return Running
	case light:
		return Light
	}
	return Quiet
}
