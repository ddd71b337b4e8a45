package cassandra

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/big"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// Pages are counted in rows, but what counts is their size in memory, here and on
// the server.
const (
	pageBytes = 1 << 20
	minPage   = 10
	maxPage   = 5000

	// sampleRows are read first from a lane of its own without size hints, to
	// measure them. Writers bound the size of such lanes, and so of a page.
	sampleRows = 64

	// sharedPage is for lanes that many writers share: nobody bounds their size, and
	// after many small rows there may come many of the largest, 2 MiB each.
	sharedPage = 64

	// ownStep is at most how far a lane of its own is read at once after a query
	// failed because of expired rows. Its rows are numbered without gaps.
	ownStep = 50_000
)

const selectRows = "SELECT segment, seq, event FROM events " +
	"WHERE event_type = ? AND hour = ? AND lane = ? AND (segment, seq) > (?, ?) AND (segment, seq) <= (?, ?) LIMIT ?"

// ReadRows implements [store.Store].
func (s *Store) ReadRows(ctx context.Context, h afterhours.Hour, l store.Lane, have afterhours.RowSet, visit func(store.Row) error) error {
	return s.laneReader(h, l, have, visit).run(ctx)
}

// rowKey is a row's place in its lane.
type rowKey struct {
	segment afterhours.Segment
	seq     int64 // -1 is the place before the segment's rows
}

const maxSeq = math.MaxUint32

// middleKey is the middle of [piecewise]: between segments while there are any
// between, then within the last.
func middleKey(lo, hi rowKey) rowKey {
	sum := new(big.Int).SetBytes(lo.segment[:])
	sum.Add(sum, new(big.Int).SetBytes(hi.segment[:]))
	mid := rowKey{seq: maxSeq}
	sum.Rsh(sum, 1).FillBytes(mid.segment[:])
	switch {
	case lo.segment == hi.segment:
		return rowKey{hi.segment, (lo.seq + hi.seq) >> 1}
	case mid == lo:
		return rowKey{hi.segment, (hi.seq - 1) >> 1}
	}
	return mid
}

// middleOwn is the middle of [piecewise] in a lane of its own.
func middleOwn(lo, hi rowKey) rowKey {
	return rowKey{hi.segment, min((lo.seq+hi.seq)>>1, lo.seq+ownStep)}
}

// laneReader is a reading of one lane.
type laneReader struct {
	s     *Store
	hour  afterhours.Hour
	lane  string
	have  afterhours.RowSet
	visit func(store.Row) error

	at, last    rowKey                     // what was read last, what may come last
	middle      func(lo, hi rowKey) rowKey // for piecewise
	page        int                        // rows; 0 until the first rows are measured
	rows, bytes int64                      // read so far
}

func (s *Store) laneReader(h afterhours.Hour, l store.Lane, have afterhours.RowSet, visit func(store.Row) error) *laneReader {
	r := &laneReader{s: s, hour: h, lane: l.Name, have: have, visit: visit, at: rowKey{seq: -1}, last: rowKey{seq: maxSeq}}
	if segment, own := l.Own(); own {
		// Begin at the first row that is missing in have.
		r.at, r.last.segment = rowKey{segment, have[segment].Prefix() - 1}, segment
		r.middle, r.page = middleOwn, pageSize(l.Rows, l.Bytes)
		return r
	}
	for i := range r.last.segment {
		r.last.segment[i] = math.MaxUint8
	}
	r.middle, r.page = middleKey, sharedPage
	return r
}

// pageSize returns how many rows make a page, 0 if nothing is known of their size.
func pageSize(rows, bytes int64) int {
	if rows <= 0 || bytes <= 0 {
		return 0
	}
	return int(min(max(pageBytes/max(bytes/rows, 1), minPage), maxPage))
}

func (r *laneReader) run(ctx context.Context) error {
	return piecewise(r.at, r.last, r.middle, func(lo, hi rowKey) (rowKey, bool, error) { return r.read(ctx, lo, hi) })
}

// storedRow is a row as it is stored.
type storedRow struct {
	segment []byte
	seq     int64
	event   []byte
}

// read visits the rows after lo up to hi. If nothing is known of the size of
// rows, it measures a few first.
func (r *laneReader) read(ctx context.Context, lo, hi rowKey) (at rowKey, expired bool, err error) {
	r.at = lo
	page, limit, before := r.page, math.MaxInt32, r.rows
	if page == 0 {
		page, limit = sampleRows, sampleRows
	}
	q := r.s.read(selectRows, r.hour.Type, r.hour.Span(), r.lane, lo.segment[:], lo.seq, hi.segment[:], hi.seq, limit).PageSize(page)
	stop, err := scan(ctx, q, func(row *storedRow) []any { return []any{&row.segment, &row.seq, &row.event} }, r.row)
	switch {
	case stop != nil:
		return r.at, false, stop
	case err != nil:
		return r.at, tooManyExpired(err), reading("lane "+r.lane+" of "+r.hour.String(), err)
	case r.rows-before < int64(limit):
		return hi, false, nil
	}
	r.page = pageSize(r.rows, r.bytes)
	return r.read(ctx, r.at, hi)
}

func (r *laneReader) row(stored storedRow) error {
	r.rows++
	r.bytes += int64(len(stored.event))

	id, err := stored.id()
	r.at = rowKey{id.Segment, stored.seq}
	if err == nil && r.have.Has(id) {
		return nil
	}
	var e afterhours.Event
	if err == nil {
		e, err = store.DecodeEvent(r.hour, stored.event)
	}
	if err != nil {
		return fmt.Errorf("read lane %s of %s: row %x %d: %w", r.lane, r.hour, stored.segment, stored.seq, err)
	}
	return r.visit(store.Row{ID: id, Event: e})
}

func (s storedRow) id() (afterhours.RowID, error) {
	id := afterhours.RowID{Seq: uint32(s.seq)}
	if copy(id.Segment[:], s.segment) != len(s.segment) || len(s.segment) != len(id.Segment) || int64(id.Seq) != s.seq {
		return id, errors.New("no valid row number")
	}
	return id, nil
}
