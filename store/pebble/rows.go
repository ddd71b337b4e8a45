package pebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

var errValue = errors.New("decode row: truncated")

// Append writes the rows in one synced batch, so all of them or none. Rows that
// have expired are not stored.
func (s *Store) Append(ctx context.Context, h afterhours.Hour, lane string, wrote afterhours.Micros, rows []store.Row) error {
	_, end, err := s.db.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if len(rows) == 0 || wrote <= s.expiredRows() {
		return nil
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := setRows(b, laneKey(rowTable, h, lane), wrote, rows); err != nil {
		return err
	}
	if err := s.applyRows(laneKey(laneTable, h, lane), b, wrote); err != nil {
		return err
	}
	return b.SyncWait()
}

// applyRows applies a batch of rows, with a change of their lane's record if that
// does not cover them. The caller waits for the sync.
func (s *Store) applyRows(lane []byte, b *pebble.Batch, wrote afterhours.Micros) error {
	if covered, err := s.applyCovered(lane, b, wrote); covered || err != nil {
		return err
	}
	return s.applyLane(lane, b, func(r *laneRecord) { r.cover(wrote) })
}

// applyCovered applies a batch of rows if their lane's record covers them, and
// reports whether it did.
func (s *Store) applyCovered(lane []byte, b *pebble.Batch, wrote afterhours.Micros) (bool, error) {
	s.expiring.RLock()
	defer s.expiring.RUnlock()
	r, ok, err := s.laneRecord(lane)
	if err != nil || !ok || !r.covers(wrote) {
		return false, err
	}
	return true, s.db.ApplyNoSyncWait(b, pebble.Sync)
}

// setRows adds rows to a batch.
func setRows(b *pebble.Batch, lane []byte, wrote afterhours.Micros, rows []store.Row) error {
	var key, value []byte
	for _, r := range rows {
		key = appendRowID(append(key[:0], lane...), r.ID)
		value = store.AppendEvent(binary.AppendVarint(value[:0], int64(wrote)), r.Event)
		if err := b.Set(key, value, nil); err != nil {
			return err
		}
	}
	return nil
}

// ReadRows visits the rows of one lane that have not expired and are not in
// have. It reads a snapshot, the one of when it was called.
func (s *Store) ReadRows(ctx context.Context, h afterhours.Hour, l store.Lane, have afterhours.RowSet, visit func(store.Row) error) error {
	prefix := laneKey(rowTable, h, l.Name)
	expired := s.expiredRows()
	return s.scan(ctx, prefix, after(prefix), func(key, value []byte) ([]byte, error) {
		id, err := cutRowID(key[len(prefix):])
		if err != nil {
			return nil, err
		}
		if last, ok := run(have[id.Segment], id.Seq); ok {
			return skip(prefix, id, last), nil
		}
		e, live, err := decodeRow(h, value, expired)
		switch {
		case err != nil:
			return nil, fmt.Errorf("row %s/%d of hour %s: %w", id.Segment, id.Seq, h, err)
		case !live:
			return nil, nil
		}
		return nil, visit(store.Row{ID: id, Event: e})
	})
}

// decodeRow reads a row's value, unless it has expired. The event shares no
// memory with it.
func decodeRow(h afterhours.Hour, value []byte, expired afterhours.Micros) (e afterhours.Event, live bool, err error) {
	wrote, event, err := cutWritten(value)
	if err != nil || wrote <= expired {
		return e, false, err
	}
	e, err = store.DecodeEvent(h, bytes.Clone(event))
	return e, true, err
}

// run returns the last number of the run that n is in, if it is in any.
func run(set afterhours.Ranges, n uint32) (last uint32, ok bool) {
	i, _ := slices.BinarySearchFunc(set, n, func(r afterhours.Range, n uint32) int {
		if r.Last < n {
			return -1
		}
		return 1
	})
	if i == len(set) || set[i].First > n {
		return 0, false
	}
	return set[i].Last, true
}

// skip returns the key to go on from when all rows from id to last are had, or
// nil for the next one.
func skip(prefix []byte, id afterhours.RowID, last uint32) []byte {
	if last == id.Seq {
		return nil
	}
	id.Seq = last
	key := appendRowID(bytes.Clone(prefix), id)
	return append(key, 0) // the key right after that of last
}

// cutWritten splits a row's value.
func cutWritten(value []byte) (wrote afterhours.Micros, event []byte, err error) {
	n, size := binary.Varint(value)
	if size <= 0 {
		return 0, nil, errValue
	}
	return afterhours.Micros(n), value[size:], nil
}
