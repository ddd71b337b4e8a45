package ingest

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// When lanes are closed beside being full, and how often that is looked at.
const (
	laneIdle  = 10 * time.Minute
	laneAge   = 24 * time.Hour
	laneSweep = 30 * time.Second

	// laneClosers is how many lanes a worker closes at once.
	laneClosers = 8
)

// lane is what a worker knows of a lane it writes to: an hour's own lane, the rows
// of one segment, from opening to closing; or a lane shared with other writers,
// while rows are on their way to it.
type lane struct {
	hour    afterhours.Hour
	name    string
	segment afterhours.Segment // of an own lane
	shared  bool
	day     afterhours.Day // of a shared lane
	renewal afterhours.Micros

	opened, used afterhours.Micros // an own lane
	rows, bytes  int64             // of the batches sent so far, in a shared lane mere hints
	unacked      int               // batches sent and not acknowledged by the store

	indexing bool              // its index row is being written
	indexed  afterhours.Micros // when the index row that is acknowledged was sent; 0: none is
	held     []*batch          // acknowledged by the store, waiting for the index row

	retired bool // no batch will be added
	holed   bool // the store refused one of its rows
}

func (k *worker) ownLane(h afterhours.Hour, now afterhours.Micros) *lane {
	s := afterhours.NewSegment()
	return &lane{hour: h, segment: s, name: store.OwnLane(s).Name, opened: now, used: now, renewal: k.renewal}
}

// sharedLane is an hour's lane for the rows received on a day. indexed is when its
// index row was last sent, as far as is known.
func (k *worker) sharedLane(h afterhours.Hour, day afterhours.Day, indexed afterhours.Micros) *lane {
	return &lane{hour: h, name: store.SharedLane(day).Name, shared: true, day: day, indexed: indexed, renewal: k.renewal}
}

func (l *lane) row(closed bool) store.Lane {
	return store.Lane{Name: l.name, Closed: closed, Rows: l.rows, Bytes: l.bytes}
}

// stale reports whether the index row must be written, again or for the first
// time, before a row that was on its way at the given time is passed on. An index
// row lives twice as long as a row, so it outlives every row that is written while
// it is young.
func (l *lane) stale(at afterhours.Micros) bool {
	return l.indexed == 0 || at-l.indexed > l.renewal
}

// over reports whether an own lane should take no more rows: it was idle, or is old.
func (l *lane) over(now afterhours.Micros) bool {
	return now-l.used >= micros(laneIdle) || now-l.opened >= micros(laneAge)
}

// settled reports whether it is too late for rows of a shared lane: compactors will
// take it for complete. To be in time is to be in the store, with the index row,
// before that; the mark may come later, since whoever looks for the last time
// looks later still.
func (l *lane) settled(now afterhours.Micros) bool { return l.shared && now >= settles(l.day) }

// busy reports whether there are rows on their way to the lane.
func (l *lane) busy() bool { return l.unacked > 0 || len(l.held) > 0 }

// complete reports whether the lane may be closed. Its number of rows is exact
// only when every batch is acknowledged: one that is not may still be written,
// and a compactor that has n rows of a closed lane never looks at it again. For
// the same reason a lane with a refused row stays open until it expires. A shared
// lane is never retired, so never closed.
func (l *lane) complete() bool { return l.retired && !l.holed && !l.busy() }

// retire ends an hour's own lane.
func (k *worker) retire(h *hour) {
	l := h.lane
	h.lane, l.retired = nil, true
	k.release(h)
	if l.indexed != 0 && !l.indexing && l.complete() {
		k.closable.push(l)
	}
}

// retireIdle retires lanes that nothing was written to for a while, and old ones.
func (k *worker) retireIdle() {
	now := k.w.now()
	k.trickle.Forget(now)
	for _, h := range k.hours {
		if h.lane != nil && h.lane.over(now) {
			k.retire(h)
		}
	}
}

func (k *worker) retireAll() {
	for _, h := range k.hours {
		if h.lane != nil {
			k.retire(h)
		}
	}
}

// closeLanes closes complete lanes, a few at once. Closing saves the compactor
// work and nothing waits for it: a lane that cannot be closed stays open.
func (k *worker) closeLanes(ctx context.Context, g *errgroup.Group) {
	for k.closable.len() > 0 && k.closers < laneClosers {
		l := k.closable.pop()
		k.closers++
		g.Go(func() error {
			err := k.w.calls.close.repeat(ctx, func() error { return k.w.store.PutLane(ctx, l.hour, l.row(true)) })
			if err != nil && ctx.Err() == nil {
				k.w.o.Log.Warn("a lane stays open and will be read again and again", "hour", l.hour, "lane", l.name, "err", err)
			}
			return k.tell(ctx, func() { k.closers-- })
		})
	}
}
