package compact

import (
	"container/heap"
	"slices"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
)

// waiting is an hour that owes a rewrite.
type waiting struct {
	hour        afterhours.Hour
	first, last afterhours.Micros    // when its first and its last mark were appended
	marks       map[int32]dirty.Mark // the last mark taken, per partition of the queue
	due         time.Time
	failures    int // in a row
	index       int // position in the heap, -1 while being rewritten
}

// schedule is the set of hours that owe a rewrite, and which of them are being
// rewritten. It belongs to one goroutine.
type schedule struct {
	policy Policy
	now    bool // do not wait: a drain
	ready  byDue
	hours  map[afterhours.Hour]*waiting // in the heap
	busy   map[afterhours.Hour]*waiting // being rewritten
	next   map[afterhours.Hour]*waiting // marked again while being rewritten
}

func newSchedule(p Policy, now bool) *schedule {
	return &schedule{
		policy: p, now: now,
		hours: map[afterhours.Hour]*waiting{},
		busy:  map[afterhours.Hour]*waiting{},
		next:  map[afterhours.Hour]*waiting{},
	}
}

// take adds a mark. An hour that is being rewritten may have been read before
// the marked rows were there, so its mark waits for another rewrite.
func (s *schedule) take(m dirty.Mark) {
	in, busy := s.hours, s.busy[m.Hour] != nil
	if busy {
		in = s.next
	}
	w := in[m.Hour]
	if w == nil {
		w = &waiting{hour: m.Hour, first: m.Time, marks: map[int32]dirty.Mark{}, index: -1}
		in[m.Hour] = w
	}
	w.last = m.Time
	w.marks[m.Partition] = m
	if busy {
		return
	}
	if w.failures == 0 { // else the pause after a failure goes on
		w.due = s.dueAt(w)
	}
	s.push(w)
}

func (s *schedule) dueAt(w *waiting) time.Time {
	if s.now {
		return time.Time{}
	}
	return s.policy.Due(w.hour, w.first, w.last)
}

// push puts an hour where its due time belongs.
func (s *schedule) push(w *waiting) {
	if w.index < 0 {
		heap.Push(&s.ready, w)
		return
	}
	heap.Fix(&s.ready, w.index)
}

// start takes the most overdue hour for a rewrite, nil if none is due.
func (s *schedule) start(now time.Time) *waiting {
	if len(s.ready) == 0 || s.ready[0].due.After(now) {
		return nil
	}
	w := heap.Pop(&s.ready).(*waiting)
	delete(s.hours, w.hour)
	s.busy[w.hour] = w
	return w
}

// served ends a rewrite that went well; marks that came meanwhile are next.
func (s *schedule) served(w *waiting) {
	delete(s.busy, w.hour)
	if n := s.next[w.hour]; n != nil {
		delete(s.next, w.hour)
		n.due = s.dueAt(n)
		s.hours[w.hour] = n
		s.push(n)
	}
}

// failed ends a rewrite that went wrong: the hour, with all its marks, is due
// again at the given time.
func (s *schedule) failed(w *waiting, again time.Time) {
	delete(s.busy, w.hour)
	if n := s.next[w.hour]; n != nil {
		delete(s.next, w.hour)
		w.last = n.last
		for p, m := range n.marks {
			w.marks[p] = m
		}
	}
	w.failures++
	w.due = again
	s.hours[w.hour] = w
	s.push(w)
}

// revoke forgets hours that another member of the group now serves.
func (s *schedule) revoke(partitions []int32) {
	for _, set := range []map[afterhours.Hour]*waiting{s.hours, s.next} {
		for h, w := range set {
			for p := range w.marks {
				if slices.Contains(partitions, p) {
					delete(w.marks, p)
				}
			}
			if len(w.marks) > 0 {
				continue
			}
			if w.index >= 0 {
				heap.Remove(&s.ready, w.index)
			}
			delete(set, h)
		}
	}
}

// nextDue returns when the next hour is due, false if none waits.
func (s *schedule) nextDue() (time.Time, bool) {
	if len(s.ready) == 0 {
		return time.Time{}, false
	}
	return s.ready[0].due, true
}

// owed returns how many hours owe a rewrite, those under way included.
func (s *schedule) owed() int { return len(s.hours) + len(s.busy) }

// byDue is a heap of waiting hours, the most overdue first.
type byDue []*waiting

func (q byDue) Len() int { return len(q) }
func (q byDue) Less(i, j int) bool {
	if !q[i].due.Equal(q[j].due) {
		return q[i].due.Before(q[j].due)
	}
	return q[i].hour.Compare(q[j].hour) < 0
}
func (q byDue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *byDue) Push(x any) {
	w := x.(*waiting)
	w.index = len(*q)
	*q = append(*q, w)
}
func (q *byDue) Pop() any {
	last := len(*q) - 1
	w := (*q)[last]
	*q, (*q)[last] = (*q)[:last], nil
	w.index = -1
	return w
}
