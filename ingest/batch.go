package ingest

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// Bounds of a batch. The store takes more, but works best with these.
const (
	batchRows  = 100
	batchBytes = 128 << 10

	// batchLinger is how long a batch waits to be filled.
	batchLinger = 10 * time.Millisecond
)

// batch is rows of one hour that are written together. Once it was sent, its
// lane, row numbers, bytes and write timestamp never change.
type batch struct {
	hour   *hour
	rows   []store.Row
	riders []rider // one per row
	size   int64   // encoded bytes

	due    time.Time // when it is sent although it is not full
	queued bool

	lane  *lane
	wrote afterhours.Micros // write timestamp
	acked afterhours.Micros // when the store acknowledged it
}

func (b *batch) add(it item, size int64) {
	b.rows = append(b.rows, store.Row{Event: it.event})
	b.riders = append(b.riders, it.rider)
	b.size += size
}

// fits reports whether a row of the given size may join.
func (b *batch) fits(size int64) bool {
	return len(b.rows) < batchRows && (len(b.rows) == 0 || b.size+size <= batchBytes)
}

// encodedSize is the length of what [store.AppendEvent] makes of an event.
func encodedSize(e afterhours.Event) int64 {
	var b [3 * binary.MaxVarintLen64]byte
	n := binary.PutVarint(b[:], int64(e.Time))
	n += binary.PutVarint(b[n:], int64(e.Received))
	n += binary.PutUvarint(b[n:], uint64(len(e.ID)))
	return int64(1 + n + len(e.ID) + len(e.Payload))
}

// refusal is a row that the store refuses also when it comes alone.
type refusal struct {
	index int // in the batch
	err   error
}

// append repeats rows until the store holds them. If it refuses them, it is asked
// for each half, until the rows that it refuses alone are found. Repetitions and
// halves keep row numbers, bytes and write timestamp, since an attempt that seems
// to fail may have been kept.
func (w *Writer) append(ctx context.Context, b *batch, first, end int) ([]refusal, error) {
	err := w.calls.append.repeat(ctx, func() error {
		return w.store.Append(ctx, b.hour.Hour, b.lane.name, b.wrote, b.rows[first:end])
	})
	switch {
	case err == nil:
		return nil, nil
	case !errors.Is(err, store.ErrRefused):
		return nil, err
	case end-first == 1:
		return []refusal{{first, err}}, nil
	}
	middle := (first + end) / 2
	left, err := w.append(ctx, b, first, middle)
	if err != nil {
		return nil, err
	}
	right, err := w.append(ctx, b, middle, end)
	return append(left, right...), err
}
