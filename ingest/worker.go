package ingest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
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
	trickle   *Trickle
	renewal   afterhours.Micros // how old an index row may be
	oldest    afterhours.Micros // how old a row may be when it is acknowledged; its life began when it was sent
}

// hour is what a worker knows of an hour in traffic.
type hour struct {
	afterhours.Hour
	filling *batch // takes rows; nil if there is none
	unsent  int    // batches
	lane    *lane  // its own, which takes its rows; nil if there is none
	shared  *lane  // today's, while rows are on their way to it; else nil
}

func newWorker(w *Writer, limit, trickleHours int) *worker {
	ttl := w.store.TTL()
	renewal := store.RenewalFor(ttl)
	return &worker{
		w:     w,
		in:    make(chan item, 2*batchRows),
		told:  make(chan func(), limit),
		limit: max(1, limit),
		hours: map[afterhours.Hour]*hour{},

		renewal: micros(renewal),
		oldest:  micros(ttl / 2),
		trickle: NewTrickle(trickleHours, renewal),
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
	h := k.hour(it.event.Hour())
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

// hour returns what is known of an hour.
func (k *worker) hour(key afterhours.Hour) *hour {
	h := k.hours[key]
	if h == nil {
		h = &hour{Hour: key}
		k.hours[key] = h
	}
	return h
}

// release forgets an hour in which nothing is under way any more.
func (k *worker) release(h *hour) {
	if h.filling == nil && h.unsent == 0 && h.lane == nil && h.shared == nil {
		delete(k.hours, h.Hour)
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
		if b.lane.stale(b.wrote) && !b.lane.indexing {
			k.index(ctx, g, b.lane)
		}
		k.sending++
		g.Go(func() error { return k.append(ctx, g, b) })
	}
}

// seal gives a batch its lane, row numbers and write timestamp: in the hour's own
// lane if it has one or deserves one, else in the one that it shares.
func (k *worker) seal(b *batch) {
	h := b.hour
	b.wrote = k.w.now()
	if h.lane != nil && h.lane.over(b.wrote) {
		k.retire(h)
	}
	h.unsent--
	if h.filling == b {
		h.filling = nil
	}
	if h.lane == nil && k.trickle.Shares(h.Hour, len(b.rows), b.wrote) {
		k.sealShared(b)
		return
	}
	if h.lane == nil {
		h.lane = k.ownLane(h.Hour, b.wrote)
		k.trickle.Opened(h.Hour, b.wrote)
	}
	l := h.lane
	b.number(l, afterhours.RowID{Segment: l.segment, Seq: uint32(l.rows)})
	l.used = b.wrote
	if l.rows >= k.w.o.SegmentRows || l.bytes >= k.w.o.SegmentBytes {
		k.retire(h)
	}
}

func (k *worker) sealShared(b *batch) {
	h, day := b.hour, afterhours.DayOf(b.wrote)
	first, indexed := k.trickle.Add(h.Hour, len(b.rows), b.wrote)
	if h.shared == nil || h.shared.day != day {
		h.shared = k.sharedLane(h.Hour, day, indexed)
	}
	b.number(h.shared, first)
}

// number puts a batch into a lane, under row numbers that begin with first.
func (b *batch) number(l *lane, first afterhours.RowID) {
	b.lane = l
	for i := range b.rows {
		b.rows[i].ID = afterhours.RowID{Segment: first.Segment, Seq: first.Seq + uint32(i)}
	}
	l.rows += int64(len(b.rows))
	l.bytes += b.size
	l.unacked++
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
	acked := k.w.now()
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
	q, err := w.admit(ctx, quarantine(rd.from, "refused by the store: "+r.err.Error(), e.Received), rd.from)
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
			wrote = k.w.now()
			return k.w.store.PutLane(ctx, l.hour, row)
		})
		if err != nil {
			return fmt.Errorf("write index row of %s: %w", l.hour, err)
		}
		return k.tell(ctx, func() {
			k.sending--
			l.indexing, l.indexed = false, wrote
			if l.shared {
				k.trickle.Indexed(l.hour, l.day, wrote)
			}
			k.settle(ctx, g, l)
		})
	})
}

// settle passes on the batches of a lane that the store acknowledged, if its
// index row is too. When all of them are, a retired lane may be closed, and a
// shared one is no longer looked after.
func (k *worker) settle(ctx context.Context, g *errgroup.Group, l *lane) {
	if l.indexed == 0 || l.indexing {
		return
	}
	held, now := l.held, k.w.now()
	l.held = nil
	for _, b := range held {
		switch {
		case len(b.rows) == 0:
		case l.settled(now):
			k.again(b)
		case l.stale(b.acked):
			l.held = append(l.held, b)
		default:
			k.w.marker.add(b)
		}
	}
	switch {
	case len(l.held) > 0:
		k.index(ctx, g, l)
	case l.complete():
		k.closable.push(l)
	case l.shared && !l.busy():
		k.leave(l)
	}
}

// aged reports whether a batch's rows have less than half of their life before them.
func (k *worker) aged(b *batch, now afterhours.Micros) bool { return now-b.wrote > k.oldest }

// again queues rows that came too late for their lane, or took so long that they
// would expire soon, to be written anew under other numbers. Like the copies of a
// redelivery, the old ones do no harm.
func (k *worker) again(b *batch) {
	h := k.hour(b.hour.Hour)
	h.unsent++
	anew := &batch{hour: h, rows: slices.Clone(b.rows), riders: b.riders}
	for _, r := range b.rows {
		anew.size += encodedSize(r.Event)
	}
	k.enqueue(anew)
}

// leave forgets a shared lane that no rows are on their way to.
func (k *worker) leave(l *lane) {
	if h := k.hours[l.hour]; h != nil && h.shared == l {
		h.shared = nil
		k.release(h)
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
