package compact

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afterhours/afterhours"
)

// forgotten is a compactor that has swept, and an hour with a row in a shared lane
// that was swept long ago; the mark that the sweep made is gone from the queue.
func forgotten(t *testing.T) (*fakeStore, *Compactor) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	now := time.Now()
	c.cfg.Now = func() time.Time { return now }
	s.shared(afterhours.DayOf(afterhours.MicrosOf(now))-10, afterhours.NewSegment(), 0, event(0))
	if _, marked := sweepOnce(t, c, false); len(marked) != 1 {
		t.Fatalf("marked %v, want the hour", marked)
	}
	if _, marked := sweepOnce(t, c, false); len(marked) != 0 {
		t.Fatalf("marked %v: a sweep reads again what the last one read", marked)
	}
	return s, c
}

// TestGapIsSwept: when the queue tells of a gap, the next sweep looks at every lane
// of every hour, also in another process; it finds what the last one had marked.
func TestGapIsSwept(t *testing.T) {
	s, c := forgotten(t)
	q := newFakeQueue(true)
	q.gaps = []int32{0}
	if _, err := c.Drain(t.Context(), q, Limits{}); err != nil {
		t.Fatal(err)
	}
	if _, marked := sweepOnce(t, newCompactor(t, s, c.lake), false); len(marked) != 1 {
		t.Errorf("marked %v, want the hour", marked)
	}
}

// TestGapDuringASweep: a sweep that was under way when marks went does not count,
// since its own may be among them; not even the very first.
func TestGapDuringASweep(t *testing.T) {
	s, c := forgotten(t)
	for range 2 {
		s.Fault = func(op string, _ afterhours.Hour) (bool, error) {
			if op == "Hours" {
				s.Fault = nil
				if err := c.distrustMarks(t.Context()); err != nil {
					t.Error(err)
				}
			}
			return true, nil
		}
		sweepOnce(t, c, false)
		if s.swept >= 0 {
			t.Errorf("the sweep is recorded, at %s", s.swept)
		}
	}
	if _, marked := sweepOnce(t, c, false); len(marked) != 1 || s.swept <= 0 {
		t.Errorf("marked %v, swept at %s; want the hour, and the sweep recorded", marked, s.swept)
	}
}

// TestGapThatCannotBeRecorded: the queue is not told that it is taken care of. A
// daemon tries again until it works, a drain ends with an error.
func TestGapThatCannotBeRecorded(t *testing.T) {
	s, c := forgotten(t)
	down := errors.New("down")
	s.Fault = func(op string, _ afterhours.Hour) (bool, error) {
		if op == "PutSwept" {
			return false, down
		}
		return true, nil
	}
	q := newFakeQueue(true)
	q.gaps = []int32{0}
	if _, err := c.Drain(t.Context(), q, Limits{}); err == nil {
		t.Error("a drain does not tell that a gap could not be recorded")
	}
	if q.noted {
		t.Error("a drain that could not record a gap has polled again, which says that it is taken care of")
	}

	v := &server{Compactor: c, schedule: newSchedule(c.cfg.policy, false), gaps: make(chan struct{})}
	if err := v.distrust(t.Context()); err != nil || v.gaps == nil {
		t.Errorf("a daemon that cannot record a gap: %v, still to be recorded: %v", err, v.gaps != nil)
	}
	s.Fault = nil
	if err := v.distrust(t.Context()); err != nil || v.gaps != nil || s.swept >= 0 {
		t.Errorf("%v, swept at %s; want it recorded", err, s.swept)
	}
}

// TestGapWakesTheSweeper: a daemon that has just swept does not wait for a day.
func TestGapWakesTheSweeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := forgotten(t)
		c.cfg.Now = time.Now
		q := newFakeQueue(false)
		end := runInBackground(t, c, q)
		time.Sleep(time.Hour)
		q.mu.Lock()
		q.gaps = []int32{0}
		q.mu.Unlock()
		if err := q.Mark(t.Context(), afterhours.HourOf("other", 0)); err != nil { // wakes Poll
			t.Fatal(err)
		}
		time.Sleep(2 * sweepFirst)
		if err := end(); err != nil || s.swept <= 0 || len(q.log) != 2 {
			t.Errorf("swept at %s, marks %v, error %v; want a sweep that marks the hour", s.swept, q.log, err)
		}
	})
}
