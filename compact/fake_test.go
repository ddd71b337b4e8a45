package compact

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
	"github.com/afterhours/afterhours/store"
)

// fakeStore is a store in memory. Fault is asked before every call: whether the
// call takes effect, and the error it returns.
type fakeStore struct {
	Fault func(op string, h afterhours.Hour) (apply bool, err error)

	mu         sync.Mutex
	lanes      map[afterhours.Hour]map[string]store.Lane
	rows       map[afterhours.Hour]map[string][]store.Row
	columns    map[string][]afterhours.Column
	requests   map[string]store.Request
	partitions map[afterhours.Hour]store.Partition
	stuck      map[afterhours.Hour]store.Stuck
	notes      map[string][]store.Note // by hour and lineage
	feed       []store.Publication
	swept      afterhours.Micros
	ttl        time.Duration
	calls      []string // every call, in order: "op hour lane"
}

func newFakeStore() *fakeStore {
	return &fakeStore{
		lanes:      map[afterhours.Hour]map[string]store.Lane{},
		rows:       map[afterhours.Hour]map[string][]store.Row{},
		columns:    map[string][]afterhours.Column{},
		requests:   map[string]store.Request{},
		partitions: map[afterhours.Hour]store.Partition{},
		stuck:      map[afterhours.Hour]store.Stuck{},
		notes:      map[string][]store.Note{},
		ttl:        30 * 24 * time.Hour,
	}
}

// call runs f under the lock, or does not, as Fault says.
func (s *fakeStore) call(op string, h afterhours.Hour, f func()) error {
	apply, err := true, error(nil)
	if s.Fault != nil {
		apply, err = s.Fault(op, h)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, op+" "+h.String())
	if apply {
		f()
	}
	return err
}

// append puts events into an open lane of their own, which it returns.
func (s *fakeStore) append(seg afterhours.Segment, first uint32, events ...afterhours.Event) store.Lane {
	return s.appendTo(store.OwnLane(seg), seg, first, events...)
}

// appendTo puts events into a lane.
func (s *fakeStore) appendTo(l store.Lane, seg afterhours.Segment, first uint32, events ...afterhours.Event) store.Lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := events[0].Hour()
	if s.lanes[h] == nil {
		s.lanes[h], s.rows[h] = map[string]store.Lane{}, map[string][]store.Row{}
	}
	for i, e := range events {
		id := afterhours.RowID{Segment: seg, Seq: first + uint32(i)}
		s.rows[h][l.Name] = append(s.rows[h][l.Name], store.Row{ID: id, Event: e})
	}
	s.lanes[h][l.Name] = l
	return l
}

// close closes a lane with the rows it has.
func (s *fakeStore) close(h afterhours.Hour, l store.Lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.Closed, l.Rows = true, int64(len(s.rows[h][l.Name]))
	s.lanes[h][l.Name] = l
}

// unlist removes the hour's raw rows and their index rows.
func (s *fakeStore) unlist(h afterhours.Hour) {
	s.expire(h)
	clear(s.lanes[h])
}

// expire removes the hour's raw rows; their index rows live on.
func (s *fakeStore) expire(h afterhours.Hour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.rows[h])
}

func (s *fakeStore) Lanes(_ context.Context, h afterhours.Hour) (out []store.Lane, err error) {
	err = s.call("Lanes", h, func() {
		out = slices.SortedFunc(maps.Values(s.lanes[h]), func(a, b store.Lane) int { return cmp.Compare(a.Name, b.Name) })
	})
	return out, err
}

func (s *fakeStore) ReadRows(_ context.Context, h afterhours.Hour, l store.Lane, _ afterhours.RowSet, visit func(store.Row) error) error {
	var rows []store.Row
	err := s.call("ReadRows", h, func() { rows = slices.Clone(s.rows[h][l.Name]) })
	for i, r := range rows {
		if err != nil && i == len(rows)/2 {
			return err // half of the rows were visited before the page failed
		}
		if err := visit(r); err != nil {
			return err
		}
	}
	return err
}

func (s *fakeStore) Columns(_ context.Context, eventType string) (out []afterhours.Column, err error) {
	err = s.call("Columns", afterhours.Hour{Type: eventType}, func() { out = s.columns[eventType] })
	return out, err
}

func (s *fakeStore) Hours(_ context.Context, visit func(afterhours.Hour) error) error {
	var hours []afterhours.Hour
	err := s.call("Hours", afterhours.Hour{}, func() { hours = slices.Collect(maps.Keys(s.lanes)) })
	for _, h := range hours {
		if err := visit(h); err != nil {
			return err
		}
	}
	return err
}

func (s *fakeStore) TTL() time.Duration { return s.ttl }

// Board returns the store itself: the tests have one lake.
func (s *fakeStore) Board(string) store.Board { return s }

func (s *fakeStore) Index(ctx context.Context, visit func(afterhours.Hour, []store.Lane) error) error {
	return s.Hours(ctx, func(h afterhours.Hour) error {
		lanes, err := s.Lanes(ctx, h)
		if err != nil || len(lanes) == 0 {
			return err
		}
		return visit(h, lanes)
	})
}

func (s *fakeStore) PutNotes(_ context.Context, h afterhours.Hour, lineage string, notes []store.Note) error {
	return s.call("PutNotes", h, func() {
		key := h.String() + lineage
		s.notes[key] = append(s.notes[key], notes...)
	})
}

func (s *fakeStore) Notes(_ context.Context, h afterhours.Hour, lineage string) (out []store.Note, err error) {
	err = s.call("Notes", h, func() { out = slices.Clone(s.notes[h.String()+lineage]) })
	return out, err
}

func (s *fakeStore) Partition(_ context.Context, h afterhours.Hour) (p store.Partition, ok bool, err error) {
	err = s.call("Partition", h, func() { p, ok = s.partitions[h] })
	return p, ok, err
}

func (s *fakeStore) Settled(ctx context.Context, visit func(store.Partition) error) error {
	return s.Partitions(ctx, visit)
}

func (s *fakeStore) PutPublications(_ context.Context, ps []store.Publication) error {
	return s.call("PutPublications", ps[0].Hour, func() { s.feed = append(s.feed, ps...) })
}

func (s *fakeStore) Feed(_ context.Context, from, to afterhours.Micros, visit func(store.Publication) error) error {
	for _, p := range s.feed {
		if p.At >= from && p.At < to {
			if err := visit(p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *fakeStore) PutSwept(_ context.Context, at afterhours.Micros) error {
	return s.call("PutSwept", afterhours.Hour{}, func() { s.swept = at })
}

func (s *fakeStore) Swept(context.Context) (at afterhours.Micros, err error) {
	err = s.call("Swept", afterhours.Hour{}, func() { at = s.swept })
	return at, err
}

func (s *fakeStore) PutRequest(_ context.Context, r store.Request) error {
	return s.call("PutRequest", r.Hour, func() { s.requests[r.Hour.String()+r.ID] = r })
}

func (s *fakeStore) Requests(_ context.Context, h afterhours.Hour) (out []store.Request, err error) {
	err = s.call("Requests", h, func() {
		for _, r := range s.requests {
			if r.Hour == h {
				out = append(out, r)
			}
		}
	})
	return out, err
}

func (s *fakeStore) DeleteRequest(_ context.Context, r store.Request) error {
	return s.call("DeleteRequest", r.Hour, func() { delete(s.requests, r.Hour.String()+r.ID) })
}

func (s *fakeStore) PutPartition(_ context.Context, p store.Partition) error {
	return s.call("PutPartition", p.Hour, func() { s.partitions[p.Hour] = p })
}

func (s *fakeStore) Partitions(_ context.Context, visit func(store.Partition) error) error {
	for _, p := range s.partitions {
		if err := visit(p); err != nil {
			return err
		}
	}
	return nil
}

func (s *fakeStore) PutStuck(_ context.Context, k store.Stuck) error {
	return s.call("PutStuck", k.Hour, func() { s.stuck[k.Hour] = k })
}

func (s *fakeStore) ClearStuck(_ context.Context, h afterhours.Hour) error {
	return s.call("ClearStuck", h, func() { delete(s.stuck, h) })
}

func (s *fakeStore) StuckHours(context.Context) ([]store.Stuck, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.stuck)), nil
}

// fakeQueue is a queue with one partition and one group, in memory.
type fakeQueue struct {
	mu     sync.Mutex
	log    []dirty.Mark
	read   int
	done   map[int64]bool
	more   chan struct{} // closed and replaced when a mark is appended
	drain  bool
	revoke []int32 // handed out by the next Poll
	gaps   []int32 // likewise
	told   bool    // that there are gaps
	noted  bool    // it was polled again after that
	slack  int64   // of Behind; 0: nothing is ever behind
}

func newFakeQueue(drain bool) *fakeQueue {
	return &fakeQueue{done: map[int64]bool{}, more: make(chan struct{}), drain: drain}
}

func (q *fakeQueue) Mark(_ context.Context, hours ...afterhours.Hour) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, h := range hours {
		m := dirty.Mark{Mark: afterhours.Mark{Hour: h, Time: afterhours.MicrosOf(time.Now())}, Offset: int64(len(q.log))}
		q.log = append(q.log, m)
	}
	close(q.more)
	q.more = make(chan struct{})
	return nil
}

func (q *fakeQueue) Poll(ctx context.Context) (dirty.Polled, error) {
	for {
		q.mu.Lock()
		q.noted = q.noted || q.told
		q.told = q.told || len(q.gaps) > 0
		p := dirty.Polled{Marks: slices.Clone(q.log[q.read:]), Revoked: q.revoke, Gaps: q.gaps}
		q.read, q.revoke, q.gaps = len(q.log), nil, nil
		more := q.more
		q.mu.Unlock()
		if len(p.Marks) > 0 || len(p.Revoked) > 0 || len(p.Gaps) > 0 {
			return p, nil
		}
		if q.drain {
			return p, io.EOF
		}
		select {
		case <-more:
		case <-ctx.Done():
			return p, ctx.Err()
		}
	}
}

func (q *fakeQueue) Done(m dirty.Mark) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, o := range q.log {
		if o.Hour == m.Hour && o.Offset <= m.Offset {
			q.done[o.Offset] = true
		}
	}
}

// Behind returns the last undone mark of each hour that is slack marks back.
func (q *fakeQueue) Behind() []dirty.Mark {
	q.mu.Lock()
	defer q.mu.Unlock()
	last := map[afterhours.Hour]dirty.Mark{}
	for _, m := range q.log[:q.read] {
		if !q.done[m.Offset] {
			last[m.Hour] = m
		}
	}
	var out []dirty.Mark
	for _, m := range last {
		if q.slack > 0 && m.Offset < int64(q.read)-q.slack {
			out = append(out, m)
		}
	}
	return out
}

// Defer marks again, and is done with the old marks.
func (q *fakeQueue) Defer(ctx context.Context, marks ...dirty.Mark) error {
	for _, m := range marks {
		if err := q.Mark(ctx, m.Hour); err != nil {
			return err
		}
		q.mu.Lock()
		q.log[len(q.log)-1].Since = cmp.Or(m.Since, m.Time)
		q.mu.Unlock()
		q.Done(m)
	}
	return nil
}

func (q *fakeQueue) Close() error { return nil }

func (q *fakeQueue) Pending(context.Context, string) ([]dirty.Mark, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []dirty.Mark
	for _, m := range q.log {
		if !q.done[m.Offset] {
			out = append(out, m)
		}
	}
	return out, nil
}

// undone returns how many marks are not done.
func (q *fakeQueue) undone(t *testing.T) int {
	t.Helper()
	m, err := q.Pending(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return len(m)
}

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// event makes the n-th event of the purchase hour that begins at noon.
func event(n int) afterhours.Event {
	return afterhours.NewEvent(fmt.Sprintf("e%04d", n), "purchase", noon.Add(time.Duration(n)*time.Second),
		noon.Add(2*time.Hour), fmt.Appendf(nil, `{"n":%d,"user_id":"u%d"}`, n, n%7))
}

func events(from, to int) (out []afterhours.Event) {
	for n := from; n < to; n++ {
		out = append(out, event(n))
	}
	return out
}

// runInBackground has a compactor run until the returned function is called, which
// returns what Run ended with.
func runInBackground(t *testing.T, c *Compactor, q *fakeQueue) (end func() error) {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := c.Run(ctx, q, q)
		ended <- err
	}()
	return func() error {
		stop()
		return <-ended
	}
}
