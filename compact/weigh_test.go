package compact

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// weighs is a policy under which a row is worth 1 MiB after ten minutes.
var weighs = Policy{Quiet: 10 * time.Minute, MaxDelay: 24 * time.Hour, RowWorth: 1 << 20}

// TestOutweigh: what waits has waited for as long as the bytes cost, whatever came
// when; the age of the hour makes rows cheaper.
func TestOutweigh(t *testing.T) {
	came := testHour.End().Time().Add(24 * time.Hour)
	first, last := afterhours.MicrosOf(came), afterhours.MicrosOf(came.Add(time.Hour))
	aged := weighs
	aged.AgeShare = 8
	for _, c := range []struct {
		name  string
		p     Policy
		bytes int64
		rows  []time.Duration // when they were received, after the first mark
		want  time.Duration   // after the first mark
	}{
		{"one row, a quiet for each MiB", weighs, 6 << 20, []time.Duration{0}, time.Hour},
		{"two rows, half", weighs, 6 << 20, []time.Duration{0, 0}, 30 * time.Minute},
		{"the second came later", weighs, 6 << 20, []time.Duration{0, 20 * time.Minute}, 40 * time.Minute},
		{"received before its mark, it waits since the mark", weighs, 6 << 20, []time.Duration{-time.Hour}, time.Hour},
		{"received after the last mark, since that", weighs, 12 << 20, []time.Duration{0, 5 * time.Hour}, 90 * time.Minute},
		{"the first row alone is worth it", weighs, 1 << 20, []time.Duration{0, time.Hour, time.Hour}, 10 * time.Minute},
		{"an old hour has a longer quiet", aged, 2 << 20, []time.Duration{0}, 2 * 25 * time.Hour / 8},
		{"no partition", weighs, 0, []time.Duration{0}, 0},
	} {
		rows := late{first: first, last: last}
		for _, after := range c.rows {
			rows.add(afterhours.NewEvent("e", "purchase", noon, came.Add(after), nil))
		}
		if got := rows.outweigh(c.p.price(testHour, last, c.bytes)).Sub(came); got != c.want {
			t.Errorf("%s: worth it after %s, want %s", c.name, got, c.want)
		}
	}
	if price := (Policy{Quiet: time.Hour, RowWorth: 1}).price(testHour, last, math.MaxInt64); price < 50*365*24*time.Hour {
		t.Errorf("a row must wait %s for the largest partition", price)
	}
}

// weighed returns a compactor whose clock is at a time after the test hour's, with a
// partition of the hour and a late row that does not outweigh it, and how long the
// hour has waited.
func weighed(t *testing.T, after time.Duration) (*Compactor, *fakeStore, stay) {
	t.Helper()
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, orderedLake{l, s})
	first := noon.Add(2 * time.Hour)
	c.cfg.Now = func() time.Time { return first.Add(after) }
	c.cfg.Policy = weighs
	c.cfg.Policy.RowWorth = 100
	s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	rewrite(t, c)
	s.append(afterhours.NewSegment(), 0, event(10))
	s.calls = nil
	at := afterhours.MicrosOf(first)
	return c, s, stay{at, at, first.Add(24 * time.Hour)}
}

// TestLightRowsWait: the hour is left as it is, without the partition being read,
// until its row has waited for long enough; then it is published.
func TestLightRowsWait(t *testing.T) {
	c, s, stays := weighed(t, time.Hour)
	var wait NotYet
	if out := c.rewriteIn(t.Context(), testHour, smallClass, stays); !errors.As(out.Err, &wait) {
		t.Fatalf("outcome %+v, want that it is not worth it yet", out)
	}
	bytes := s.partitions[testHour].Bytes
	want := stays.first.Time().Add(time.Duration(float64(10*time.Minute) * float64(bytes) / 100))
	if !wait.Until.Equal(want) || wait.Rows != 1 || wait.Bytes != bytes {
		t.Errorf("%+v, want one row until %s", wait, want)
	}
	if slices.ContainsFunc(s.calls, func(call string) bool { return strings.HasPrefix(call, "Base") }) {
		t.Errorf("the partition was read: %v", s.calls)
	}
	for _, after := range []time.Duration{-time.Microsecond, 0} {
		c.cfg.Now = func() time.Time { return wait.Until.Add(after) }
		out := c.rewriteIn(t.Context(), testHour, smallClass, stays)
		if published := out.Err == nil && out.Added == 1; published != (after == 0) {
			t.Errorf("%s after it is worth it: %+v", after, out)
		}
	}
}

// TestNeverWeighed: what was asked for, what may not wait any longer, what has to be
// looked at, and what is worth it.
func TestNeverWeighed(t *testing.T) {
	for name, change := range map[string]func(*Compactor, *fakeStore, *stay){
		"a drain, a command":  func(_ *Compactor, _ *fakeStore, s *stay) { *s = stay{} },
		"the longest delay":   func(c *Compactor, _ *fakeStore, s *stay) { s.until = c.cfg.Now() },
		"a policy without it": func(c *Compactor, _ *fakeStore, _ *stay) { c.cfg.Policy.RowWorth = 0 },
		"a backfill": func(_ *Compactor, s *fakeStore, _ *stay) {
			s.requests["r"] = store.Request{Hour: testHour, ID: "r"}
		},
		"another object than the board knows": func(_ *Compactor, s *fakeStore, _ *stay) {
			p := s.partitions[testHour]
			p.Version = "older"
			s.partitions[testHour] = p
		},
		"a partition the board does not know": func(_ *Compactor, s *fakeStore, _ *stay) { clear(s.partitions) },
		"enough rows":                         func(_ *Compactor, s *fakeStore, _ *stay) { s.append(afterhours.NewSegment(), 0, events(11, 300)...) },
		"rows worth much":                     func(c *Compactor, _ *fakeStore, _ *stay) { c.cfg.Policy.RowWorth = 1 << 20 },
		"no row":                              func(_ *Compactor, s *fakeStore, _ *stay) { s.expire(testHour) },
	} {
		t.Run(name, func(t *testing.T) {
			c, s, stays := weighed(t, time.Hour)
			change(c, s, &stays)
			if out := c.rewriteIn(t.Context(), testHour, anyClass, stays); out.Err != nil {
				t.Errorf("outcome %+v, want a rewrite", out)
			}
		})
	}
}

// TestWeighingStopsReading: of many rows no more are read than outweigh the partition.
func TestWeighingStopsReading(t *testing.T) {
	c, s, stays := weighed(t, 25*time.Hour)
	s.append(afterhours.NewSegment(), 0, events(11, 3000)...)
	rows := late{first: stays.first, last: stays.last}
	price := c.cfg.Policy.price(testHour, stays.last, s.partitions[testHour].Bytes)
	err := c.countLate(t.Context(), testHour, s.partitions[testHour], &rows, func() bool { return !rows.outweigh(price).After(c.cfg.Now()) })
	if worth := s.partitions[testHour].Bytes / 100; !errors.Is(err, errFound) || rows.n > worth {
		t.Errorf("%d rows were read for a partition worth %d: %v", rows.n, worth, err)
	}
}

// TestWeighingPassesOverSettledLanes: rows that wait are not in shared lanes of days
// long before their marks, so these are not read again and again.
func TestWeighingPassesOverSettledLanes(t *testing.T) {
	c, s, stays := weighed(t, time.Hour)
	for back := range afterhours.Day(5) {
		day := afterhours.DayOf(stays.first) - back
		s.appendTo(store.SharedLane(day), afterhours.NewSegment(), 0, event(20+int(back)))
	}
	rows := late{first: stays.first, last: stays.last}
	if err := c.countLate(t.Context(), testHour, s.partitions[testHour], &rows, func() bool { return false }); err != nil || rows.n != 4 {
		t.Errorf("%d rows counted, %v; want the late one, and those of three days", rows.n, err)
	}
}

// TestFailureToWeigh is a failure of the rewrite.
func TestFailureToWeigh(t *testing.T) {
	for _, op := range []string{"Lanes", "ReadRows"} {
		c, s, stays := weighed(t, time.Hour)
		boom := errors.New("boom")
		s.Fault = func(o string, _ afterhours.Hour) (bool, error) {
			if o == op {
				return true, boom
			}
			return true, nil
		}
		if out := c.rewriteIn(t.Context(), testHour, anyClass, stays); !errors.Is(out.Err, boom) {
			t.Errorf("outcome %+v after %s failed", out, op)
		}
	}
}

// TestStay: only rows that came late are weighed, by a daemon, of an hour that works,
// and for no longer than was promised.
func TestStay(t *testing.T) {
	day := testHour.End().Time().Add(24 * time.Hour)
	for _, c := range []struct {
		name   string
		change func(*schedule, *waiting)
		want   time.Duration // after the mark; 0: not weighed
	}{
		{"as long as the policy says", func(*schedule, *waiting) {}, 24 * time.Hour},
		{"an eighth of the TTL", func(s *schedule, _ *waiting) { s.within = 3 * time.Hour }, 3 * time.Hour},
		{"a drain", func(s *schedule, _ *waiting) { s.now = true }, 0},
		{"after a failure", func(_ *schedule, w *waiting) { w.failures = 1 }, 0},
		{"marked while the hour ran", func(_ *schedule, w *waiting) { w.first = testHour.Start }, 0},
	} {
		s := newSchedule(always(weighs), false)
		s.take(markAt(testHour, 1, day))
		w := s.hours[testHour]
		c.change(s, w)
		got := s.stay(w)
		if c.want == 0 && !got.until.IsZero() || c.want > 0 && !got.until.Equal(day.Add(c.want)) {
			t.Errorf("%s: until %s, want %s after the mark", c.name, got.until, c.want)
		}
	}
}

// TestNotYetKeepsAllMarks: those taken before and while the hour was weighed.
func TestNotYetKeepsAllMarks(t *testing.T) {
	day := testHour.End().Time().Add(24 * time.Hour)
	s := newSchedule(always(weighs), false)
	s.take(markAt(testHour, 1, day))
	w := s.start(day.Add(10*time.Minute), true)
	more := markAt(testHour, 2, day.Add(10*time.Minute))
	more.Partition = 1
	s.take(more)
	moved := markAt(testHour, 3, day.Add(10*time.Minute))
	moved.Partition, moved.Since = 2, afterhours.MicrosOf(day.Add(-time.Hour))
	s.take(moved)
	s.notYet(w, day.Add(10*time.Minute), day.Add(5*time.Hour))
	if w.first != moved.Since || w.last != more.Time {
		t.Errorf("marks from %s to %s, want from the moved one's first to the newest", w.first, w.last)
	}
	if len(w.marks) != 3 || s.owed() != 1 || len(s.busy) != 0 || s.due(day.Add(11*time.Minute)) != 0 {
		t.Errorf("waiting %+v, %d hours owed; want the hour with all marks, not due", w, s.owed())
	}
}

// TestDueAfterWeighing: when its rows will outweigh the partition, or, if more came,
// when it is due by its marks and a quiet has passed; never later than was promised.
func TestDueAfterWeighing(t *testing.T) {
	day := testHour.End().Time().Add(24 * time.Hour)
	at := day.Add(10 * time.Minute) // when it was weighed
	moved := markAt(testHour, 3, at.Add(time.Minute))
	moved.Since = afterhours.MicrosOf(day.Add(-20 * time.Hour))
	for _, c := range []struct {
		name  string
		then  func(*schedule)
		worth time.Duration
		want  time.Duration
	}{
		{"nothing more", func(*schedule) {}, 5 * time.Hour, 5 * time.Hour},
		{"one more, in a quiet", func(s *schedule) { s.take(markAt(testHour, 2, at.Add(time.Minute))) }, 5 * time.Hour, 20 * time.Minute},
		{"one more, hours later", func(s *schedule) { s.take(markAt(testHour, 2, at.Add(2*time.Hour))) }, 5 * time.Hour, 20 * time.Minute},
		{"one more, and worth it before", func(s *schedule) { s.take(markAt(testHour, 2, at.Add(time.Minute))) }, 15 * time.Minute, 15 * time.Minute},
		{"a mark that was only moved", func(s *schedule) { s.take(moved) }, 5 * time.Hour, 4 * time.Hour},
		{"the longest delay", func(*schedule) {}, 50 * time.Hour, 24 * time.Hour},
		{"an eighth of the TTL", func(s *schedule) { s.within = time.Hour; s.take(markAt(testHour, 2, day)) }, 5 * time.Hour, time.Hour},
	} {
		s := newSchedule(always(weighs), false)
		s.take(markAt(testHour, 1, day))
		s.notYet(s.start(at, true), at, day.Add(c.worth))
		c.then(s)
		if due, _ := s.nextDue(true); due.Sub(day) != c.want {
			t.Errorf("%s: due after %s, want %s", c.name, due.Sub(day), c.want)
		}
	}
}

// TestMarksOfLightRowsAreServedInTheEnd: a daemon keeps the mark of an hour that is
// not worth a rewrite, and publishes it when it has waited for as long as it may.
func TestMarksOfLightRowsAreServedInTheEnd(t *testing.T) {
	c, s, _ := weighed(t, 0)
	const most = 400 * time.Millisecond
	began := time.Now()
	c.cfg.Now = func() time.Time { return noon.Add(48 * time.Hour).Add(time.Since(began)) }
	c.cfg.Policy = Policy{Quiet: 10 * time.Millisecond, MaxDelay: most, RowWorth: 1}
	q := newFakeQueue(false)
	first := c.cfg.Now()
	q.log = append(q.log, markAt(testHour, 0, first))
	postponed, published := 0, make(chan time.Time, 1)
	c.cfg.Finished = func(o Outcome) {
		if errors.As(o.Err, new(NotYet)) {
			if postponed++; q.undone(t) != 1 {
				t.Error("the mark is done of an hour that was not rewritten")
			}
			return
		}
		published <- c.cfg.Now()
	}
	end := runInBackground(t, c, q)
	var at time.Time
	select {
	case at = <-published:
	case <-time.After(30 * time.Second):
		t.Error("the hour was never published")
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if at.Sub(first) < most || postponed == 0 || q.undone(t) != 0 {
		t.Errorf("published after %s, not yet %d times, %d marks left; want it after %s, and none", at.Sub(first), postponed, q.undone(t), most)
	}
	if p := s.partitions[testHour]; p.Rows != 11 {
		t.Errorf("%d rows published, want 11", p.Rows)
	}
}

// month is what an hour cost that got stragglers for a month.
type month struct {
	rewrites, weighings int
	bytes               int64
	delay               time.Duration // mean, of a row
}

// evenly returns when rows come, at random times, so many a day for a month.
func evenly(perDay float64) []time.Duration {
	rnd := rand.New(rand.NewPCG(1, 2))
	var ages []time.Duration
	for age := time.Duration(0); age < 30*24*time.Hour; age += time.Duration(rnd.ExpFloat64() * float64(24*time.Hour) / perDay) {
		ages = append(ages, age)
	}
	return ages
}

// mostlySoon returns when so many rows come of which as many are between two and four
// hours late as between one and two days, or ten and twenty, up to a month.
func mostlySoon(rows int) []time.Duration {
	rnd := rand.New(rand.NewPCG(1, 2))
	ages := make([]time.Duration, rows)
	for i := range ages {
		ages[i] = time.Duration(float64(10*time.Minute) * math.Pow(30*24*6, rnd.Float64()))
	}
	slices.Sort(ages)
	return ages
}

// monthOf lets an hour with a partition of so many bytes get rows for a month under a
// policy, so long after its end and grace, and serves its marks as a daemon does.
func monthOf(t *testing.T, p Policy, bytes int64, rows []time.Duration) month {
	t.Helper()
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	var now time.Time
	c.cfg.Policy, c.cfg.Now = p, func() time.Time { return now }
	seg := afterhours.NewSegment()
	var arrivals []time.Time
	for _, age := range rows {
		arrivals = append(arrivals, p.over(testHour).Add(age))
	}
	s.partitions[testHour] = store.Partition{Hour: testHour, Generation: 1, Bytes: bytes, Settled: afterhours.RowSet{}}
	q, m, taken, served := c.emptySchedule(false), month{}, 0, 0
	for taken < len(arrivals) || q.owed() > 0 {
		due, any := q.nextDue(true)
		if taken < len(arrivals) && (!any || !due.Before(arrivals[taken])) {
			at := arrivals[taken]
			e := afterhours.NewEvent("e", testHour.Type, noon, at, nil)
			s.appendTo(store.SharedLane(afterhours.DayOf(afterhours.MicrosOf(at))), seg, uint32(taken), e)
			q.take(markAt(testHour, int64(taken), at))
			taken++
			continue
		}
		now = due
		w := q.start(now, true)
		if err := c.weigh(t.Context(), testHour, s.partitions[testHour], q.stay(w)); err != nil {
			var wait NotYet
			if !errors.As(err, &wait) {
				t.Fatal(err)
			}
			m.weighings++
			q.notYet(w, now, wait.Until)
			continue
		}
		q.served(w)
		for ; served < taken; served++ {
			m.delay += now.Sub(arrivals[served]) / time.Duration(len(arrivals))
		}
		s.partitions[testHour].Settled[seg] = afterhours.Ranges{{First: 0, Last: uint32(served - 1)}}
		m.rewrites++
		m.bytes += bytes
	}
	return m
}

// TestRewritesOfAMonth: an hour that gets stragglers for a month, 116 a day, is
// rewritten some fifty times. With a billion events a day of 600 types, 5 % of
// them late, that is about 0.8 million rewrites a day; without the quiet it would
// be one for each of the 50 million. To weigh the rows spares a large partition
// rewrites for few rows in its first days, when the quiet is short, and changes
// nothing for a small one, nor much where many rows come.
func TestRewritesOfAMonth(t *testing.T) {
	const perDay = 24 * 600 // hours that begin in a day
	weighing := Defaults().Policy
	unweighed := weighing
	unweighed.RowWorth = 0
	for _, c := range []struct {
		name            string
		bytes           int64
		rows            []time.Duration
		atLeast, atMost float64 // bytes written when rows are weighed, as a share of what is written if not
	}{
		{"average", 14 << 20, evenly(116), 0.9, 1},
		{"small, few", 1 << 20, mostlySoon(40), 1, 1},
		{"large, few", 310 << 20, mostlySoon(40), 0, 0.6},
		{"large, many", 310 << 20, mostlySoon(40_000), 0.9, 1},
	} {
		plain, with := monthOf(t, unweighed, c.bytes, c.rows), monthOf(t, weighing, c.bytes, c.rows)
		t.Logf("%-11s %3d MiB, %5d late rows: %2d rewrites, %5d MiB, mean delay %-8s weighed: %2d rewrites, %5d MiB, mean delay %-8s not yet %d times",
			c.name, c.bytes>>20, len(c.rows), plain.rewrites, plain.bytes>>20, plain.delay.Round(time.Minute),
			with.rewrites, with.bytes>>20, with.delay.Round(time.Minute), with.weighings)
		if share := float64(with.bytes) / float64(plain.bytes); share > c.atMost || share < c.atLeast {
			t.Errorf("%s: weighing writes %.2f of the bytes, want %.2f to %.2f", c.name, share, c.atLeast, c.atMost)
		}
		if n := plain.rewrites * perDay; c.name == "average" && (n > 1_600_000 || n < 300_000) {
			t.Errorf("%d rewrites of an hour, %d a day; want about 800,000", plain.rewrites, n)
		}
	}
}
