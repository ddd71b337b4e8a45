package compact

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// NotYet is the error of a rewrite that is not worth it yet.
type NotYet struct {
	Until time.Time // if nothing more comes
	Rows  int64     // late rows that wait, as far as they were counted
	Bytes int64     // of the partition that would be written again
}

func (n NotYet) Error() string {
	return fmt.Sprintf("%d late rows do not outweigh rewriting %d bytes before %s", n.Rows, n.Bytes, n.Until.UTC().Format(time.RFC3339))
}

// stay is how long an hour that is due has waited, and how long it still may.
type stay struct {
	first, last afterhours.Micros // when its first and its last unserved mark were appended
	until       time.Time         // zero: it is not to be weighed
}

// weigh returns NotYet if an hour may wait and its late rows do not outweigh its
// partition. That is the rule by which TCP acknowledgements are delayed (Dooly,
// Goldman and Scott, J. ACM 48(2), 2001): act when what waits has waited for as much
// as the act costs. Whoever knew what is still to come could do at most twice as
// well.
//
// The partition is not read, since the board knows its size and its rows, and of the
// rows that wait no more than suffice. If the lake's object is not the one the board
// describes, only a rewrite can tell what to do.
func (c *Compactor) weigh(ctx context.Context, h afterhours.Hour, known store.Partition, s stay) error {
	now := c.cfg.Now()
	price := c.cfg.policy(h).price(h, s.last, known.Bytes)
	if !now.Before(s.until) || !s.first.Time().Add(price).After(now) {
		return nil // it has waited long enough for a single row
	}
	if same, err := c.describes(ctx, known); err != nil || !same {
		return err
	}
	rows := late{first: s.first, last: s.last}
	err := c.countLate(ctx, h, known, &rows, func() bool { return !rows.outweigh(price).After(now) })
	if errors.Is(err, errFound) || err == nil && rows.n == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	return NotYet{Until: earlier(rows.outweigh(price), s.until), Rows: rows.n, Bytes: known.Bytes}
}

// describes reports whether the lake's object is the one the board knows.
func (c *Compactor) describes(ctx context.Context, known store.Partition) (bool, error) {
	o, err := c.lake.Unread(ctx, known.Hour)
	if err != nil {
		return false, err
	}
	return o.Version() == known.Version, o.Close()
}

// countLate adds the raw rows up that the board says are neither merged nor noted,
// until there are enough of them: then it returns errFound.
func (c *Compactor) countLate(ctx context.Context, h afterhours.Hour, known store.Partition, rows *late, enough func() bool) error {
	lanes, err := c.store.Lanes(ctx, h)
	if err != nil {
		return err
	}
	// A row that waits was received about when it was marked, or after.
	settled := afterhours.DayOf(rows.first) - store.SettledAfter
	for _, l := range c.unread(lanes, known.Settled, settled) {
		err := c.store.ReadRows(ctx, h, l, known.Settled, func(r store.Row) error {
			if known.Settled.Has(r.ID) {
				return nil
			}
			if rows.add(r.Event); enough() {
				return errFound
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// late adds up late rows that wait.
type late struct {
	first, last afterhours.Micros // marks between which they came
	n           int64
	bytes       int64   // of their payloads
	after       float64 // nanoseconds after first that they came, added up
}

func (l *late) add(e afterhours.Event) {
	came := max(l.first, min(l.last, e.Received)) // a source may say anything
	l.n++
	l.bytes += int64(len(e.Payload))
	l.after += float64(came.Time().Sub(l.first.Time()))
}

// outweigh returns when the rows will have waited for as long as the price, their
// waits added up. There must be a row.
func (l *late) outweigh(price time.Duration) time.Time {
	wait := time.Duration((l.after + float64(price)) / float64(l.n))
	return l.first.Time().Add(min(wait, price))
}
