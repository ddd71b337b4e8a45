package dirty_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
)

func hour(n int) afterhours.Hour { return afterhours.HourOf("purchase", afterhours.Micros(n)*3_600e6) }

func markOf(n int, offset int64) dirty.Mark {
	return dirty.Mark{Mark: afterhours.Mark{Hour: hour(n)}, Offset: offset}
}

func offsets(marks []dirty.Mark) []int64 {
	var all []int64
	for _, m := range marks {
		all = append(all, m.Offset)
	}
	return all
}

// oracle keeps every mark, where a Ledger keeps one an hour.
type oracle struct {
	position int64
	log      []dirty.Mark              // as log compaction left it
	unserved map[int64]afterhours.Hour // handed out, and not done
}

func (o *oracle) take(m dirty.Mark) {
	o.unserved[m.Offset], o.position = m.Hour, m.Offset+1
}

// done serves what Done says is served.
func (o *oracle) done(m dirty.Mark) {
	for offset, h := range o.unserved {
		if h == m.Hour && offset <= m.Offset {
			delete(o.unserved, offset)
		}
	}
}

// waiting returns the last unserved mark of each hour, in order.
func (o *oracle) waiting() []int64 {
	last := map[afterhours.Hour]int64{}
	for offset, h := range o.unserved {
		last[h] = max(last[h], offset)
	}
	var all []int64
	for _, offset := range last {
		all = append(all, offset)
	}
	slices.Sort(all)
	return all
}

// from returns what is left of the log from an offset on.
func (o *oracle) from(floor int64) []dirty.Mark {
	at := slices.IndexFunc(o.log, func(m dirty.Mark) bool { return m.Offset >= floor })
	if at < 0 {
		return nil
	}
	return o.log[at:]
}

// compact drops a mark, if a later one of its hour follows.
func (o *oracle) compact(n int) {
	if len(o.log) == 0 {
		return
	}
	at := n % len(o.log)
	h := o.log[at].Hour
	if slices.ContainsFunc(o.log[at+1:], func(m dirty.Mark) bool { return m.Hour == h }) {
		o.log = slices.Delete(o.log, at, at+1)
	}
}

// TestLedger takes, serves, compacts and restarts at random: the floor is the
// lowest of the hours' last unserved marks, and a restart there is handed a mark
// of every hour that waits.
func TestLedger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := new(dirty.Ledger)
		o := oracle{unserved: map[int64]afterhours.Hour{}}
		floor := int64(0)
		check := func() {
			waiting, want := o.waiting(), o.position
			if len(waiting) > 0 {
				want = waiting[0]
			}
			if l.Floor() != want || l.Floor() < floor || l.Waiting() != len(waiting) {
				t.Fatalf("%d hours wait, floor %d after %d, want %d, waiting %v", l.Waiting(), l.Floor(), floor, want, waiting)
			}
			floor = l.Floor()
			handed := o.from(floor)
			for offset, h := range o.unserved {
				if !slices.ContainsFunc(handed, func(m dirty.Mark) bool { return m.Hour == h }) {
					t.Fatalf("%s waits by its mark at %d; a restart at %d is handed %v", h, offset, floor, handed)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				m := markOf(rapid.IntRange(0, 4).Draw(t, "hour"), o.position+rapid.Int64Range(0, 3).Draw(t, "gap"))
				o.log = append(o.log, m)
				o.take(m)
				l.Take(m)
			},
			"pass": func(t *rapid.T) {
				l.Pass(o.position)
				o.position++
			},
			"done": func(t *rapid.T) { // also of no mark, or late
				m := markOf(rapid.IntRange(0, 4).Draw(t, "hour"), rapid.Int64Range(0, o.position).Draw(t, "offset"))
				l.Done(m)
				o.done(m)
			},
			"compact": func(t *rapid.T) { o.compact(rapid.IntRange(0, 100).Draw(t, "mark")) },
			"restart": func(t *rapid.T) {
				l = new(dirty.Ledger)
				clear(o.unserved)
				if floor > 0 {
					l.Pass(floor - 1) // where a consumer of the group would start
				}
				o.position = floor
				for _, m := range o.from(floor) {
					l.Take(m)
					o.take(m)
				}
			},
			"behind": func(t *rapid.T) {
				slack := rapid.Int64Range(0, 12).Draw(t, "slack")
				var want []int64
				waiting := o.waiting()
				for _, offset := range waiting {
					if o.position-1-offset > max(slack, 2*int64(len(waiting))) {
						want = append(want, offset)
					}
				}
				if got := offsets(l.Behind(slack)); !slices.Equal(got, want) {
					t.Fatalf("behind %v, want %v: position %d, slack %d, waiting %v", got, want, o.position, slack, waiting)
				}
			},
			"": func(t *rapid.T) { check() },
		})
	})
}

// TestFloor shows on which mark the floor stands: an hour that is marked again
// and again does not hold it.
func TestFloor(t *testing.T) {
	var l dirty.Ledger
	if l.Floor() != 0 {
		t.Fatalf("floor of nothing is %d", l.Floor())
	}
	l.Take(markOf(1, 10))
	l.Take(markOf(2, 11))
	l.Take(markOf(1, 15))
	l.Take(markOf(3, 20))
	for _, step := range []struct {
		hour         int
		offset, want int64
	}{
		{1, 10, 11}, // not the last: hour 1 waits by its mark at 15
		{2, 11, 15},
		{1, 14, 15}, // late, and no news
		{4, 99, 15}, // never taken
		{3, 20, 15},
		{1, 15, 21},
	} {
		l.Done(markOf(step.hour, step.offset))
		if l.Floor() != step.want {
			t.Errorf("hour %d done to %d: floor %d, want %d", step.hour, step.offset, l.Floor(), step.want)
		}
	}
}

// TestBehindIsTheLastMark shows that Behind tells all that a mark says, and that
// passed offsets count although nothing was handed out there.
func TestBehindIsTheLastMark(t *testing.T) {
	var l dirty.Ledger
	first := dirty.Mark{Mark: afterhours.Mark{Hour: hour(1), Time: 7, Since: 3}, Partition: 5, Offset: 2}
	l.Take(markOf(1, 1))
	l.Take(first)
	l.Pass(12)
	if got := l.Behind(10); got != nil {
		t.Errorf("10 behind with a slack of 10: %v", got)
	}
	l.Pass(13)
	if got := l.Behind(10); len(got) != 1 || got[0] != first {
		t.Errorf("11 behind with a slack of 10: %v, want %v", got, first)
	}
}

// TestBehindIsBounded shows that Behind returns the lowest marks first, so many at
// most that nobody waits long for it, and the others later.
func TestBehindIsBounded(t *testing.T) {
	const waiting = 25_000
	var q queue
	for n := range waiting {
		q.mark(n)
	}
	q.Pass(10 * waiting)
	for _, want := range []int{10_000, 10_000, 5_000, 0} {
		floor, behind := q.Floor(), q.Behind(0)
		if len(behind) != want || want > 0 && behind[0].Offset != floor {
			t.Fatalf("%d behind the floor of %d, want %d", len(behind), floor, want)
		}
		for _, m := range behind {
			q.Done(m)
		}
	}
}

// queue is a log and the ledger of its only reader, who defers what is behind.
type queue struct {
	dirty.Ledger
	next int64
}

func (q *queue) mark(n int) dirty.Mark {
	m := markOf(n, q.next)
	q.next++
	q.Take(m)
	return m
}

// catchUp defers what is behind, as Defer does: the old marks are done before the
// new ones are handed out. It returns how many were deferred.
func (q *queue) catchUp(slack int64) int {
	behind := q.Behind(slack)
	for _, m := range behind {
		q.Done(m)
	}
	for _, m := range behind {
		m.Offset = q.next
		q.next++
		q.Take(m)
	}
	return len(behind)
}

// TestDeferringEnds lets far more hours wait than the slack allows: to defer them
// does not put them behind again, and appends no more marks than others do.
func TestDeferringEnds(t *testing.T) {
	const waiting, slack, live = 5_000, 100, 50_000
	var q queue
	for n := range waiting {
		q.mark(n)
	}
	if n := q.catchUp(slack); n != 0 {
		t.Fatalf("%d of %d hours are behind although nothing came after them", n, waiting)
	}
	deferred := 0
	for range live {
		q.Done(q.mark(waiting + rand.IntN(100)))
		deferred += q.catchUp(slack)
		if held := q.next - q.Floor(); held > 2*waiting+slack {
			t.Fatalf("the floor is held %d marks back by %d hours", held, waiting)
		}
	}
	for range 3 * waiting {
		q.Done(q.mark(waiting)) // in one go, nothing is deferred meanwhile
	}
	for pass := range 10 {
		n := q.catchUp(slack)
		deferred += n
		if pass > 0 && n > 0 {
			t.Errorf("%d hours are behind again in pass %d", n, pass)
		}
	}
	if deferred == 0 || deferred > live+3*waiting {
		t.Errorf("%d deferred for %d other marks", deferred, live+3*waiting)
	}
}

// BenchmarkLedger has half a million hours wait. An operation is one second of a
// busy partition: 10,000 marks are handed out and served, what fell behind is
// found and deferred, and the floor is read.
func BenchmarkLedger(b *testing.B) {
	const waiting, each = 500_000, 10_000
	var q queue
	for n := range waiting {
		q.mark(n)
	}
	for q.next < 3*waiting {
		q.Done(q.mark(waiting))
	}
	deferred := q.catchUp(dirty.DefaultSlack)
	b.Run("second", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for n := range each {
				q.Done(q.mark(waiting + n))
			}
			deferred += q.catchUp(dirty.DefaultSlack)
			_ = q.Floor()
		}
	})
	b.Run("behind", func(b *testing.B) {
		for b.Loop() {
			q.Behind(dirty.DefaultSlack)
		}
	})
	b.Run("floor", func(b *testing.B) {
		for b.Loop() {
			q.Floor()
		}
	})
	b.Logf("%d deferred of %d marks", deferred, q.next)
}
