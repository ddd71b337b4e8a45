package compact

import (
	"cmp"
	"container/heap"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
)

// waiting is an hour that owes a rewrite.
type waiting struct {
	hour        afterhours.Hour
	first, last afterhours.Micros    // when its first and its last mark were appended
	known       time.Time            // it is not overdue since before that
	marks       map[int32]dirty.Mark // the last mark taken, per partition of the queue
	due         time.Time
	failures    int  // in a row
	giant       bool // known to be one
	stuck       bool // until somebody acts
	turn        turn // among hours that are due at the same time
	index       int  // position in its heap, -1 while being rewritten

	// When its rows did not outweigh its partition, what its last mark was then, and
	// when they will if nothing more comes; zero if they were not weighed.
	weighed time.Time
	heard   afterhours.Micros
	worth   time.Time
}

// schedule is the set of hours that owe a rewrite, and which of them are being
// rewritten. It belongs to one goroutine.
type schedule struct {
	policy func(afterhours.Hour) Policy
	within time.Duration // whatever the policy says, an hour waits no longer; 0: it may
	now    bool          // do not wait: a drain
	began  time.Time     // when the service began, or partitions were last given away
	small  byDue
	giants byDue                        // apart, so that they wait for workers of their own
	hours  map[afterhours.Hour]*waiting // in the heap
	busy   map[afterhours.Hour]*waiting // being rewritten
	next   map[afterhours.Hour]*waiting // marked again while being rewritten
}

func newSchedule(policy func(afterhours.Hour) Policy, now bool) *schedule {
	return &schedule{
		policy: policy, now: now,
		hours: map[afterhours.Hour]*waiting{},
		busy:  map[afterhours.Hour]*waiting{},
		next:  map[afterhours.Hour]*waiting{},
	}
}

// emptySchedule returns a schedule by the configured policies. What waits for an eighth
// of the time that raw rows live is rewritten, so that none expires before it is in
// the lake; when a quarter has passed, something is wrong, and health says so.
func (c *Compactor) emptySchedule(now bool) *schedule {
	s := newSchedule(c.cfg.policy, now)
	s.within = c.store.TTL() / 8
	return s
}

// take adds a mark. An hour that is being rewritten may have been read before
// the marked rows were there, so its mark waits for another rewrite.
func (s *schedule) take(m dirty.Mark) {
	in, busy := s.hours, s.busy[m.Hour] != nil
	if busy {
		in = s.next
	}
	w := in[m.Hour]
	fresh := w == nil
	if fresh {
		w = &waiting{hour: m.Hour, first: m.Time, marks: map[int32]dirty.Mark{}, known: s.began, turn: s.turn(m.Hour), index: -1}
		in[m.Hour] = w
	}
	switch {
	case m.Since == 0:
		w.last = m.Time
	case fresh: // a mark that was only moved: nothing has come since
		w.first, w.last = m.Began(), m.Began()
	default:
		w.first = min(w.first, m.Began())
	}
	w.marks[m.Partition] = m
	if busy {
		return
	}
	if w.failures == 0 { // else the pause after a failure goes on
		w.due = s.dueAt(w)
	}
	s.push(w)
}

// notAhead returns a mark that does not wait for its time to come, if it is from a
// clock that is ahead.
func notAhead(m dirty.Mark, now afterhours.Micros) dirty.Mark {
	m.Time, m.Since = min(m.Time, now), min(m.Since, now)
	return m
}

func (s *schedule) dueAt(w *waiting) time.Time {
	if s.now {
		return time.Time{}
	}
	p := s.policy(w.hour)
	due := p.Due(w.hour, w.first, w.last)
	if !w.weighed.IsZero() {
		due = w.weighAgain(p, due)
	}
	if s.within > 0 {
		due = earlier(due, w.first.Time().Add(s.within))
	}
	return later(due, w.known)
}

// weighAgain returns when an hour whose rows did not outweigh its partition is to be
// looked at again: when they do, or, if more has come, after another quiet.
func (w *waiting) weighAgain(p Policy, due time.Time) time.Time {
	again := w.worth
	if w.last > w.heard {
		again = earlier(again, later(due, w.weighed.Add(p.quiet(w.hour, w.last))))
	}
	return earlier(again, w.first.Time().Add(p.MaxDelay))
}

// stay returns how long an hour may wait although it is due, if its rows do not
// outweigh its partition. What was marked while the hour ran is no late row, and an
// hour that failed is to show as soon as it can whether it works again.
func (s *schedule) stay(w *waiting) stay {
	p := s.policy(w.hour)
	if s.now || w.failures > 0 || p.RowWorth == 0 || p.early(w.hour, w.first) {
		return stay{}
	}
	until := w.first.Time().Add(p.MaxDelay)
	if s.within > 0 {
		until = earlier(until, w.first.Time().Add(s.within))
	}
	return stay{w.first, w.last, until}
}

// resume has the hours whose marks come from now on, and which are due already,
// served in a new order. By their marks, those that were served last time would come
// first again: their first mark was there before the others' last, which holds the
// committed offset. One who always ends before he comes to the rest would never
// come to it.
func (s *schedule) resume(now time.Time) { s.began = now }

// turn is a place among hours that are due at the same time. The hours of a type and a
// day follow each other: their partitions are in one directory, and their rows in the
// same blocks of the embedded store, so that each takes less of the disk.
type turn struct{ day, hour uint64 }

// turn draws an hour's.
func (s *schedule) turn(h afterhours.Hour) turn {
	return turn{s.draw(h.Type, afterhours.DayOf(h.Start)), s.draw(h)}
}

// draw returns a number that is another in every life of the service.
func (s *schedule) draw(of ...any) uint64 {
	hash := fnv.New64a()
	fmt.Fprint(hash, s.began.UnixNano(), of)
	return hash.Sum64()
}

func (t turn) compare(o turn) int {
	return cmp.Or(cmp.Compare(t.day, o.day), cmp.Compare(t.hour, o.hour))
}

// heapOf returns the heap of an hour's class.
func (s *schedule) heapOf(w *waiting) *byDue {
	if w.giant {
		return &s.giants
	}
	return &s.small
}

// push puts an hour where its due time belongs.
func (s *schedule) push(w *waiting) {
	if w.index < 0 {
		heap.Push(s.heapOf(w), w)
		return
	}
	heap.Fix(s.heapOf(w), w.index)
}

// start takes the most overdue hour for a rewrite, nil if none is due. Giants are
// taken only if there is room for one.
func (s *schedule) start(now time.Time, roomForGiant bool) *waiting {
	q := s.first(roomForGiant)
	if q == nil || (*q)[0].due.After(now) {
		return nil
	}
	w := heap.Pop(q).(*waiting)
	delete(s.hours, w.hour)
	s.busy[w.hour] = w
	return w
}

// first returns the heap with the most overdue hour, nil if no hour waits.
func (s *schedule) first(giantsToo bool) *byDue {
	if giantsToo && len(s.giants) > 0 && (len(s.small) == 0 || s.giants[0].due.Before(s.small[0].due)) {
		return &s.giants
	}
	if len(s.small) == 0 {
		return nil
	}
	return &s.small
}

// tooLarge puts an hour back that turned out to be a giant.
func (s *schedule) tooLarge(w *waiting) {
	s.back(w)
	w.giant = true
	s.push(w)
}

// notYet ends a rewrite that, as was found at now, is not worth it before the given
// time. The hour waits on, with all its marks.
func (s *schedule) notYet(w *waiting, now, worth time.Time) {
	w.weighed, w.heard, w.worth = now, w.last, worth
	s.back(w)
	w.due = s.dueAt(w)
	s.push(w)
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
	s.back(w)
	w.failures++
	w.due = again
	s.push(w)
}

// back makes an hour that was being rewritten wait again, with the marks that
// came meanwhile.
func (s *schedule) back(w *waiting) {
	delete(s.busy, w.hour)
	if n := s.next[w.hour]; n != nil {
		delete(s.next, w.hour)
		w.first, w.last = min(w.first, n.first), max(w.last, n.last)
		for p, m := range n.marks {
			w.marks[p] = m
		}
	}
	s.hours[w.hour] = w
}

// giveUp ends the work on an hour whose rewrite failed, and returns its marks.
func (s *schedule) giveUp(w *waiting) []dirty.Mark {
	s.back(w)
	delete(s.hours, w.hour)
	return slices.Collect(maps.Values(w.marks))
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
				heap.Remove(s.heapOf(w), w.index)
			}
			delete(set, h)
		}
	}
}

// nextDue returns when the next hour is due, false if none waits.
func (s *schedule) nextDue(giantsToo bool) (time.Time, bool) {
	q := s.first(giantsToo)
	if q == nil {
		return time.Time{}, false
	}
	return (*q)[0].due, true
}

// due returns how many hours are overdue or being rewritten. Hours that failed are
// counted although they wait for their next try: only success is progress; but
// not those whose next try is for the operator to make worth while.
func (s *schedule) due(now time.Time) int {
	n := len(s.busy)
	for _, w := range s.hours {
		if !w.stuck && (w.failures > 0 || !w.due.After(now)) {
			n++
		}
	}
	return n
}

// oldest returns the hour that waits longest, nil if none waits.
func (s *schedule) oldest() *waiting {
	var o *waiting
	for _, set := range []map[afterhours.Hour]*waiting{s.hours, s.busy} {
		for _, w := range set {
			if o == nil || w.first < o.first {
				o = w
			}
		}
	}
	return o
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
	return cmp.Or(q[i].turn.compare(q[j].turn), q[i].hour.Compare(q[j].hour)) < 0
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
