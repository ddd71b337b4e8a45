package pebble

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// sweep sweeps once, and returns how many keys are left of what it looks at.
func sweep(t *testing.T, s *Store) stored {
	t.Helper()
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	return stored{countKeys(t, s, laneTable), countKeys(t, s, rowTable), countKeys(t, s, noteTable), countKeys(t, s, publicationTable)}
}

// stored counts keys, expired or not.
type stored struct{ lanes, rows, notes, publications int }

// TestRowsExpire shows that a row is read until its TTL has passed since it was
// written, even when its lane is renewed.
func TestRowsExpire(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{TTL: 10 * time.Hour, Now: c.Now})
	l := fill(t, s, c.micros(), 3)
	c.pass(time.Hour)
	late := numbered(afterhours.NewSegment(), 2)
	if err := s.Append(t.Context(), testHour, l.Name, c.micros(), late); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		pass time.Duration
		want int
	}{{0, 5}, {9*time.Hour - time.Microsecond, 5}, {time.Microsecond, 2}, {time.Hour - time.Microsecond, 2}, {time.Microsecond, 0}} {
		c.pass(step.pass)
		if err := s.PutLane(t.Context(), testHour, l); err != nil {
			t.Fatal(err)
		}
		if n := countRows(t, s, l); n != step.want {
			t.Errorf("at %s: %d rows, want %d", c.Now().UTC(), n, step.want)
		}
	}
}

// TestClosedLaneOutlivesItsRows shows that an hour whose rows have expired still
// has its closed lane, with its exact number of rows, for as long again.
func TestClosedLaneOutlivesItsRows(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{TTL: 10 * time.Hour, Now: c.Now})
	l := fill(t, s, c.micros(), 3)
	l.Closed, l.Rows = true, 3
	if err := s.PutLane(t.Context(), testHour, l); err != nil {
		t.Fatal(err)
	}
	c.pass(20*time.Hour - time.Microsecond)
	if got := sweep(t, s); got != (stored{lanes: 1}) || countHours(t, s) != 1 {
		t.Errorf("stored are %+v in %d hours, want one lane", got, countHours(t, s))
	}
	if got := lanes(t, s); len(got) != 1 || !got[0].Closed || got[0].Rows != 3 {
		t.Errorf("lanes %v, want %v", got, l)
	}
	c.pass(time.Microsecond)
	if got := lanes(t, s); len(got) != 0 || countHours(t, s) != 0 {
		t.Errorf("lanes %v in %d hours, want none", got, countHours(t, s))
	}
}

// TestSweep shows that a lane's rows are deleted when the newest that may have
// been acknowledged has expired, and its index row at twice the TTL.
func TestSweep(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{TTL: 10 * time.Hour, Now: c.Now})
	old := c.micros()
	fill(t, s, old, 100)
	renewed := fill(t, s, old, 10)
	c.pass(time.Hour)
	fill(t, s, c.micros(), 7)
	if err := s.PutLane(t.Context(), testHour, renewed); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		pass time.Duration
		want stored
	}{
		{10*time.Hour - 1000, stored{lanes: 3, rows: 117}},
		{1000, stored{lanes: 3, rows: 17}},
		{time.Hour - 1000, stored{lanes: 3, rows: 17}},
		{1000, stored{lanes: 3}},
		{8*time.Hour - 1000, stored{lanes: 3}},
		{1000, stored{lanes: 2}},
		{time.Hour, stored{}},
	} {
		c.pass(step.pass)
		if got := sweep(t, s); got != step.want {
			t.Errorf("at %s: stored are %+v, want %+v", c.Now().UTC(), got, step.want)
		}
	}
}

// TestSweepPages lets lanes live and expire in turns over several pages.
func TestSweepPages(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{TTL: 10 * time.Hour, Now: c.Now})
	old := c.micros()
	c.pass(12 * time.Hour)
	const n = 3*sweepPage + 1
	b := s.db.NewBatch()
	for i := range n {
		r := laneRecord{Listed: true, Put: old, Newest: old + renewal}
		if i%3 == 0 {
			r.Newest = c.micros()
		}
		seg := afterhours.NewSegment()
		lane := store.OwnLane(seg).Name
		err := errors.Join(b.Set(laneKey(laneTable, testHour, lane), r.encode(), nil), setRows(b, laneKey(rowTable, testHour, lane), r.Newest, numbered(seg, 2)))
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	if got, want := sweep(t, s), (stored{lanes: n, rows: (n + 2) / 3 * 2}); got != want {
		t.Errorf("stored are %+v, want %+v", got, want)
	}
}

// TestSweepReadsNoRows shows that rows are deleted, or left, unread: values that
// nobody could read do not stop the sweeper.
func TestSweepReadsNoRows(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{TTL: 10 * time.Hour, Now: c.Now})
	for range 2 {
		l := fill(t, s, c.micros(), 3)
		seg, _ := l.Own()
		key := appendRowID(laneKey(rowTable, testHour, l.Name), afterhours.RowID{Segment: seg})
		if err := s.db.Set(key, nil, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		c.pass(6 * time.Hour)
	}
	if got, want := sweep(t, s), (stored{lanes: 2, rows: 3}); got != want {
		t.Errorf("stored are %+v, want %+v", got, want)
	}
}

// TestSweepRests shows that what was deleted once is not deleted again at every
// sweep until its index row expires.
func TestSweepRests(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{TTL: 10 * time.Hour, Now: c.Now})
	fill(t, s, c.micros(), 3)
	var flushes []int64
	for range 4 {
		sweep(t, s)
		flushes = append(flushes, s.db.Metrics().Flush.Count)
		c.pass(6 * time.Hour) // 0, 6, 12 and 18 hours
	}
	if first := flushes[0]; !slices.Equal(flushes, []int64{first, first, first + 1, first + 1}) {
		t.Errorf("flushes after each sweep: %v, want one at the third", flushes)
	}
}

// TestSweepRowsOfNoLane shows that rows whose lane was never put are deleted as
// well, when they have expired.
func TestSweepRowsOfNoLane(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{TTL: 10 * time.Hour, Now: c.Now})
	seg := afterhours.NewSegment()
	if err := s.Append(t.Context(), testHour, seg.String(), c.micros(), numbered(seg, 3)); err != nil {
		t.Fatal(err)
	}
	if len(lanes(t, s)) != 0 || countHours(t, s) != 0 {
		t.Errorf("lanes %v of %d hours are listed, want none", lanes(t, s), countHours(t, s))
	}
	c.pass(10*time.Hour - 1000)
	if got, want := sweep(t, s), (stored{lanes: 1, rows: 3}); got != want {
		t.Errorf("before they expire: stored are %+v, want %+v", got, want)
	}
	c.pass(time.Hour + 1000)
	if got := sweep(t, s); got != (stored{}) {
		t.Errorf("stored are %+v, want nothing", got)
	}
}

// TestSweepAtOpen shows that nobody has to ask for it.
func TestSweepAtOpen(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	s := open(t, dir, Options{TTL: time.Hour, Now: c.Now})
	fill(t, s, c.micros(), 100)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c.pass(2 * time.Hour)
	s = open(t, dir, Options{TTL: time.Hour, Now: c.Now})
	for start := time.Now(); countKeys(t, s, rowTable) > 0; time.Sleep(time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatal("expired rows are still there after a minute")
		}
	}
}

// TestSweepSparesTheLiving shows that a lane which has expired, but is being
// written again, keeps its rows: they may be stored before the lane is.
func TestSweepSparesTheLiving(t *testing.T) {
	for name, step := range map[string]struct {
		age   time.Duration // of the lane when it is written again
		swept bool          // before that
	}{
		"expired":               {15 * time.Hour, false},
		"rows deleted":          {15 * time.Hour, true},
		"index row expired too": {1000 * time.Hour, false},
		"all deleted":           {1000 * time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			s := open(t, t.TempDir(), Options{TTL: 10 * time.Hour, Now: c.Now})
			l := fill(t, s, c.micros(), 3)
			c.pass(step.age)
			if step.swept {
				sweep(t, s)
			}
			fresh := numbered(afterhours.NewSegment(), 5)
			if err := s.Append(t.Context(), testHour, l.Name, c.micros(), fresh); err != nil {
				t.Fatal(err)
			}
			sweep(t, s)
			if err := s.PutLane(t.Context(), testHour, l); err != nil {
				t.Fatal(err)
			}
			if n := countRows(t, s, l); n != 5 {
				t.Errorf("%d rows, want 5", n)
			}
		})
	}
}

// TestLateRows shows that the index row of a lane which was not put again in time
// tells the truth about rows that came later, and the sweeper keeps them.
func TestLateRows(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{TTL: 10 * time.Hour, Now: c.Now})
	l := fill(t, s, c.micros(), 3)
	c.pass(9 * time.Hour)
	if err := s.Append(t.Context(), testHour, l.Name, c.micros(), numbered(afterhours.NewSegment(), 2)); err != nil {
		t.Fatal(err)
	}
	expire := c.micros() + s.lifetime()
	if got := lanes(t, s); len(got) != 1 || got[0].Until < expire {
		t.Errorf("lanes %v, want one with rows until %s at least", got, expire)
	}
	c.pass(10*time.Hour - 1000)
	sweep(t, s)
	if n := countRows(t, s, l); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}

// TestAppendExpired shows that rows which nobody could read are not stored: the
// sweeper may be past their lane.
func TestAppendExpired(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{TTL: 10 * time.Hour, Now: c.Now})
	fill(t, s, c.micros()-s.lifetime(), 3)
	if n := countKeys(t, s, rowTable); n != 0 {
		t.Errorf("%d rows are stored, want none", n)
	}
	fill(t, s, c.micros()-s.lifetime()+1, 3)
	if n := countKeys(t, s, rowTable); n != 3 {
		t.Errorf("%d rows are stored, want 3", n)
	}
}

// TestClockBack shows that rows which come to a lane whose rows were deleted,
// because the clock went back, are kept as long as any, and no longer.
func TestClockBack(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{TTL: 10 * time.Hour, Now: c.Now})
	l := fill(t, s, c.micros(), 3)
	c.pass(11 * time.Hour)
	sweep(t, s)
	c.pass(-11 * time.Hour)
	if err := s.Append(t.Context(), testHour, l.Name, c.micros(), numbered(afterhours.NewSegment(), 2)); err != nil {
		t.Fatal(err)
	}
	if n := countRows(t, s, l); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
	c.pass(11 * time.Hour)
	if got, want := sweep(t, s), (stored{lanes: 1}); got != want {
		t.Errorf("stored are %+v, want %+v", got, want)
	}
}

// TestNotesExpire shows that a note lives twice the TTL from when it was last
// put, and is deleted then.
func TestNotesExpire(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{TTL: 10 * time.Hour, Now: c.Now})
	once := store.Note{Lane: "2026-11-20", Segment: afterhours.NewSegment(), Rows: afterhours.Range{First: 1, Last: 2}}
	again := store.Note{Lane: "2026-11-21", Segment: afterhours.NewSegment(), Rows: afterhours.Range{First: 3, Last: 3}}
	put := func(notes ...store.Note) {
		if err := s.PutNotes(t.Context(), testHour, "lineage", notes); err != nil {
			t.Fatal(err)
		}
	}
	put(once, again)
	c.pass(time.Hour)
	put(again)
	for _, step := range []struct {
		pass time.Duration
		want []store.Note
	}{{19*time.Hour - 1000, []store.Note{once, again}}, {1000, []store.Note{again}}, {time.Hour, nil}} {
		c.pass(step.pass)
		got, err := s.Notes(t.Context(), testHour, "lineage")
		if err != nil || !slices.Equal(got, step.want) {
			t.Errorf("at %s: notes %v, want %v, error %v", c.Now().UTC(), got, step.want, err)
		}
		if got := sweep(t, s); got.notes != len(step.want) {
			t.Errorf("at %s: %d notes are stored, want %d", c.Now().UTC(), got.notes, len(step.want))
		}
	}
}

// TestFeedExpires shows that a publication is told for twice the TTL from when it
// was put, in every lake, however long ago it happened.
func TestFeedExpires(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{TTL: 10 * time.Hour, Now: c.Now})
	lakes := []string{"file:///a", "file:///b", "s3://c"}
	put := func(at afterhours.Micros) {
		for _, lake := range lakes {
			if err := s.Board(lake).PutPublications(t.Context(), []store.Publication{{Hour: testHour, Lineage: "lineage", At: at}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	first := c.micros()
	put(first)
	c.pass(time.Hour)
	put(first - 100*s.lifetime())
	put(c.micros())
	for _, step := range []struct {
		pass time.Duration
		want int
	}{{19*time.Hour - 1000, 3}, {1000, 2}, {time.Hour - 1000, 2}, {1000, 0}} {
		c.pass(step.pass)
		for _, lake := range lakes {
			n := 0
			err := s.Board(lake).Feed(t.Context(), first-1000*s.lifetime(), c.micros(), func(store.Publication) error { n++; return nil })
			if err != nil || n != step.want {
				t.Errorf("at %s: lake %s tells %d, want %d, error %v", c.Now().UTC(), lake, n, step.want, err)
			}
		}
		if got := sweep(t, s); got.publications != len(lakes)*step.want {
			t.Errorf("at %s: %d are stored, want %d", c.Now().UTC(), got.publications, len(lakes)*step.want)
		}
	}
}

// TestSweepWhileWriting lets lanes, notes and publications expire and be written
// again while the sweeper runs: what a call has written must stay.
func TestSweepWhileWriting(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{TTL: time.Hour, Now: c.Now})
	l := fill(t, s, c.micros(), 1)
	note := store.Note{Lane: l.Name}
	publication := store.Publication{Hour: testHour, At: c.micros()}
	stop, swept := make(chan struct{}), make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			select {
			case <-stop:
				swept <- nil
				return
			default:
				err = s.Sweep(t.Context())
			}
		}
		swept <- err
	}()
	for range 100 {
		c.pass(3 * time.Hour)
		seg, wrote := afterhours.NewSegment(), c.micros()
		var wg sync.WaitGroup
		for _, write := range []func() error{
			func() error { return s.PutLane(t.Context(), testHour, l) },
			func() error { return s.Append(t.Context(), testHour, l.Name, wrote, numbered(seg, 3)) },
			func() error { return s.PutNotes(t.Context(), testHour, "lineage", []store.Note{note}) },
			func() error { return s.Board("lake").PutPublications(t.Context(), []store.Publication{publication}) },
		} {
			wg.Go(func() {
				if err := write(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := countRows(t, s, l); n != 3 || len(lanes(t, s)) != 1 {
			t.Fatalf("%d rows in lanes %v, want 3 in one", n, lanes(t, s))
		}
		if notes, publications := countKeys(t, s, noteTable), countKeys(t, s, publicationTable); notes != 1 || publications != 1 {
			t.Fatalf("%d notes and %d publications, want one each", notes, publications)
		}
	}
	close(stop)
	if err := <-swept; err != nil {
		t.Fatal(err)
	}
}
