package ingest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/afterhours/afterhours"
)

// markLinger is how long rows wait for others of their hour before it is marked.
const markLinger = 20 * time.Millisecond

// marker marks the hours of rows that are kept, then acknowledges the rows.
//
// Rows share marks, but only like this: rows join pending while their mark has
// not been handed to Marks. One call is in flight at a time. Rows that arrive
// meanwhile wait for the next, also if their hour is in it: whoever rewrites the
// hour may have taken that mark and read the hour before they were kept. For the
// same reason nothing remembers which hours were marked before.
type marker struct {
	w    *Writer
	wake chan struct{} // holds a token when pending is not empty

	mu      sync.Mutex
	pending map[afterhours.Hour][]*batch
}

func newMarker(w *Writer) *marker {
	return &marker{w: w, wake: make(chan struct{}, 1), pending: map[afterhours.Hour][]*batch{}}
}

// add takes a batch whose rows and index row the store has acknowledged.
func (m *marker) add(b *batch) {
	m.mu.Lock()
	m.pending[b.hour.Hour] = append(m.pending[b.hour.Hour], b)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// take returns what is pending and begins anew.
func (m *marker) take() map[afterhours.Hour][]*batch {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pending
	m.pending = map[afterhours.Hour][]*batch{}
	return p
}

// run marks until the writer is drained.
func (m *marker) run(ctx context.Context) error {
	linger := time.NewTimer(0)
	defer linger.Stop()
	for {
		select {
		case <-m.wake:
		case <-m.w.drained:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		linger.Reset(markLinger)
		select {
		case <-linger.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := m.flush(ctx); err != nil {
			return err
		}
	}
}

// flush marks every pending hour, until it works, and acknowledges its rows. Those
// that took so long, with the mark, that nobody may be in time to merge them any
// more are written anew.
func (m *marker) flush(ctx context.Context) error {
	riders := m.take()
	if len(riders) == 0 {
		return nil // the last flush took them with their token still in wake
	}
	hours := slices.Collect(maps.Keys(riders))
	err := m.w.calls.mark.repeat(ctx, func() error { return m.w.marks.Mark(ctx, hours...) })
	if err != nil {
		return err
	}
	m.w.counts.marked(m.w.seed, hours)
	now := m.w.now()
	for h, batches := range riders {
		k := m.w.worker(h)
		for _, b := range batches {
			if !k.aged(b, now) {
				m.w.acknowledge(b)
			} else if err := k.tell(ctx, func() { k.again(b) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// acknowledge ends a batch's way: its rows, its index row and its mark are kept.
func (w *Writer) acknowledge(b *batch) {
	var cost, late, bytes int64
	for i, r := range b.riders {
		if r.late {
			late++
		}
		bytes += int64(len(b.rows[i].Event.Payload))
		cost += r.cost
	}
	n := int64(len(b.riders))
	if b.hour.Type == afterhours.QuarantineType {
		w.counts.quarantined.Add(n)
	} else {
		w.counts.written.Add(n)
		w.counts.late.Add(late)
	}
	w.counts.bytes.Add(bytes)
	for _, r := range b.riders {
		r.ack()
	}
	w.counts.inHand.Add(-n)
	w.counts.pulse.beat()
	w.budget.give(cost)
}
