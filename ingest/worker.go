package ingest

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours"
)

// worker writes the events of the hours that belong to it. One goroutine, run,
// owns all its fields and those of its hours, lanes and unsent batches; calls of
// the store run in goroutines of their own and tell run what came of them.
type worker struct {
	w     *Writer
	in    chan item
	told  chan func() // executed by run
	limit int         // calls of the store at once, closing lanes aside

	hours     map[afterhours.Hour]*hour
	lingering queue[*batch] // not full, in order of due
	ready     queue[*batch] // full or due
	sending   int           // calls under way
	closable  queue[*lane]
	closers   int // lanes being closed
}

// hour is what a worker knows of an hour in traffic.
type hour struct {
	afterhours.Hour
	filling *batch // takes rows; nil if there is none
	unsent  int    // batches
	lane    *lane  // of the next batch; nil if there is none
}

func newWorker(w *Writer, limit int) *worker {
	return &worker{
		w:     w,
		in:    make(chan item, 2*batchRows),
		told:  make(chan func(), limit),
		limit: max(1, limit),
		hours: map[afterhours.Hour]*hour{},
	}
}

// run works until the writer is drained, then closes its lanes. The goroutines
// it starts belong to g and end with ctx.
func (k *worker) run(ctx context.Context, g *errgroup.Group) error {
	linger := time.NewTimer(0)
	defer linger.Stop()
	sweep := time.NewTicker(laneSweep)
	defer sweep.Stop()

	drained, finishing, armed := k.w.drained, false, true
	for {
		k.send(ctx, g)
		k.closeLanes(ctx, g)
		if finishing && k.sending == 0 && k.closers == 0 {
			return nil
		}
		if !armed && k.lingering.len() > 0 {
			linger.Reset(time.Until(k.lingering.head().due))
			armed = true
		}
		select {
		case it := <-k.in:
			k.add(it)
			for range len(k.in) {
				k.add(<-k.in)
			}
		case f := <-k.told:
			f()
		case <-linger.C:
			armed = false
			k.ripen(time.Now())
		case <-sweep.C:
			k.retireIdle()
		case <-drained:
			drained, finishing = nil, true
			k.retireAll()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tell has run execute f.
func (k *worker) tell(ctx context.Context, f func()) error {
	select {
	case k.told <- f:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// add puts an item into the batch that its hour is filling.
func (k *worker) add(it item) {
	key := it.event.Hour()
	h := k.hours[key]
	if h == nil {
		h = &hour{Hour: key}
		k.hours[key] = h
	}
	size := encodedSize(it.event)
	if h.filling != nil && !h.filling.fits(size) {
		k.enqueue(h.filling)
		h.filling = nil
	}
	if h.filling == nil {
		h.filling = &batch{hour: h, due: time.Now().Add(batchLinger)}
		h.unsent++
		k.lingering.push(h.filling)
	}
	h.filling.add(it, size)
	if len(h.filling.rows) == batchRows {
		k.enqueue(h.filling)
	}
}

func (k *worker) enqueue(b *batch) {
	if !b.queued {
		b.queued = true
		k.ready.push(b)
	}
}

// ripen queues the batches that have waited long enough. They go on taking rows
// until there is room to send them, so batches grow when the store is slow.
func (k *worker) ripen(now time.Time) {
	for k.lingering.len() > 0 && !k.lingering.head().due.After(now) {
		k.enqueue(k.lingering.pop())
	}
}

// send sends queued batches while calls are free.
func (k *worker) send(ctx context.Context, g *errgroup.Group) {
	for k.ready.len() > 0 && k.sending < k.limit {
		b := k.ready.pop()
		k.seal(b)
		if b.lane.indexed == 0 && !b.lane.indexing {
			k.index(ctx, g, b.lane)
		}
		k.sending++
		g.Go(func() error { return k.append(ctx, g, b) })
	}
}

// seal gives a batch its lane, row numbers and write timestamp.
func (k *worker) seal(b *batch) {
	h := b.hour
	h.unsent--
	if h.filling == b {
		h.filling = nil
	}
	b.wrote = afterhours.MicrosOf(time.Now())
	if h.lane == nil {
		h.lane = newLane(h.Hour, b.wrote)
	}
	l := h.lane
	b.lane = l
	for i := range b.rows {
		b.rows[i].ID = afterhours.RowID{Segment: l.segment, Seq: uint32(l.rows) + uint32(i)}
	}
	l.rows += int64(len(b.rows))
	l.bytes += b.size
	l.used = b.wrote
	l.unacked++
	if l.rows >= k.w.o.SegmentRows || l.bytes >= k.w.o.SegmentBytes {
		k.retire(h)
	}
}

// append writes a sealed batch, puts what the store refuses into quarantine, and
// tells run.
func (k *worker) append(ctx context.Context, g *errgroup.Group, b *batch) error {
	refused, err := k.w.append(ctx, b, 0, len(b.rows))
	if err != nil {
		return err
	}
	for _, r := range refused {
		if err := k.w.quarantine(ctx, b, r); err != nil {
			return err
		}
	}
	acked := afterhours.MicrosOf(time.Now())
	return k.tell(ctx, func() {
		k.sending--
		b.acked = acked
		b.remove(refused)
		l := b.lane
		l.unacked--
		l.holed = l.holed || len(refused) > 0
		l.held = append(l.held, b)
		if l.holed && b.hour.lane == l {
			k.retire(b.hour)
		}
		k.settle(ctx, g, l)
	})
}

// quarantine sends a row that the store refuses on as a quarantine event, which
// carries the acknowledgement and the part of the budget with it.
func (w *Writer) quarantine(ctx context.Context, b *batch, r refusal) error {
	e, rd := b.rows[r.index].Event, b.riders[r.index]
	if e.Type == afterhours.QuarantineType {
		return fmt.Errorf("keep %s of %s in quarantine: %w", rd.from.Position, rd.from.Source, r.err)
	}
	q, err := w.declare(ctx, quarantine(rd.from, "refused by the store: "+r.err.Error(), e.Received))
	if err != nil {
		return err
	}
	rd.late = false
	return w.route(ctx, item{q, rd})
}

// index writes a lane's index row.
func (k *worker) index(ctx context.Context, g *errgroup.Group, l *lane) {
	l.indexing = true
	k.sending++
	row := l.row(false)
	g.Go(func() error {
		var wrote afterhours.Micros
		err := k.w.calls.index.repeat(ctx, func() error {
			wrote = afterhours.MicrosOf(time.Now())
			return k.w.store.PutLane(ctx, l.hour, row)
		})
		if err != nil {
			return fmt.Errorf("write index row of %s: %w", l.hour, err)
		}
		return k.tell(ctx, func() {
			k.sending--
			l.indexing, l.indexed = false, wrote
			k.settle(ctx, g, l)
		})
	})
}

// settle passes on the batches of a lane that the store acknowledged, if its
// index row is too, and lets a retired lane be closed when all of them are.
func (k *worker) settle(ctx context.Context, g *errgroup.Group, l *lane) {
	if l.indexed == 0 || l.indexing {
		return
	}
	held := l.held
	l.held = nil
	for _, b := range held {
		switch {
		case b.acked-l.indexed > renewAfter:
			l.held = append(l.held, b)
		case len(b.rows) > 0:
			k.w.marker.add(b)
		}
	}
	if len(l.held) > 0 {
		k.index(ctx, g, l)
		return
	}
	if l.complete() {
		k.closable.push(l)
	}
}

// remove takes refused rows out of the batch.
func (b *batch) remove(refused []refusal) {
	if len(refused) == 0 {
		return
	}
	rows, riders := b.rows[:0:0], b.riders[:0:0]
	for i := range b.rows {
		if len(refused) > 0 && refused[0].index == i {
			refused = refused[1:]
			continue
		}
		rows, riders = append(rows, b.rows[i]), append(riders, b.riders[i])
	}
	b.rows, b.riders = rows, riders
}
