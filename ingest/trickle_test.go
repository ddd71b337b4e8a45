package ingest

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// lanesOf returns how many lanes the events lie in, own and shared ones.
func (f *fake) lanesOf(events ...afterhours.Event) (own, shared int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := map[*fakeLane]bool{}
	for _, e := range events {
		for _, r := range f.copies[e.ID] {
			if _, is := r.lane.shared(); is && !seen[r.lane] {
				shared++
			} else if !seen[r.lane] {
				own++
			}
			seen[r.lane] = true
		}
	}
	return own, shared
}

// Events of hours that are over share the lane of the day on which they are
// received: it needs no closing, and each worker writes one segment for all.
func TestStragglersShareALane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		w, end := f.start(Options{})
		events := stragglers(100, 3)
		for _, e := range events {
			f.write(w, e)
			time.Sleep(time.Second)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		f.allAcked(events...)
		if own, shared := f.lanesOf(events...); own != 0 || shared != 100 {
			t.Errorf("%d own and %d shared lanes of 100 hours", own, shared)
		}
		if n := len(f.segments); n > len(w.workers) {
			t.Errorf("%d segments of %d workers", n, len(w.workers))
		}
		if index, closed := f.count("index"), f.count("close"); index != 100 || closed != 0 {
			t.Errorf("%d index rows are written and %d closed, want 100 and 0", index, closed)
		}
	})
}

// An hour gets a lane of its own while it lasts, for a batch of 32 rows, and once
// over a thousand rows have trickled in.
func TestHoursWithTrafficOwnTheirLanes(t *testing.T) {
	for name, c := range map[string]struct {
		events      []afterhours.Event
		pause       time.Duration
		own, shared int
	}{
		"not over":          {[]afterhours.Event{testEvent(3, 0)}, 0, 1, 0},
		"31 rows at once":   {stragglers(1, 31), 0, 0, 1},
		"32 rows at once":   {stragglers(1, 32), 0, 1, 0},
		"a thousand rows":   {stragglers(1, 1000), time.Second, 0, 1},
		"over a thousand":   {stragglers(1, 1001), time.Second, 1, 1},
		"a thousand slowly": {stragglers(1, 1100), 10 * time.Second, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				w, end := f.start(Options{})
				for _, e := range c.events {
					f.write(w, e)
					time.Sleep(c.pause)
				}
				if err := end(); err != nil {
					t.Fatal(err)
				}
				f.allAcked(c.events...)
				if own, shared := f.lanesOf(c.events...); own != c.own || shared != c.shared {
					t.Errorf("%d own and %d shared lanes, want %d and %d", own, shared, c.own, c.shared)
				}
			})
		})
	}
}

// An hour that has a lane of its own keeps to it while it is in use; after ten
// idle minutes the lane is closed, and what still comes trickles.
func TestIdleHoursTrickleAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		w, end := f.start(Options{})
		burst, next, last := stragglers(1, 32), straggler(0, 100), straggler(0, 101)
		for _, e := range burst {
			f.write(w, e)
		}
		time.Sleep(9 * time.Minute)
		f.write(w, next)
		time.Sleep(10*time.Minute + time.Second)
		f.write(w, last) // before anybody has looked for idle lanes
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if own, shared := f.lanesOf(append(burst, next)...); own != 1 || shared != 0 {
			t.Errorf("a lane in use: %d own and %d shared lanes, want 1 and 0", own, shared)
		}
		if own, shared := f.lanesOf(last); own != 0 || shared != 1 {
			t.Errorf("after it was idle: %d own and %d shared lanes, want 0 and 1", own, shared)
		}
		if n := f.openLanes(); n != 0 {
			t.Errorf("%d own lanes stay open", n)
		}
	})
}

// An hour that had a lane of its own is counted anew: the rows that made it worth
// one do not make it worth the next.
func TestOwnLaneStartsTheCountAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		w, end := f.start(Options{})
		events := stragglers(1, 1002)
		for i, e := range events {
			if i == 1001 {
				time.Sleep(11 * time.Minute)
			}
			f.write(w, e)
			time.Sleep(time.Second)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		f.allAcked(events...)
		if own, shared := f.lanesOf(events[1000:]...); own != 1 || shared != 1 {
			t.Errorf("the last two rows are in %d own and %d shared lanes, want one each", own, shared)
		}
	})
}

// The index row of a shared lane is written by a process once an hour, not for
// each batch, also when the stragglers come one by one.
func TestIndexRowsOfSharedLanesAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		w, end := f.start(Options{})
		events := stragglers(1, 60)
		for _, e := range events {
			f.write(w, e)
			time.Sleep(5 * time.Minute)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		f.allAcked(events...)
		if n := f.count("index"); n != 5 {
			t.Errorf("the index row is written %d times in five hours, want 5", n)
		}
	})
}

// A day has its own lanes and its own segments.
func TestSharedLanesChangeAtMidnight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		w, end := f.start(Options{})
		time.Sleep(24*time.Hour - time.Minute)
		events := stragglers(1, 4)
		for _, e := range events {
			f.write(w, e)
			time.Sleep(30 * time.Second)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		f.allAcked(events...)
		first, last := f.copies[events[1].ID][0].lane.name, f.copies[events[2].ID][0].lane.name
		if first != "2000-01-01" || last != "2000-01-02" || len(f.segments) != 2 {
			t.Errorf("lanes are %s and %s, with %d segments", first, last, len(f.segments))
		}
	})
}

// jumper is a clock that can be put forward.
type jumper struct{ by atomic.Int64 }

func (j *jumper) now() time.Time       { return time.Now().Add(time.Duration(j.by.Load())) }
func (j *jumper) jump(d time.Duration) { j.by.Add(int64(d)) }

// What is in the store, or in the index, only when a shared lane has settled is
// written again into today's lane before it is acknowledged: whoever looks for new
// rows no longer looks there. The clock is the Writer's.
func TestRowsOfSettledLanesAreWrittenAgain(t *testing.T) {
	for _, slow := range []string{"append", "index"} {
		for late, copies := range map[time.Duration]int{48*time.Hour - time.Minute: 1, 48 * time.Hour: 2} {
			t.Run(slow+" takes "+late.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f, clock := newFake(t), &jumper{}
					f.now = clock.now
					jump := sync.OnceFunc(func() { clock.jump(late) })
					f.fault = func(op string, _ afterhours.Hour) (bool, error) {
						if op == slow {
							jump()
						}
						return true, nil
					}
					w, end := f.start(Options{})
					e := straggler(0, 0)
					f.write(w, e)
					if err := end(); err != nil {
						t.Fatal(err)
					}
					f.allAcked(e)
					if n := len(f.copies[e.ID]); n != copies {
						t.Errorf("the event is written %d times, want %d", n, copies)
					}
				})
			})
		}
	}
}

// A straggler that the store refuses goes to quarantine; the others of its batch
// are kept where they are.
func TestRefusedStragglerGoesToQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		w, end := f.start(Options{})
		events := stragglers(1, 10)
		events[4].Payload = []byte(`{"POISON":1}`)
		for _, e := range events {
			f.write(w, e)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if s := w.Stats(); s.Written != 9 || s.Quarantined != 1 {
			t.Errorf("stats are %+v", s)
		}
		if n := f.count("close"); n != 0 {
			t.Errorf("%d lanes are closed", n)
		}
	})
}

// The hour of quarantine events trickles like any other.
func TestOldQuarantineTrickles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		w, end := f.start(Options{})
		r := Record{Bytes: []byte("x"), Source: "old.jsonl", Time: straggler(0, 0).Time.Time()}
		e := quarantine(r, "no event", 0)
		if err := w.Write(t.Context(), e, r, func() { f.acked(e) }); err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if own, shared := f.lanesOf(e); own != 0 || shared != 1 {
			t.Errorf("%d own and %d shared lanes", own, shared)
		}
	})
}

// A worker keeps nothing of stragglers that are acknowledged but their entry in a
// memory that is bounded and forgets within two hours.
func TestStragglersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		w, end := f.start(Options{})
		for _, e := range stragglers(500, 1) {
			f.write(w, e)
		}
		time.Sleep(2*time.Hour + time.Minute)
		synctest.Wait()
		for _, k := range w.workers {
			if n := len(k.hours); n != 0 {
				t.Errorf("%d hours are in traffic", n)
			}
			if n := len(k.trickle.hours.young) + len(k.trickle.hours.old); n != 0 {
				t.Errorf("%d hours are remembered after two hours", n)
			}
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
	})

	tr := NewTrickle(100, store.Renewal)
	for i := range 10_000 {
		h := straggler(i, 0).Hour()
		tr.Add(h, 1, 0)
		tr.Indexed(h, 0, 1)
	}
	if n := len(tr.hours.young) + len(tr.hours.old); n > 200 {
		t.Errorf("%d hours are remembered, want no more than 200", n)
	}
}

// Row numbers never come twice: when they run out, another segment begins. Those
// of a batch follow one another.
func TestTrickleNumbersRows(t *testing.T) {
	tr, h := NewTrickle(10, store.Renewal), straggler(0, 0).Hour()
	first, _ := tr.Add(h, 3, 0)
	second, _ := tr.Add(h, 1, 0)
	if second.Segment != first.Segment || second.Seq != first.Seq+3 {
		t.Errorf("%v follows %v of 3 rows", second, first)
	}
	tr.next = math.MaxUint32 - 1
	third, _ := tr.Add(h, 2, 0)
	fourth, _ := tr.Add(h, 1, 0)
	if third.Segment != first.Segment || third.Seq != math.MaxUint32-1 {
		t.Errorf("the last two numbers are not used: %v", third)
	}
	if fourth.Segment == first.Segment || fourth.Seq != 0 {
		t.Errorf("after the last number comes %v", fourth)
	}
}

// A Trickle tells when an index row was written last only for the lane of the day.
func TestTrickleRemembersIndexRows(t *testing.T) {
	tr, h := NewTrickle(10, store.Renewal), straggler(0, 0).Hour()
	noon := afterhours.Day(20000).Start() + micros(12*time.Hour)
	if _, at := tr.Add(h, 1, noon); at != 0 {
		t.Errorf("an unknown index row was written at %v", at)
	}
	tr.Indexed(h, 20000, noon)
	if _, at := tr.Add(h, 1, noon+1); at != noon {
		t.Errorf("the index row was written at %v, want %v", at, noon)
	}
	if _, at := tr.Add(h, 1, noon+micros(time.Hour+12*time.Hour)); at != 0 {
		t.Errorf("the next day's index row was written at %v", at)
	}
	tr.Indexed(h, 20000, noon+micros(13*time.Hour)) // the old day's comes late
	if _, at := tr.Add(h, 1, noon+micros(13*time.Hour)); at != 0 {
		t.Errorf("the next day's index row was written at %v", at)
	}
}
