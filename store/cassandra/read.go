package cassandra

import (
	"context"
	"errors"
	"fmt"
	"math"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// Pages are counted in rows, but what counts is their size in memory, here and on
// the server.
const (
	pageBytes = 1 << 20
	minPage   = 10
	maxPage   = 5000

	// sampleRows are read first from a lane without size hints, to measure them.
	sampleRows = 64

	// smallPage is for tables whose rows are small.
	smallPage = 1000
)

// read prepares a query. A read that fails is tried on other servers.
func (s *Store) read(stmt string, args ...any) *gocql.Query {
	return s.session.Query(stmt, args...).Idempotent(true).RetryPolicy(readPolicy{}).PageSize(smallPage)
}

// each visits the rows of a query. All reading goes through it, because the driver
// reports a page that could not be read only when the iterator is closed: each
// returns nil only if that went well, so nobody takes a part for the whole. An
// error of visit ends the reading and is returned as it is.
func each[T any](ctx context.Context, q *gocql.Query, what string, dest func(*T) []any, visit func(T) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of the next page, which is fetched ahead
	it := q.IterContext(ctx)
	for {
		var row T // a new one each time: the driver writes into slices that it is given
		if !it.Scan(dest(&row)...) {
			break
		}
		if err := visit(row); err != nil {
			return err
		}
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("%s: %w", what, classify(err))
	}
	return nil
}

// Lanes implements [store.Store].
func (s *Store) Lanes(ctx context.Context, h afterhours.Hour) ([]store.Lane, error) {
	var lanes []store.Lane
	q := s.read("SELECT lane, closed, rows, bytes FROM segments WHERE event_type = ? AND hour = ?", h.Type, h.Span())
	err := each(ctx, q, "read lanes of "+h.String(),
		func(l *store.Lane) []any { return []any{&l.Name, &l.Closed, &l.Rows, &l.Bytes} },
		func(l store.Lane) error { lanes = append(lanes, l); return nil })
	if err != nil {
		return nil, err
	}
	return lanes, nil
}

// Hours implements [store.Store].
func (s *Store) Hours(ctx context.Context, visit func(afterhours.Hour) error) error {
	type key struct{ eventType, hour string }
	return each(ctx, s.read("SELECT DISTINCT event_type, hour FROM segments"), "read hours",
		func(k *key) []any { return []any{&k.eventType, &k.hour} },
		func(k key) error {
			h, err := afterhours.ParseSpan(k.eventType, k.hour)
			if err != nil {
				return fmt.Errorf("read hours: %w", err)
			}
			return visit(h)
		})
}

const selectRows = "SELECT segment, seq, event FROM events " +
	"WHERE event_type = ? AND hour = ? AND lane = ? AND (segment, seq) >= (?, ?) LIMIT ?"

// ReadRows implements [store.Store].
func (s *Store) ReadRows(ctx context.Context, h afterhours.Hour, l store.Lane, have afterhours.RowSet, visit func(store.Row) error) error {
	return s.laneReader(h, l, have, visit).run(ctx, pageSize(l.Rows, l.Bytes))
}

// laneReader begins a lane of its own at the first row that is missing in have.
func (s *Store) laneReader(h afterhours.Hour, l store.Lane, have afterhours.RowSet, visit func(store.Row) error) *laneReader {
	r := &laneReader{s: s, hour: h, lane: l.Name, have: have, visit: visit, segment: []byte{}}
	if segment, own := l.Own(); own {
		r.segment, r.seq = segment[:], have[segment].Prefix()
	}
	return r
}

// pageSize returns how many rows make a page, 0 if nothing is known of their size.
func pageSize(rows, bytes int64) int {
	if rows <= 0 || bytes <= 0 {
		return 0
	}
	return int(min(max(pageBytes/max(bytes/rows, 1), minPage), maxPage))
}

// laneReader is a reading of one lane.
type laneReader struct {
	s     *Store
	hour  afterhours.Hour
	lane  string
	have  afterhours.RowSet
	visit func(store.Row) error

	segment []byte // where to go on
	seq     int64

	rows, bytes int64 // read so far
}

// run reads to the end of the lane. If nothing is known of the size of its rows,
// it measures a few first.
func (r *laneReader) run(ctx context.Context, page int) error {
	if page == 0 {
		if err := r.read(ctx, sampleRows, sampleRows); err != nil || r.rows < sampleRows {
			return err
		}
		page = pageSize(r.rows, r.bytes)
	}
	return r.read(ctx, page, math.MaxInt32)
}

// storedRow is a row as it is stored.
type storedRow struct {
	segment []byte
	seq     int64
	event   []byte
}

func (r *laneReader) read(ctx context.Context, page, limit int) error {
	q := r.s.read(selectRows, r.hour.Type, r.hour.Span(), r.lane, r.segment, r.seq, limit).PageSize(page)
	return each(ctx, q, "read lane "+r.lane+" of "+r.hour.String(),
		func(row *storedRow) []any { return []any{&row.segment, &row.seq, &row.event} }, r.row)
}

func (r *laneReader) row(stored storedRow) error {
	r.segment, r.seq = stored.segment, stored.seq+1
	r.rows++
	r.bytes += int64(len(stored.event))

	id, err := stored.id()
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
