package compact

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// sweepOnce sweeps, which must go well, and returns the hours it marked.
func sweepOnce(t *testing.T, c *Compactor, full bool) (Swept, []afterhours.Hour) {
	t.Helper()
	q := newFakeQueue(true)
	sum, err := c.Sweep(t.Context(), q, full)
	if err != nil {
		t.Fatal(err)
	}
	var hours []afterhours.Hour
	for _, m := range q.log {
		hours = append(hours, m.Hour)
	}
	return sum, hours
}

// TestSweepFindsLostMarks: rows of every kind of lane whose mark was lost.
func TestSweepFindsLostMarks(t *testing.T) {
	today := afterhours.DayOf(afterhours.MicrosOf(time.Now()))
	for name, lose := range map[string]func(*fakeStore, afterhours.Segment){
		"a new hour's": nil,
		"in a new lane": func(s *fakeStore, _ afterhours.Segment) {
			s.close(testHour, s.append(afterhours.NewSegment(), 0, event(9)))
		},
		"in an open lane": func(s *fakeStore, seg afterhours.Segment) {
			lane := s.append(seg, 1, event(9))
			lane.Rows = 1 // a hint, which happens to be what is merged
			s.lanes[testHour][lane.Name] = lane
		},
		"in a closed lane": func(s *fakeStore, seg afterhours.Segment) { s.close(testHour, s.append(seg, 1, event(9))) },
		"in a shared lane": func(s *fakeStore, _ afterhours.Segment) { s.shared(today, afterhours.NewSegment(), 5, event(9)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeStore()
			l, _ := openLake(t)
			c := newCompactor(t, s, l)
			seg := afterhours.NewSegment()
			s.append(seg, 0, event(0))
			want := 1
			if lose != nil {
				rewrite(t, c)
				lose(s, seg)
				want = 2
			}
			if _, marked := sweepOnce(t, c, false); len(marked) != 1 || marked[0] != testHour {
				t.Fatalf("marked %v, want the test hour", marked)
			}
			rewrite(t, c)
			if m, _ := published(t, l); m.Rows != int64(want) {
				t.Errorf("%d rows, want %d", m.Rows, want)
			}
			if _, marked := sweepOnce(t, c, true); len(marked) != 0 {
				t.Errorf("marked %v again, want nothing", marked)
			}
		})
	}
}

// TestSweepDoesNotReadCompleteHours: neither rows nor footers, if lanes are closed
// and merged or noted; not even those of an object the board does not describe.
func TestSweepDoesNotReadCompleteHours(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	lane := s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	rewrite(t, c)
	s.close(testHour, lane)
	s.close(testHour, s.append(afterhours.NewSegment(), 0, events(0, 10)...))
	rewrite(t, c)
	s.calls = nil
	if sum, _ := sweepOnce(t, c, true); sum.Complete != 1 || sum.Looked != 0 || sum.Footers != 0 {
		t.Errorf("swept %+v, want one complete hour and nothing read", sum)
	}
	wantRead(t, s, 0)

	known := s.partitions[testHour]
	delete(s.partitions, testHour)
	if sum, _ := sweepOnce(t, c, true); sum.Looked != 1 || sum.Footers != 1 || sum.Lanes != 0 {
		t.Errorf("swept %+v, want one footer and no lane read", sum)
	}
	if now := s.partitions[testHour]; !same(now, known) {
		t.Errorf("the board has %+v after the sweep, want %+v", now, known)
	}
}

// TestSweepTellsTheBoardOfOldPartitions: who published one may have died before it
// told the board, or the board is new. Index rows do not live for ever.
func TestSweepTellsTheBoardOfOldPartitions(t *testing.T) {
	for name, age := range map[string]func(c *Compactor, s *fakeStore){
		"rows expired": func(c *Compactor, s *fakeStore) {
			for name, lane := range s.lanes[testHour] {
				lane.Until = c.now() - 2*afterhours.Micros(store.Skew.Microseconds())
				s.lanes[testHour][name] = lane
			}
		},
		"index rows too": func(_ *Compactor, s *fakeStore) { delete(s.lanes, testHour) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeStore()
			l, _ := openLake(t)
			c := newCompactor(t, s, l)
			s.shared(afterhours.DayOf(c.now()), afterhours.NewSegment(), 0, events(0, 10)...)
			rewrite(t, c)
			known := s.partitions[testHour]
			s.expire(testHour)
			age(c, s)
			delete(s.partitions, testHour)
			for _, footers := range []int64{1, 0} {
				sum, marked := sweepOnce(t, c, false)
				if len(marked) != 0 || sum.Footers != footers || sum.Lanes != 0 {
					t.Errorf("swept %+v, marked %v, want %d footers and no lane read, and nothing marked", sum, marked, footers)
				}
				if now := s.partitions[testHour]; !same(now, known) {
					t.Errorf("the board has %+v after the sweep, want %+v", now, known)
				}
			}
		})
	}
}

// TestSweepReadsRecentSharedLanes: those that got rows since two days before the
// last sweep.
func TestSweepReadsRecentSharedLanes(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	now := noon
	c.cfg.Now = func() time.Time { return now }
	today := afterhours.DayOf(afterhours.MicrosOf(now))
	for d := range afterhours.Day(10) {
		s.shared(today-d, afterhours.NewSegment(), 0, event(int(d)))
	}
	rewrite(t, c)
	if sum, _ := sweepOnce(t, c, false); sum.Lanes != 10 {
		t.Errorf("the first sweep read %d lanes, want all 10", sum.Lanes)
	}
	if sum, _ := sweepOnce(t, c, false); sum.Lanes != 3 {
		t.Errorf("the second sweep read %d lanes, want 3", sum.Lanes)
	}
	if sum, _ := sweepOnce(t, c, true); sum.Lanes != 10 {
		t.Errorf("a full sweep read %d lanes, want all 10", sum.Lanes)
	}
}

// TestSweepMarksVanishedPartitions, so that the rewrite raises the alarm.
func TestSweepMarksVanishedPartitions(t *testing.T) {
	s := newFakeStore()
	l, dir := openLake(t)
	c := newCompactor(t, s, l)
	s.close(testHour, s.append(afterhours.NewSegment(), 0, events(0, 10)...))
	rewrite(t, c)
	if err := os.Remove(object(t, dir)); err != nil {
		t.Fatal(err)
	}
	s.expire(testHour) // there is nothing to be read that could tell
	if _, marked := sweepOnce(t, c, false); len(marked) != 1 {
		t.Errorf("marked %v, want the hour", marked)
	}
}

// TestSweepClearsStuckRecords of compactors that died, if the hours were served by
// others since, and no more.
func TestSweepClearsStuckRecords(t *testing.T) {
	s := newFakeStore()
	l, dir := openLake(t)
	c := newCompactor(t, s, l)
	s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	rewrite(t, c)
	if err := s.PutStuck(t.Context(), store.Stuck{Hour: testHour, Reason: "the partition has vanished"}); err != nil {
		t.Fatal(err)
	}
	s.append(afterhours.NewSegment(), 0, event(10))
	if sweepOnce(t, c, false); len(s.stuck) != 1 {
		t.Error("the record of an hour that lacks a row was cleared")
	}
	rewrite(t, c)
	s.expire(testHour) // no lane is left that a sweep would look into
	delete(s.lanes, testHour)
	path := object(t, dir)
	if err := os.Rename(path, path+"~"); err != nil {
		t.Fatal(err)
	}
	if sweepOnce(t, c, false); len(s.stuck) != 1 {
		t.Error("the record of an hour that has vanished was cleared")
	}
	if err := os.Rename(path+"~", path); err != nil {
		t.Fatal(err)
	}
	if sweepOnce(t, c, false); len(s.stuck) != 0 {
		t.Errorf("%v are stuck after a sweep that found nothing to do", s.stuck)
	}
}

// TestFailedSweepIsNoSweep: the next one must not rely on it.
func TestFailedSweepIsNoSweep(t *testing.T) {
	for _, op := range []string{"Hours", "Lanes", "ReadRows"} {
		s := newFakeStore()
		l, _ := openLake(t)
		c := newCompactor(t, s, l)
		s.append(afterhours.NewSegment(), 0, event(0))
		boom := errors.New("boom")
		s.Fault = func(o string, _ afterhours.Hour) (bool, error) {
			if o == op {
				return true, boom
			}
			return true, nil
		}
		if _, err := c.Sweep(t.Context(), newFakeQueue(true), false); !errors.Is(err, boom) && !errors.Is(err, errFound) || s.swept != 0 {
			t.Errorf("%s: error %v, swept at %s; want the error and no sweep", op, err, s.swept)
		}
	}
}
