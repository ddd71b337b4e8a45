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
	laneIdle  = afterhours.Micros(10 * time.Minute / time.Microsecond)
	laneAge   = afterhours.Micros(24 * time.Hour / time.Microsecond)
	laneSweep = 30 * time.Second

	// laneClosers is how many lanes a worker closes at once.
	laneClosers = 8

	// renewAfter is how old an index row may be when a row of its lane is
	// acknowledged. An index row lives twice as long as a row, so it outlives
	// every row that is written while it is young.
	renewAfter = afterhours.Micros(time.Hour / time.Microsecond)
)

// lane is an hour's own lane: the rows of one segment.
type lane struct {
	hour    afterhours.Hour
	segment afterhours.Segment
	name    string

	opened, used afterhours.Micros
	rows, bytes  int64 // of the batches sent so far
	unacked      int   // batches sent and not acknowledged by the store

	indexing bool              // its index row is being written
	indexed  afterhours.Micros // when the index row that is acknowledged was sent; 0: none is
	held     []*batch          // acknowledged by the store, waiting for the index row

	retired bool // no batch will be added
	holed   bool // the store refused one of its rows
}

func newLane(h afterhours.Hour, now afterhours.Micros) *lane {
	s := afterhours.NewSegment()
	return &lane{hour: h, segment: s, name: s.String(), opened: now}
}

func (l *lane) row(closed bool) store.Lane {
	return store.Lane{Name: l.name, Closed: closed, Rows: l.rows, Bytes: l.bytes}
}

// complete reports whether the lane may be closed. Its number of rows is exact
// only when every batch is acknowledged: one that is not may still be written,
// and a compactor that has n rows of a closed lane never looks at it again. For
// the same reason a lane with a refused row stays open until it expires.
func (l *lane) complete() bool {
	return l.retired && !l.holed && l.unacked == 0 && len(l.held) == 0
}

// retire ends an hour's lane: its next batch opens another one.
func (k *worker) retire(h *hour) {
	l := h.lane
	h.lane, l.retired = nil, true
	if h.filling == nil && h.unsent == 0 {
		delete(k.hours, h.Hour)
	}
	if l.indexed != 0 && !l.indexing && l.complete() {
		k.closable.push(l)
	}
}

// retireIdle retires lanes that nothing was written to for a while, and old ones.
func (k *worker) retireIdle() {
	now := afterhours.MicrosOf(time.Now())
	for _, h := range k.hours {
		if h.lane != nil && (now-h.lane.used >= laneIdle || now-h.lane.opened >= laneAge) {
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
