package compact

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
)

// lanesAtOnce is how many lanes of one hour are read at the same time.
const lanesAtOnce = 4

// toRead returns the lanes that may have rows that are not published.
func (r *job) toRead() []store.Lane {
	var settled afterhours.Day
	if m := r.base.Manifest; m != nil && !r.mode.whole() {
		settled = m.Settled
	}
	return r.unread(r.lanes, r.have, settled)
}

// readNew adds every readable row outside the set to the rewrite, holes
// included. A row is recorded as merged only because it was added here.
func (r *job) readNew(ctx context.Context, rw *lake.Rewrite, lanes []store.Lane) error {
	r.laneOf = map[afterhours.Segment]string{}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lanesAtOnce)
	for _, l := range lanes {
		g.Go(func() error {
			o := origin(l, 0)
			return r.store.ReadRows(ctx, r.hour, l, r.have, func(row store.Row) error {
				if r.have.Has(row.ID) {
					return nil
				}
				mu.Lock()
				r.laneOf[row.ID.Segment] = l.Name
				mu.Unlock()
				if !o.Shared {
					o.Day = afterhours.DayOf(row.Event.Received)
				}
				return rw.Add(row.ID, o, row.Event)
			})
		})
	}
	return g.Wait()
}

// unread returns the lanes that may have rows outside the set. Shared ones from
// before the given day have none.
func (c *Compactor) unread(lanes []store.Lane, have afterhours.RowSet, settled afterhours.Day) []store.Lane {
	var unread []store.Lane
	for _, l := range lanes {
		day, shared := l.Shared()
		if complete(l, have) || shared && day < settled || c.expired(l) {
			continue
		}
		unread = append(unread, l)
	}
	return unread
}

// complete reports whether the set holds every row a closed lane will ever have,
// so that it need not be read again.
func complete(l store.Lane, have afterhours.RowSet) bool {
	seg, own := l.Own()
	return own && l.Closed && have[seg].Count() == l.Rows
}

// expired reports whether no row of the lane is left. To read it would be right,
// and would step over its tombstones for nothing.
func (c *Compactor) expired(l store.Lane) bool {
	return l.Until > 0 && l.Until+afterhours.Micros(store.Skew.Microseconds()) <= c.now()
}

// bytesOf returns about how much there is to read.
func bytesOf(lanes []store.Lane) (n int64) {
	for _, l := range lanes {
		n += l.Bytes
	}
	return n
}
