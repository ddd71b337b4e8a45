package cassandra

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/internal/testenv"
	"github.com/afterhours/afterhours/store"
)

// tenOClock is the hour that tests write to.
var tenOClock = afterhours.HourOf("purchase", afterhours.MicrosOf(time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)))

var segment = afterhours.Segment{1, 2, 3}

func now() afterhours.Micros { return afterhours.MicrosOf(time.Now()) }

// testRows makes n rows of the segment from a number on.
func testRows(first, n uint32) []store.Row {
	rows := make([]store.Row, n)
	for i := range rows {
		seq := first + uint32(i)
		rows[i] = store.Row{
			ID: afterhours.RowID{Segment: segment, Seq: seq},
			Event: afterhours.Event{
				ID: fmt.Sprint(seq), Type: tenOClock.Type, Time: tenOClock.Start, Received: tenOClock.End(),
				Payload: bytes.Repeat([]byte{'a' + byte(seq%26)}, 300),
			},
		}
	}
	return rows
}

func readAll(tb testing.TB, s *Store, lane string) []store.Row {
	tb.Helper()
	var rows []store.Row
	err := s.ReadRows(tb.Context(), tenOClock, store.Lane{Name: lane}, nil, func(r store.Row) error { rows = append(rows, r); return nil })
	if err != nil {
		tb.Fatal(err)
	}
	return rows
}

// cell is what Cassandra knows of a row's one value.
type cell struct {
	seq, wrote int64
	ttl        int
}

func cells(tb testing.TB, s *Store, lane string) []cell {
	tb.Helper()
	var all []cell
	q := s.session.Query("SELECT seq, WRITETIME(event), TTL(event) FROM events WHERE event_type = ? AND hour = ? AND lane = ?",
		tenOClock.Type, tenOClock.Span(), lane)
	err := each(tb.Context(), q, "test", func(c *cell) []any { return []any{&c.seq, &c.wrote, &c.ttl} },
		func(c cell) error { all = append(all, c); return nil })
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

// Timestamp and beginning of the TTL are the caller's, of a single row and of a
// batch, however late it is written.
func TestAppendTakesTimesFromCaller(t *testing.T) {
	s := open(t, testenv.Keyspace(t)+"?ttl=10h")
	wrote := now() - 3600e6
	for lane, n := range map[string]uint32{"one": 1, "many": 100} {
		if err := s.Append(t.Context(), tenOClock, lane, wrote, testRows(0, n)); err != nil {
			t.Fatal(err)
		}
		got := cells(t, s, lane)
		if len(got) != int(n) {
			t.Errorf("%d rows, want %d", len(got), n)
		}
		for _, c := range got {
			if c.wrote != int64(wrote) || c.ttl > 9*3600 || c.ttl < 9*3600-60 {
				t.Fatalf("%s: row %+v, want write time %d and about 9 hours left", lane, c, wrote)
			}
		}
	}
	if err := s.Append(t.Context(), tenOClock, "none", wrote, nil); err != nil {
		t.Errorf("no rows: %v", err)
	}
}

// A write that seemed to fail and is repeated lands on itself, whenever the
// first attempt arrives.
func TestRepeatedWriteLandsOnItself(t *testing.T) {
	s := open(t, testenv.Keyspace(t))
	wrote, rows, failed := now(), testRows(0, 100), 0
	for i := range 40 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*100*time.Microsecond)
		if s.Append(ctx, tenOClock, "lane", wrote, rows) != nil {
			failed++
		}
		cancel()
	}
	if failed == 0 {
		t.Error("no attempt timed out: nothing is shown")
	}
	if err := s.Append(t.Context(), tenOClock, "lane", wrote, rows); err != nil {
		t.Fatal(err)
	}
	got := readAll(t, s, "lane")
	if len(got) != len(rows) {
		t.Fatalf("%d rows, want %d", len(got), len(rows))
	}
	for i, c := range cells(t, s, "lane") {
		if c.seq != int64(i) || c.wrote != int64(wrote) || !bytes.Equal(got[i].Event.Payload, rows[i].Event.Payload) {
			t.Fatalf("row %d is %+v", i, c)
		}
	}
}

// A closed lane stays closed, also when the clock was set back since it was
// renewed.
func TestCloseWinsOverRenewal(t *testing.T) {
	s := open(t, testenv.Keyspace(t))
	s.clock.last.Store(time.Now().Add(time.Hour).UnixMicro())
	lane := store.Lane{Name: segment.String(), Rows: 5, Bytes: 50}
	closed := lane
	closed.Closed = true
	for _, l := range []store.Lane{lane, closed} {
		if err := s.PutLane(t.Context(), tenOClock, l); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Lanes(t.Context(), tenOClock)
	if len(got) == 1 {
		got[0].Until = 0
	}
	if err != nil || len(got) != 1 || got[0] != closed {
		t.Errorf("lanes: %+v, %v", got, err)
	}
}

// What another process wrote with a clock that is ahead can be removed, and put
// again by a process as fast.
func TestRemoveDespiteSkewedClocks(t *testing.T) {
	ctx, s := t.Context(), open(t, testenv.Keyspace(t))
	b := s.Board("lake")
	r, x := store.Request{Hour: tenOClock, ID: "r", Made: now()}, store.Stuck{Hour: tenOClock, Reason: "x"}
	ahead := time.Now().Add(time.Hour).UnixMicro()
	for range 2 {
		ahead++
		s.clock.last.Store(ahead)
		if err := errors.Join(b.PutRequest(ctx, r), b.PutStuck(ctx, x)); err != nil {
			t.Fatal(err)
		}
		if rs, err := b.Requests(ctx, r.Hour); err != nil || len(rs) != 1 {
			t.Errorf("requests: %v, %v", rs, err)
		}
		s.clock.last.Store(0)
		if err := errors.Join(b.DeleteRequest(ctx, r), b.ClearStuck(ctx, r.Hour)); err != nil {
			t.Fatal(err)
		}
		if rs, err := b.Requests(ctx, r.Hour); err != nil || len(rs) != 0 {
			t.Errorf("removed requests: %v, %v", rs, err)
		}
		if xs, err := b.StuckHours(ctx); err != nil || len(xs) != 0 {
			t.Errorf("cleared hours: %v, %v", xs, err)
		}
	}
}

// What the server will never take is refused; what may go away is not.
func TestRefusals(t *testing.T) {
	ctx, s := t.Context(), open(t, testenv.Keyspace(t))
	large := testRows(0, 18)
	for i := range large {
		large[i].Event.Payload = make([]byte, 1<<20)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	for what, c := range map[string]struct {
		err     error
		refused bool
	}{
		"17 MiB at once":     {s.Append(ctx, tenOClock, "lane", now(), large), true},
		"too many rows":      {s.Append(ctx, tenOClock, "lane", now(), testRows(0, gocql.BatchSizeMaximum+1)), true},
		"a table that lacks": {describe(s.session.Query("SELECT a FROM nowhere").ExecContext(ctx), "x", tenOClock), true},
		"bad syntax":         {describe(s.session.Query("SELECT").ExecContext(ctx), "x", tenOClock), true},
		"a cancelled write":  {s.Append(cancelled, tenOClock, "lane", now(), testRows(0, 2)), false},
		"an unknown error":   {classify(errors.New("unknown")), false},
		"no connection":      {classify(gocql.ErrNoConnections), false},
		"no answer":          {classify(gocql.ErrTimeoutNoResponse), false},
		"write timeout":      {classify(&gocql.RequestErrWriteTimeout{}), false},
		"write failure":      {classify(&gocql.RequestErrWriteFailure{}), false},
		"unavailable":        {classify(&gocql.RequestErrUnavailable{}), false},
	} {
		if c.err == nil || errors.Is(c.err, store.ErrRefused) != c.refused {
			t.Errorf("%s: %v; refused should be %v", what, c.err, c.refused)
		}
	}
	if err := s.Append(ctx, tenOClock, "lane", now(), testRows(0, 2)); err != nil {
		t.Errorf("after the refusals: %v", err)
	}
}

// Reads are tried on three servers unless it is hopeless, writes on one.
func TestRetries(t *testing.T) {
	p := readPolicy{}
	for attempts, want := range map[int]bool{1: true, 2: true, 3: false} {
		if got := p.Attempt(attempted(attempts)); got != want {
			t.Errorf("after %d attempts another: %v", attempts, got)
		}
	}
	if got := p.GetRetryType(gocql.ErrTimeoutNoResponse); got != gocql.RetryNextHost {
		t.Errorf("no answer: %v", got)
	}
	if got := p.GetRetryType(gocql.ErrFrameTooBig); got != gocql.Rethrow {
		t.Errorf("a hopeless error: %v", got)
	}
	s := open(t, testenv.Keyspace(t))
	for _, e := range s.entries(tenOClock, "lane", testRows(0, 3)) {
		if !e.Idempotent {
			t.Error("an entry of a batch is not marked as idempotent")
		}
	}
	if !s.write(s.insertLane).IsIdempotent() || !s.read(selectRows).IsIdempotent() {
		t.Error("a statement is not marked as idempotent")
	}
}

// attempted is a query after some attempts.
type attempted int

func (a attempted) Attempts() int                     { return int(a) }
func (a attempted) SetConsistency(gocql.Consistency)  { panic("consistency is never changed") }
func (a attempted) GetConsistency() gocql.Consistency { return gocql.LocalQuorum }
func (a attempted) Context() context.Context          { return context.Background() }
