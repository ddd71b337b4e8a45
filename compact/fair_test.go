package compact

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
)

// TestNobodyStarves: a compactor that ends after every second rewrite, because it
// is killed, or an hour kills it, or the group is balanced all the time, serves
// every hour in the end. What it served is marked again meanwhile and is as overdue
// as the rest: the committed offset waits for those behind.
func TestNobodyStarves(t *testing.T) {
	t.Run("types", func(t *testing.T) {
		nobodyStarves(t, func(i int) afterhours.Hour { return afterhours.HourOf(fmt.Sprintf("type-%02d", i), testHour.Start) })
	})
	t.Run("a day", func(t *testing.T) {
		day := testHour.Start.Time().Truncate(24 * time.Hour)
		nobodyStarves(t, func(i int) afterhours.Hour {
			return afterhours.HourOf(testHour.Type, afterhours.MicrosOf(day.Add(time.Duration(i)*time.Hour)))
		})
	})
}

func nobodyStarves(t *testing.T, hours func(int) afterhours.Hour) {
	for name, again := range map[string]func(*schedule, time.Time) *schedule{
		"killed":     func(_ *schedule, now time.Time) *schedule { return alive(now) },
		"rebalanced": func(s *schedule, now time.Time) *schedule { s.revoke([]int32{0}); s.resume(now); return s },
	} {
		late := testHour.End().Time().Add(48 * time.Hour)
		served := map[afterhours.Hour]bool{}
		s := alive(late)
		for life := range 100 {
			now := late.Add(time.Duration(1+life) * time.Hour)
			s = again(s, now)
			for i := range 20 {
				s.take(markAt(hours(i), int64(i), late.Add(time.Duration(i)*time.Second)))
			}
			for range 2 {
				w := s.start(now, true)
				served[w.hour] = true
				s.served(w)
			}
		}
		if len(served) != 20 {
			t.Errorf("%s: %d of 20 hours were ever served", name, len(served))
		}
	}
}

// alive returns the schedule of a compactor that begins to serve.
func alive(now time.Time) *schedule {
	s := newSchedule(always(waits), false)
	s.resume(now)
	return s
}

// TestDaysStayTogether: among hours that were due when the service began, those of a
// type and a day follow each other.
func TestDaysStayTogether(t *testing.T) {
	late := testHour.End().Time().Add(48 * time.Hour)
	s := alive(late.Add(365 * 24 * time.Hour)) // all are due
	const days, perDay = 20, 20
	for i := range perDay * days {
		at := late.Add(-time.Duration(24*(i%days)) * time.Hour).Truncate(24 * time.Hour).Add(time.Duration(i/days) * time.Hour)
		h := afterhours.HourOf(testHour.Type, afterhours.MicrosOf(at.Add(-48*time.Hour)))
		s.take(markAt(h, int64(i), late))
	}
	var order []afterhours.Day
	for range perDay * days {
		w := s.start(late.Add(365*24*time.Hour), true)
		if day := afterhours.DayOf(w.hour.Start); len(order) == 0 || order[len(order)-1] != day {
			order = append(order, day)
		}
	}
	if len(order) != days {
		t.Errorf("%d changes of the day for %d days", len(order), days)
	}
	if slices.IsSorted(order) {
		t.Error("always the same days first")
	}
}

// TestLaterIsLater: among hours that became due since the service began, the most
// overdue comes first.
func TestLaterIsLater(t *testing.T) {
	late := testHour.End().Time().Add(time.Hour)
	s := alive(late)
	for i := range 20 {
		h := afterhours.HourOf(fmt.Sprintf("type-%02d", (i*7)%20), testHour.Start)
		s.take(markAt(h, int64(i), late.Add(time.Duration((i*7)%20)*time.Second)))
	}
	for i := range 20 {
		if w := s.start(late.Add(time.Hour), true); w.hour.Type != fmt.Sprintf("type-%02d", i) {
			t.Errorf("rewrite %d is of %s", i, w.hour)
		}
	}
}
