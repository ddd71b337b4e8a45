package cassandra

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/internal/testenv"
	"github.com/afterhours/afterhours/store"
)

// tombstoneLimit is how many expired rows a server passes over in one query,
// unless it is configured otherwise.
const tombstoneLimit = 100_000

// longAgo is when rows were written that expired less than a day ago: servers
// count them as tombstones.
func longAgo(s *Store) afterhours.Micros {
	return now() - afterhours.Micros(s.ttl.Microseconds()) - 60e6
}

// tiny makes n rows of a segment without payloads.
func tiny(seg afterhours.Segment, first, n uint32) []store.Row {
	rows := make([]store.Row, n)
	for i := range rows {
		id := afterhours.RowID{Segment: seg, Seq: first + uint32(i)}
		rows[i] = store.Row{ID: id, Event: afterhours.Event{ID: "x", Type: tenOClock.Type, Time: tenOClock.Start}}
	}
	return rows
}

// appendAll writes rows to a lane, and repeats what fails as writers do.
func appendAll(t *testing.T, s *Store, lane string, wrote afterhours.Micros, rows []store.Row) {
	t.Helper()
	inParallel(slices.Chunk(rows, 500), func(batch []store.Row) {
		for s.Append(t.Context(), tenOClock, lane, wrote, batch) != nil && t.Context().Err() == nil {
			t.Log("a write is repeated")
		}
	})
}

func inParallel[T any](items func(func(T) bool), f func(T)) {
	work := make(chan T)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for x := range work {
				f(x)
			}
		})
	}
	items(func(x T) bool { work <- x; return true })
	close(work)
	wg.Wait()
}

// wantOverwhelmed checks that the server refuses a query that has no live rows
// because of the others: else the test shows nothing.
func wantOverwhelmed(t *testing.T, s *Store, stmt string, args ...any) {
	t.Helper()
	_, err := scan(t.Context(), s.read(stmt, args...), func(*indexRow) []any { return nil }, func(indexRow) error { return nil })
	if !tooManyExpired(err) {
		t.Fatalf("the server passes over what has expired: %v", err)
	}
}

// wantRead reads a lane.
func wantRead(t *testing.T, s *Store, l store.Lane, have afterhours.RowSet, want []store.Row) {
	t.Helper()
	var got []store.Row
	if err := s.ReadRows(t.Context(), tenOClock, l, have, func(r store.Row) error { got = append(got, r); return nil }); err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(got, want, func(a, b store.Row) bool { return a.ID == b.ID }) {
		t.Fatalf("lane %s: read %d rows, want %d", l.Name, len(got), len(want))
	}
}

// A lane of its own may have more expired rows than a server passes over in one
// query. Those that live are read, before, among and after them.
func TestExpiredOwnLane(t *testing.T) {
	const n = tombstoneLimit + 20_000
	s, lane := open(t, testenv.Keyspace(t)), store.OwnLane(segment)
	appendAll(t, s, lane.Name, longAgo(s), tiny(segment, 50, n))
	wantOverwhelmed(t, s, "SELECT lane FROM events WHERE event_type = ? AND hour = ? AND lane = ?", tenOClock.Type, tenOClock.Span(), lane.Name)
	wantRead(t, s, lane, nil, nil)
	live := slices.Concat(tiny(segment, 0, 50), tiny(segment, n-10_000, 300), tiny(segment, n+50, 300))
	appendAll(t, s, lane.Name, now(), live)

	wantRead(t, s, lane, nil, live)
	wantRead(t, s, lane, afterhours.RowSet{segment: {{First: 0, Last: n - 1}}}, live[350:])
	for _, hint := range []int64{600, n} {
		wantRead(t, s, store.Lane{Name: lane.Name, Rows: hint, Bytes: 20 * hint}, nil, live)
	}
}

// The same of a lane that many writers share, where nobody knows the segments.
func TestExpiredSharedLane(t *testing.T) {
	const segments, each = 1_200, 100
	s, lane := open(t, testenv.Keyspace(t)), store.SharedLane(afterhours.DayOf(now()))
	var expired, live []store.Row
	for i := range segments {
		seg := afterhours.NewSegment()
		expired = append(expired, tiny(seg, uint32(i)<<20, each)...)
		if i%100 == 0 {
			live = append(live, tiny(seg, uint32(i)<<20+each, 10)...)
		}
	}
	slices.SortFunc(live, func(a, b store.Row) int {
		return bytes.Compare(a.ID.Segment[:], b.ID.Segment[:])*2 + int(min(1, max(-1, int64(a.ID.Seq)-int64(b.ID.Seq))))
	})
	appendAll(t, s, lane.Name, longAgo(s), expired)
	wantOverwhelmed(t, s, "SELECT lane FROM events WHERE event_type = ? AND hour = ? AND lane = ?", tenOClock.Type, tenOClock.Span(), lane.Name)
	wantRead(t, s, lane, nil, nil)
	appendAll(t, s, lane.Name, now(), live)
	wantRead(t, s, lane, nil, live)
}

// Index rows that have expired stop no reading of the index.
func TestExpiredIndex(t *testing.T) {
	const hours, lanes = 1_100, 100
	ctx, s := t.Context(), open(t, testenv.Keyspace(t))
	expired := longAgo(s) - afterhours.Micros(s.ttl.Microseconds())
	hourOf := func(i int) afterhours.Hour {
		return afterhours.HourOf("purchase", tenOClock.Start+afterhours.Micros(i)*3600e6)
	}
	inParallel(seq(hours), func(i int) {
		b := s.session.Batch(gocql.UnloggedBatch).WithTimestamp(int64(expired)).WithNowInSeconds(int(expired.Time().Unix()))
		for range lanes {
			b.Query(s.insertLane, "purchase", hourOf(i).Span(), afterhours.NewSegment().String(), true, int64(1), int64(1))
		}
		for b.ExecContext(ctx) != nil && ctx.Err() == nil {
			t.Log("a write is repeated")
		}
	})
	wantOverwhelmed(t, s, "SELECT lane, closed, rows, bytes FROM segments")
	want := map[afterhours.Hour]int{}
	wantIndex(t, s, want)
	for i := 0; i < hours; i += 50 {
		want[hourOf(i)] = i/50 + 1
		for range want[hourOf(i)] {
			if err := s.PutLane(ctx, hourOf(i), store.OwnLane(afterhours.NewSegment())); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantIndex(t, s, want)
	if got, err := s.Lanes(ctx, hourOf(50)); err != nil || len(got) != 2 {
		t.Errorf("lanes: %v, %v", got, err)
	}
}

func seq(n int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// Of an hour that was not read to its end when a query failed, all is read again.
func TestIndexGoesOnAtWholeHours(t *testing.T) {
	var visited []afterhours.Hour
	x := (&Store{}).index(indexPage, func(h afterhours.Hour, _ []store.Lane) error { visited = append(visited, h); return nil })
	for token, span := range []string{"2026-11-20T10", "2026-11-20T10", "2026-11-20T11", "2026-11-20T12"} {
		if err := x.row(indexRow{token: int64(token), eventType: "purchase", span: span}); err != nil {
			t.Fatal(err)
		}
	}
	if len(visited) != 2 || x.done != 2 {
		t.Errorf("visited %v, go on after token %d", visited, x.done)
	}
}

// wantIndex compares hours and numbers of lanes.
func wantIndex(t *testing.T, s *Store, want map[afterhours.Hour]int) {
	t.Helper()
	got, hours := map[afterhours.Hour]int{}, map[afterhours.Hour]int{}
	err := errors.Join(
		s.Index(t.Context(), func(h afterhours.Hour, lanes []store.Lane) error { got[h] += len(lanes); return nil }),
		s.Hours(t.Context(), func(h afterhours.Hour) error { hours[h]++; return nil }))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || len(hours) != len(want) {
		t.Errorf("index of %v, hours %v, want %v", got, hours, want)
	}
}

// An error of the visitor that looks like too many expired rows, because the
// visitor used the store, ends the reading like any other.
func TestVisitorsErrorIsNotTakenForOurs(t *testing.T) {
	ctx, s, stop := t.Context(), open(t, testenv.Keyspace(t)), &gocql.RequestErrReadFailure{}
	lane, visits := store.OwnLane(segment), 0
	if err := errors.Join(s.PutLane(ctx, tenOClock, lane), s.Append(ctx, tenOClock, lane.Name, now(), testRows(0, 5))); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"ReadRows": s.ReadRows(ctx, tenOClock, lane, nil, func(store.Row) error { visits++; return stop }),
		"Index":    s.Index(ctx, func(afterhours.Hour, []store.Lane) error { visits++; return stop }),
		"Hours":    s.Hours(ctx, func(afterhours.Hour) error { visits++; return stop }),
	} {
		if err != error(stop) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if visits != 3 {
		t.Errorf("visited %d times, want 3", visits)
	}
}

// Only a server's word on tombstones, or a server's that gives no reasons, is
// taken for too many expired rows, and other servers are not asked then.
func TestTooManyExpired(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("unknown"), false},
		{&gocql.RequestErrReadTimeout{}, false},
		{&gocql.RequestErrReadFailure{ErrorMap: gocql.ErrorMap{"10.0.0.1": 0}}, false},
		{&gocql.RequestErrReadFailure{ErrorMap: gocql.ErrorMap{"10.0.0.1": 0, "10.0.0.2": 1}}, true},
		{fmt.Errorf("read: %w", &gocql.RequestErrReadFailure{ErrorMap: gocql.ErrorMap{"10.0.0.1": 1}}), true},
		{&gocql.RequestErrReadFailure{NumFailures: 1}, true},
	} {
		if got := tooManyExpired(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
		if again := (readPolicy{}).GetRetryType(c.err) == gocql.RetryNextHost; again == c.want {
			t.Errorf("%v: another server is asked: %v", c.err, again)
		}
	}
}

// Whatever has expired and wherever it lies, reading in pieces gets every live
// row once and in order; a server that refuses even a single key is an error.
func TestPiecewise(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		m := model{limit: 1 + r.IntN(20), live: map[rowKey]bool{}}
		for range r.IntN(400) {
			k := rowKey{seq: r.Int64N(1 << (1 + r.IntN(32)))}
			k.segment[r.IntN(16)] = byte(r.IntN(4))
			if r.IntN(3) == 0 {
				k.seq = []int64{0, 1, maxSeq - 1, maxSeq}[r.IntN(4)]
			}
			if _, ok := m.live[k]; !ok {
				m.live[k] = r.IntN(2) == 0
				m.keys = append(m.keys, k)
			}
		}
		slices.SortFunc(m.keys, rowKey.compare)
		reader := (&Store{}).laneReader(tenOClock, store.Lane{Name: "2026-11-20"}, nil, nil)
		if err := piecewise(reader.at, reader.last, middleKey, m.read); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		want := slices.DeleteFunc(slices.Clone(m.keys), func(k rowKey) bool { return !m.live[k] })
		if !slices.Equal(m.visited, want) {
			t.Fatalf("seed %d: visited %d keys, want %d", seed, len(m.visited), len(want))
		}
	}
	stubborn := model{limit: 0, live: map[rowKey]bool{{}: false}, keys: []rowKey{{}}}
	if err := piecewise(rowKey{seq: -1}, rowKey{seq: maxSeq}, middleKey, stubborn.read); err == nil {
		t.Error("a key that cannot be read was left out")
	}
}

// model is a server's lane: keys that live or not, and how many that do not it
// passes over.
type model struct {
	keys    []rowKey // in order
	live    map[rowKey]bool
	limit   int
	visited []rowKey
}

func (k rowKey) compare(o rowKey) int {
	if c := bytes.Compare(k.segment[:], o.segment[:]); c != 0 {
		return c
	}
	return int(min(1, max(-1, k.seq-o.seq)))
}

func (m *model) read(lo, hi rowKey) (rowKey, bool, error) {
	at, expired := lo, 0
	for _, k := range m.keys {
		switch {
		case k.compare(lo) <= 0 || k.compare(hi) > 0:
		case m.live[k]:
			at, m.visited = k, append(m.visited, k)
		default:
			expired++
		}
		if expired > m.limit {
			return at, true, errors.New("too many")
		}
	}
	return hi, false, nil
}

// The middle of the tokens lies between them, also across zero.
func TestMiddleToken(t *testing.T) {
	for _, c := range [][3]int64{
		{math.MinInt64, math.MaxInt64, -1}, {-1, math.MaxInt64, math.MaxInt64 / 2}, {5, 6, 5}, {5, 5, 5}, {-10, 11, 0}, {math.MinInt64, math.MinInt64 + 1, math.MinInt64},
	} {
		if got := middleToken(c[0], c[1]); got != c[2] {
			t.Errorf("between %d and %d: %d, want %d", c[0], c[1], got, c[2])
		}
	}
}
