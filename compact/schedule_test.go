package compact

import (
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
)

var (
	testHour = event(0).Hour()
	waits    = Policy{Grace: 5 * time.Minute, Quiet: time.Minute, MaxDelay: 10 * time.Minute}
)

func always(p Policy) func(afterhours.Hour) Policy {
	return func(afterhours.Hour) Policy { return p }
}

func markAt(h afterhours.Hour, offset int64, at time.Time) dirty.Mark {
	return dirty.Mark{Mark: afterhours.Mark{Hour: h, Time: afterhours.MicrosOf(at)}, Offset: offset}
}

// TestDue: first after the hour and its grace, later after a quiet that grows
// with the hour's age, never after the bounded delay.
func TestDue(t *testing.T) {
	end := testHour.End().Time()
	month := end.Add(30 * 24 * time.Hour)
	p := Policy{Grace: 5 * time.Minute, Quiet: 10 * time.Minute, AgeShare: 8, MaxDelay: 24 * time.Hour}
	for _, c := range []struct {
		name              string
		first, last, want time.Time
	}{
		{"while the hour runs, its end and the grace", noon, noon, end.Add(5 * time.Minute)},
		{"while the hour runs, whatever came last", noon, end.Add(4 * time.Minute), end.Add(5 * time.Minute)},
		{"an hour 47 hours ahead, its end and the grace", end.Add(-47 * time.Hour), end.Add(-47 * time.Hour), end.Add(5 * time.Minute)},
		{"an hour years ahead, two days and the grace", end.AddDate(-20, 0, 0), end, end.AddDate(-20, 0, 2).Add(5 * time.Minute)},
		{"a young hour, the least quiet", end.Add(time.Hour), end.Add(time.Hour), end.Add(time.Hour + 10*time.Minute)},
		{"a day later, three hours", end.Add(24 * time.Hour), end.Add(24 * time.Hour), end.Add(27 * time.Hour)},
		{"while marks keep coming, twice the quiet", end.Add(time.Hour), end.Add(80 * time.Minute), end.Add(80 * time.Minute)},
		{"a month later, the longest delay", month, month, month.Add(24 * time.Hour)},
	} {
		if got := p.Due(testHour, afterhours.MicrosOf(c.first), afterhours.MicrosOf(c.last)); !got.Equal(c.want) {
			t.Errorf("%s: due %s, want %s", c.name, got, c.want)
		}
	}
}

// TestHoursDoNotOutwaitTheirRows: an hour that is not over is rewritten all the
// same before its raw rows expire.
func TestHoursDoNotOutwaitTheirRows(t *testing.T) {
	st := newFakeStore()
	st.ttl = 16 * time.Minute
	l, _ := openLake(t)
	s := newCompactor(t, st, l).emptySchedule(false)
	s.take(markAt(testHour, 1, noon))
	s.take(markAt(testHour, 2, noon.Add(time.Minute)))
	if due, _ := s.nextDue(true); !due.Equal(noon.Add(2 * time.Minute)) {
		t.Errorf("due %s, want two minutes after the first mark", due)
	}
}

// TestMovedMarkDelaysNothing: a mark that was only made again neither restarts the
// quiet of its hour nor hides, after a restart, since when it waits.
func TestMovedMarkDelaysNothing(t *testing.T) {
	late := testHour.End().Time().Add(time.Hour)
	s := newSchedule(always(waits), false)
	s.take(markAt(testHour, 1, late))
	due, _ := s.nextDue(true)
	moved := markAt(testHour, 9, late.Add(time.Hour))
	moved.Since = afterhours.MicrosOf(late)
	s.take(moved)
	if now, _ := s.nextDue(true); !now.Equal(due) {
		t.Errorf("due %s after the mark was moved, was %s", now, due)
	}
	restarted := newSchedule(always(waits), false)
	restarted.take(moved)
	if now, _ := restarted.nextDue(true); !now.Equal(due) {
		t.Errorf("due %s after a restart, was %s", now, due)
	}
}

// TestGiantsWaitForGiants: while there is no room for another giant, small hours
// that are due later go first.
func TestGiantsWaitForGiants(t *testing.T) {
	s := newSchedule(always(Policy{}), true)
	small := afterhours.HourOf("small", testHour.Start)
	s.take(markAt(testHour, 1, noon))
	s.tooLarge(s.start(noon, true))
	s.take(markAt(small, 2, noon))
	if w := s.start(noon, false); w == nil || w.hour != small {
		t.Fatalf("started %+v without room for giants, want the small hour", w)
	}
	if w := s.start(noon, false); w != nil {
		t.Fatalf("started %+v, want nothing: there is no room for giants", w)
	}
	if w := s.start(noon, true); w == nil || w.hour != testHour || w.marks[0].Offset != 1 {
		t.Fatalf("started %+v with room for giants, want the giant with its mark", w)
	}
}

// TestMarkDuringRewriteWaitsForAnother: the rows of a mark that came while the
// hour was being read may not have been seen.
func TestMarkDuringRewriteWaitsForAnother(t *testing.T) {
	s := newSchedule(always(Policy{}), true)
	s.take(markAt(testHour, 1, noon))
	s.take(markAt(testHour, 2, noon))
	w := s.start(noon, true)
	if w == nil || w.marks[0].Offset != 2 {
		t.Fatalf("started %+v, want the hour with its marks up to 2", w)
	}
	s.take(markAt(testHour, 3, noon))
	if again := s.start(noon, true); again != nil {
		t.Fatal("the hour is rewritten twice at once")
	}
	s.served(w)
	again := s.start(noon, true)
	if again == nil || again.marks[0].Offset != 3 || s.owed() != 1 {
		t.Fatalf("after the rewrite %+v is started, want the hour with mark 3", again)
	}
	s.served(again)
	if s.owed() != 0 {
		t.Fatalf("%d hours are owed, want none", s.owed())
	}
}

// TestFailedHourKeepsAllItsMarks: those taken before and during the rewrite, and
// its pause is not cut short by new ones.
func TestFailedHourKeepsAllItsMarks(t *testing.T) {
	s := newSchedule(always(waits), false)
	late := noon.Add(24 * time.Hour)
	s.take(markAt(testHour, 1, noon))
	w := s.start(late, true)
	s.take(markAt(testHour, 2, noon))
	s.failed(w, late.Add(time.Hour))
	if w.marks[0].Offset != 2 {
		t.Fatalf("the failed hour has marks up to %d, want 2", w.marks[0].Offset)
	}
	s.take(markAt(testHour, 3, noon))
	if s.start(late.Add(time.Minute), true) != nil {
		t.Fatal("a failed hour is tried again before its pause is over")
	}
	if w := s.start(late.Add(time.Hour), true); w == nil || w.marks[0].Offset != 3 {
		t.Fatalf("started %+v, want the hour with its marks up to 3", w)
	}
}

// TestMostOverdueFirst: hours are served in the order they became due.
func TestMostOverdueFirst(t *testing.T) {
	s := newSchedule(always(waits), false)
	for n, at := range []int{5, 3, 4, 1, 2} {
		h := afterhours.HourOf("t", afterhours.MicrosOf(noon.Add(time.Duration(at)*time.Hour)))
		s.take(markAt(h, int64(n), h.End().Time()))
	}
	for want := 1; want <= 5; want++ {
		w := s.start(noon.Add(48*time.Hour), true)
		if got := w.hour.Start.Time(); !got.Equal(noon.Add(time.Duration(want) * time.Hour)) {
			t.Fatalf("start %d is of %s", want, got)
		}
	}
}

// TestRevokedHoursAreForgotten: another member of the group serves them now. An
// hour with marks in a partition that is still ours stays.
func TestRevokedHoursAreForgotten(t *testing.T) {
	s := newSchedule(always(Policy{}), true)
	other := afterhours.HourOf("other", testHour.Start)
	m := markAt(testHour, 1, noon)
	s.take(m)
	m.Partition = 1
	s.take(m)
	s.take(markAt(other, 2, noon))
	s.revoke([]int32{0})
	if s.owed() != 1 {
		t.Fatalf("%d hours are owed, want 1", s.owed())
	}
	if w := s.start(noon, true); w.hour != testHour || len(w.marks) != 1 {
		t.Fatalf("started %+v, want %s with its mark of partition 1", w, testHour)
	}
}
