package cassandra

import (
	"context"
	"fmt"
	"math"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// indexPage is for rows of about 100 bytes.
const indexPage = 5000

const (
	laneColumns = "lane, closed, rows, bytes, row_ttl, WRITETIME(closed)"
	selectLanes = "SELECT " + laneColumns + " FROM segments WHERE event_type = ? AND hour = ?"

	ofTokens    = " FROM segments WHERE token(event_type, hour) > ? AND token(event_type, hour) <= ?"
	selectIndex = "SELECT token(event_type, hour), event_type, hour, " + laneColumns + ofTokens
	selectHours = "SELECT DISTINCT token(event_type, hour), event_type, hour" + ofTokens
)

// PutLane implements [store.Store]. Later calls win over earlier ones, so that
// no renewal that arrives late opens a closed lane.
func (s *Store) PutLane(ctx context.Context, h afterhours.Hour, l store.Lane) error {
	err := s.write(s.insertLane, h.Type, h.Span(), l.Name, l.Closed, l.Rows, l.Bytes).ExecContext(ctx)
	if err != nil {
		return fmt.Errorf("put lane %s of %s: %w", l.Name, h, classify(err))
	}
	return nil
}

// Lanes implements [store.Store].
func (s *Store) Lanes(ctx context.Context, h afterhours.Hour) ([]store.Lane, error) {
	var lanes []store.Lane
	err := each(ctx, s.read(selectLanes, h.Type, h.Span()), "lanes of "+h.String(), laneCells,
		func(r indexRow) error { lanes = append(lanes, r.lasting()); return nil })
	if err != nil {
		return nil, err
	}
	return lanes, nil
}

// indexRow is a row of the index and the token of its hour, by which a scan goes.
type indexRow struct {
	token           int64
	eventType, span string
	lane            store.Lane
	put             int64 // when it was written, in microseconds
	ttl             int64 // of its rows, in seconds
}

// laneCells are where laneColumns are.
func laneCells(r *indexRow) []any {
	l := &r.lane
	return []any{&l.Name, &l.Closed, &l.Rows, &l.Bytes, &r.ttl, &r.put}
}

// lasting returns the lane. Until goes by the TTL under which the rows were
// written, which may have been changed since.
func (r indexRow) lasting() store.Lane {
	r.lane.Until = afterhours.Micros(r.put + store.Renewal.Microseconds() + r.ttl*1e6)
	return r.lane
}

// Hours implements [store.Store].
func (s *Store) Hours(ctx context.Context, visit func(afterhours.Hour) error) error {
	x := indexScan{s: s, stmt: selectHours, page: indexPage}
	x.cells = func(r *indexRow) []any { return []any{&r.token, &r.eventType, &r.span} }
	x.visit = func(h afterhours.Hour, _ []store.Lane) error { return visit(h) }
	return x.run(ctx)
}

// Index implements [store.Store].
func (s *Store) Index(ctx context.Context, visit func(afterhours.Hour, []store.Lane) error) error {
	return s.index(indexPage, visit).run(ctx)
}

func (s *Store) index(page int, visit func(afterhours.Hour, []store.Lane) error) *indexScan {
	x := &indexScan{s: s, stmt: selectIndex, page: page, visit: visit}
	x.cells = func(r *indexRow) []any {
		return append([]any{&r.token, &r.eventType, &r.span}, laneCells(r)...)
	}
	return x
}

// indexScan visits the hours of the index. The rows of an hour come one after the
// other, on one page or on several.
type indexScan struct {
	s     *Store
	stmt  string
	page  int // rows
	cells func(*indexRow) []any
	visit func(afterhours.Hour, []store.Lane) error

	done int64      // token of the last hour that was visited
	rows []indexRow // of the hour that is being read
}

// run goes through all tokens. The smallest is never given to a row.
func (x *indexScan) run(ctx context.Context) error {
	return piecewise(math.MinInt64, math.MaxInt64, middleToken, func(lo, hi int64) (int64, bool, error) { return x.read(ctx, lo, hi) })
}

// middleToken is the middle of [piecewise].
func middleToken(lo, hi int64) int64 {
	return lo + int64((uint64(hi)-uint64(lo))/2)
}

func (x *indexScan) read(ctx context.Context, lo, hi int64) (at int64, expired bool, err error) {
	x.done, x.rows = lo, nil
	q := x.s.read(x.stmt, lo, hi).PageSize(x.page)
	stop, err := scan(ctx, q, x.cells, x.row)
	if stop == nil && err == nil {
		stop = x.flush()
	}
	if stop != nil {
		return x.done, false, stop
	}
	return x.done, tooManyExpired(err), reading("index", err)
}

func (x *indexScan) row(r indexRow) error {
	if n := len(x.rows); n > 0 && (x.rows[0].eventType != r.eventType || x.rows[0].span != r.span) {
		if err := x.flush(); err != nil {
			return err
		}
	}
	x.rows = append(x.rows, r)
	return nil
}

// flush visits the hour that was read to its end.
func (x *indexScan) flush() error {
	if len(x.rows) == 0 {
		return nil
	}
	first := x.rows[0]
	h, err := afterhours.ParseSpan(first.eventType, first.span)
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	lanes := make([]store.Lane, len(x.rows))
	for i, r := range x.rows {
		lanes[i] = r.lasting()
	}
	x.done, x.rows = first.token, x.rows[:0]
	return x.visit(h, lanes)
}
