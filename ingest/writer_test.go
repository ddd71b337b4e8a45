package ingest

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// quiet keeps expected warnings out of the tests' output.
var quiet = slog.New(slog.DiscardHandler)

// testEvents makes n events in each of the first hours of the day.
func testEvents(hours, n int) []afterhours.Event {
	var all []afterhours.Event
	for i := range n {
		for h := range hours {
			all = append(all, testEvent(h, i))
		}
	}
	return all
}

// stragglers makes n events in each of some hours that are over.
func stragglers(hours, n int) []afterhours.Event {
	var all []afterhours.Event
	for i := range n {
		for h := range hours {
			all = append(all, straggler(h, i))
		}
	}
	return all
}

// gate holds calls back until it is opened.
type gate struct {
	op   string
	open chan struct{}
}

func newGate(op string) *gate { return &gate{op, make(chan struct{})} }

func (g *gate) fault(op string, _ afterhours.Hour) (bool, error) {
	if op == g.op {
		<-g.open
	}
	return true, nil
}

// Whatever step fails, once or again and again, applied or not, every event is
// acknowledged once, and rightly so. Some of them are stragglers.
func TestEveryStepMayFail(t *testing.T) {
	for _, op := range []string{"columns", "index", "append", "mark", "close"} {
		for _, applied := range []bool{false, true} {
			for name, fails := range map[string]func(n int64) bool{
				"at first":        func(n int64) bool { return n == 1 },
				"ten times":       func(n int64) bool { return n <= 10 },
				"every other one": func(n int64) bool { return n%2 == 1 },
			} {
				t.Run(fmt.Sprintf("%s %s applied=%v", op, name, applied), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						f := newFake(t)
						var n atomic.Int64
						f.fault = func(at string, _ afterhours.Hour) (bool, error) {
							if at == op && fails(n.Add(1)) {
								return applied, errFault
							}
							return true, nil
						}
						keepAll(t, f, append(testEvents(8, 200), stragglers(60, 10)...))
					})
				})
			}
		}
	}
}

// keepAll writes all events, and wants them acknowledged and their lanes closed.
func keepAll(t *testing.T, f *fake, events []afterhours.Event) {
	t.Helper()
	cols := []afterhours.Column{{Name: "id", Field: "id", Type: afterhours.String}}
	w, end := f.start(Options{Columns: cols, SegmentRows: 250, InHand: 1 << 20, Log: quiet})
	for _, e := range events {
		f.write(w, e)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	f.allAcked(events...)
	if n := f.openLanes(); n != 0 {
		t.Errorf("%d lanes stay open", n)
	}
	if s := w.Stats(); s.Read != int64(len(events)) || s.Written != s.Read || s.Quarantined != 0 {
		t.Errorf("stats are %+v, %d events were written", s, len(events))
	}
}

// Any mixture of failures, with poison rows among the events, ends well too.
func TestRandomFailures(t *testing.T) {
	for range 20 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				var mu sync.Mutex
				rnd := rand.New(rand.NewPCG(seed, 0))
				f.fault = func(string, afterhours.Hour) (bool, error) {
					mu.Lock()
					fail, applied, pause := rnd.IntN(3) == 0, rnd.IntN(2) == 0, rnd.IntN(30)
					mu.Unlock()
					time.Sleep(time.Duration(pause) * time.Millisecond)
					if fail {
						return applied, errFault
					}
					return true, nil
				}
				events := append(testEvents(10, 100), stragglers(100, 10)...)
				for i := range events {
					if i%97 == 0 {
						events[i].Payload = fmt.Appendf(nil, `{"POISON":%d}`, i)
					}
				}
				w, end := f.start(Options{SegmentRows: 90, InHand: 1 << 20, Calls: 16, Log: quiet})
				for _, e := range events {
					f.write(w, e)
				}
				if err := end(); err != nil {
					t.Fatal(err)
				}
				if s := w.Stats(); s.Written+s.Quarantined != int64(len(events)) || s.Quarantined != int64(len(events)+96)/97 {
					t.Errorf("stats are %+v", s)
				}
			})
		})
	}
}

// Promise 1: nothing is marked, and nothing acknowledged, before the row is kept,
// nor before its index row is; and nothing is acknowledged before its mark is.
func TestAcknowledgementComesLast(t *testing.T) {
	for op, marks := range map[string]int{"append": 0, "index": 0, "mark": 1} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				g := newGate(op)
				f.fault = g.fault
				w, end := f.start(Options{})
				e := testEvent(3, 0)
				f.write(w, e)
				time.Sleep(time.Hour)
				if n := f.count("mark"); n != marks {
					t.Errorf("%d marks while %s is not acknowledged, want %d", n, op, marks)
				}
				if n := len(f.acks); n != 0 {
					t.Errorf("%d events are acknowledged while %s is not", n, op)
				}
				close(g.open)
				if err := end(); err != nil {
					t.Fatal(err)
				}
				f.allAcked(e)
			})
		})
	}
}

// A row that is kept while a mark of its hour is in flight waits for a mark that
// is made after it: the one in flight may have been taken, and the hour read.
func TestNoRowRidesOnAMarkInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		g := newGate("mark")
		f.fault = g.fault
		w, end := f.start(Options{})
		first, second := testEvent(3, 0), testEvent(3, 1)
		f.write(w, first)
		time.Sleep(time.Second)
		f.write(w, second)
		time.Sleep(time.Second)
		if n := f.count("mark"); n != 1 {
			t.Fatalf("%d marks are in flight, want 1", n)
		}
		close(g.open)
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if n := f.count("mark"); n != 2 {
			t.Errorf("the hour is marked %d times, want 2", n)
		}
		f.allAcked(first, second)
	})
}

// An hour is marked again for every row that comes later, however soon: there is
// no memory of what was marked.
func TestEveryLaterRowIsMarkedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		w, end := f.start(Options{})
		for i := range 50 {
			f.write(w, testEvent(3, i))
			time.Sleep(100 * time.Millisecond)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if s := w.Stats(); s.Marks != 50 || s.Hours != 1 {
			t.Errorf("%d marks of %d hours, want 50 of 1", s.Marks, s.Hours)
		}
	})
}

// Rows that come together share a mark.
func TestRowsShareMarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		w, end := f.start(Options{})
		for _, e := range testEvents(4, 1000) {
			f.write(w, e)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if s := w.Stats(); s.Marks > 8 || s.Hours != 4 {
			t.Errorf("%d marks of %d hours, want about one of each of 4", s.Marks, s.Hours)
		}
	})
}

// No row is acknowledged when its index row was last written over an hour ago:
// the index row would expire while the row can still be read.
func TestIndexRowIsRenewed(t *testing.T) {
	t.Run("in a lane that stays open", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			w, end := f.start(Options{})
			var events []afterhours.Event
			for i := range 60 {
				events = append(events, testEvent(3, i))
				f.write(w, events[i])
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
	})
	t.Run("sooner if rows live for minutes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			f.ttl = 20 * time.Minute
			w, end := f.start(Options{})
			for i := range 60 {
				f.write(w, testEvent(3, i))
				time.Sleep(time.Minute)
			}
			if err := end(); err != nil {
				t.Fatal(err)
			}
			if n := f.count("index"); n != 6 {
				t.Errorf("the index row is written %d times in an hour, want 6", n)
			}
		})
	})
	t.Run("after a batch that took hours", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			began := time.Now()
			f.fault = func(op string, _ afterhours.Hour) (bool, error) {
				if op == "append" && time.Since(began) < 50*time.Hour {
					return true, errFault
				}
				return true, nil
			}
			w, end := f.start(Options{Log: quiet})
			f.write(w, testEvent(3, 0))
			if err := end(); err != nil {
				t.Fatal(err)
			}
			f.allAcked(testEvent(3, 0))
			if n := f.count("index"); n != 2 {
				t.Errorf("the index row is written %d times, want 2", n)
			}
		})
	})
}

// A row that took half its life to be written and marked is written anew before it is
// acknowledged: nobody could merge it in the time that is left, or it is gone
// already. That goes for lanes of either kind.
func TestRowsThatGrewOldAreWrittenAnew(t *testing.T) {
	for name, c := range map[string]struct {
		slow string
		took time.Duration
		e    func(hour, i int) afterhours.Event
		anew bool
	}{
		"in an own lane":             {"append", 11 * time.Minute, testEvent, true},
		"in a shared lane":           {"append", 11 * time.Minute, straggler, true},
		"while they are marked":      {"mark", 11 * time.Minute, testEvent, true},
		"not one that is half young": {"append", 9 * time.Minute, testEvent, false},
		"nor while it is marked":     {"mark", 9 * time.Minute, testEvent, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				f.ttl = 20 * time.Minute
				began := time.Now()
				f.fault = func(op string, _ afterhours.Hour) (bool, error) {
					if op == c.slow && time.Since(began) < c.took {
						return true, errFault
					}
					return true, nil
				}
				w, end := f.start(Options{Log: quiet})
				e := c.e(3, 0)
				f.write(w, e)
				if err := end(); err != nil {
					t.Fatal(err)
				}
				f.allAcked(e)
				rows := f.copies[e.ID]
				last := rows[len(rows)-1]
				if age := last.at.Sub(last.wrote.Time()); age > f.ttl/2 || len(rows) > 1 != c.anew {
					t.Errorf("written %d times, the last one was %s old when the store had it", len(rows), age)
				}
			})
		})
	}
}

// A lane is closed after ten idle minutes, and at the age of a day although it is
// in use; the hour goes on in another segment.
func TestLanesCloseInTime(t *testing.T) {
	for name, c := range map[string]struct {
		every  time.Duration
		n      int
		closed int // before the end
	}{
		"idle":   {11 * time.Minute, 5, 5},
		"in use": {9 * time.Minute, 5, 0},
		"a day":  {9 * time.Minute, 161, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				w, end := f.start(Options{})
				for i := range c.n {
					f.write(w, testEvent(3, i))
					time.Sleep(c.every)
				}
				if n := f.count("close"); n != c.closed {
					t.Errorf("%d lanes are closed, want %d", n, c.closed)
				}
				if err := end(); err != nil {
					t.Fatal(err)
				}
				if n := f.openLanes(); n != 0 {
					t.Errorf("%d lanes stay open", n)
				}
			})
		})
	}
}

// A full lane is closed only when every batch of it is acknowledged, and nothing
// is added to it meanwhile.
func TestLaneClosesAfterItsLastBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		hold, first := make(chan struct{}), true
		var mu sync.Mutex
		f.fault = func(op string, _ afterhours.Hour) (bool, error) {
			mu.Lock()
			mine := op == "append" && first
			first = first && !mine
			mu.Unlock()
			if mine {
				<-hold
			}
			return true, nil
		}
		w, end := f.start(Options{SegmentRows: 300})
		events := testEvents(1, 700)
		for _, e := range events {
			f.write(w, e)
		}
		time.Sleep(5 * time.Minute)
		if n := f.count("close"); n != 1 {
			t.Errorf("%d lanes are closed, want the one that is complete", n)
		}
		close(hold)
		time.Sleep(time.Second)
		if n := f.count("close"); n != 2 {
			t.Errorf("%d lanes are closed, want the two that are full", n)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		f.allAcked(events...)
	})
}

// Nothing waits for a lane that cannot be closed, and in the end it stays open.
func TestClosingHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.fault = func(op string, _ afterhours.Hour) (bool, error) {
			if op == "close" {
				return false, errFault
			}
			return true, nil
		}
		w, end := f.start(Options{SegmentRows: 100, Log: quiet})
		events := testEvents(1, 5000)
		for _, e := range events {
			f.write(w, e)
		}
		time.Sleep(time.Second)
		f.allAcked(events...)
		if err := end(); err != nil {
			t.Errorf("run: %v", err)
		}
		if n := f.openLanes(); n != 50 {
			t.Errorf("%d lanes are open, want 50", n)
		}
	})
}

// No two lanes share a segment, also after a restart.
func TestSegmentsAreNeverReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		for range 3 {
			w, end := f.start(Options{SegmentRows: 100})
			for _, e := range testEvents(2, 250) {
				f.write(w, e)
			}
			if err := end(); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(f.lanes); n != 18 {
			t.Errorf("%d lanes, want 3 runs x 2 hours x 3", n)
		}
	})
}

// A row that the store refuses is found by splitting, is kept in quarantine and
// then acknowledged. The rest of its batch is kept as it is, and its lane, whose
// rows are no longer 0 to n-1, is never closed.
func TestRefusedRowGoesToQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		w, end := f.start(Options{})
		events := testEvents(1, 100)
		bad := &events[42]
		bad.Payload = []byte(`{"POISON":1}`)
		for _, e := range events {
			f.write(w, e)
		}
		time.Sleep(time.Second)
		after := testEvent(0, 1000)
		f.write(w, after)
		if err := end(); err != nil {
			t.Fatal(err)
		}
		want := quarantine(testRecord(*bad), "", 0)
		kept := f.copies[want.ID]
		if len(kept) != 1 || !bytes.Contains(kept[0].event.Payload, []byte("refused by the store: row too strange")) {
			t.Fatalf("quarantine holds %+v", kept)
		}
		if s := w.Stats(); s.Written != 100 || s.Quarantined != 1 {
			t.Errorf("stats are %+v", s)
		}
		if f.copies[after.ID][0].lane == f.copies[events[0].ID][0].lane {
			t.Error("a lane with a hole takes more rows")
		}
		if n := f.openLanes(); n != 1 {
			t.Errorf("%d lanes stay open, want the one with the hole", n)
		}
		if n := f.count("append"); n > 1+2*7+2 {
			t.Errorf("%d appends to find one row in a hundred", n)
		}
	})
}

// Rows are the store's size of them.
func TestEncodedSize(t *testing.T) {
	for _, e := range []afterhours.Event{{}, testEvent(3, 4), {ID: strings.Repeat("x", 1000), Time: -1 << 55, Received: 1 << 55, Payload: make([]byte, 3000)}} {
		if got, want := encodedSize(e), int64(len(store.AppendEvent(nil, e))); got != want {
			t.Errorf("size of %.20q is %d, want %d", e.ID, got, want)
		}
	}
}
