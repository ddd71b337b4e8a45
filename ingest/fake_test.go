package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// errFault is what calls fail with.
var errFault = errors.New("fault")

// Fault decides about one call: whether it is applied, and what it returns.
type Fault func(op string, h afterhours.Hour) (apply bool, err error)

// fake is a Store and Marks in memory. It checks every call against the rules
// that a Writer has to keep, and every acknowledgement against the promise.
type fake struct {
	t     testing.TB
	fault Fault
	now   func() time.Time // the Writer's clock, if it is not the real one
	ttl   time.Duration

	mu       sync.Mutex
	clock    int // counts what happens, so that "after" has a meaning
	lanes    map[laneKey]*fakeLane
	segments map[afterhours.Segment]string // the name of the lanes it lies in
	types    map[string]bool
	copies   map[string][]*fakeRow     // by event ID
	marks    map[afterhours.Hour][]int // when calls that succeeded began
	declared map[string][]afterhours.Column
	inFlight int            // Mark calls
	acks     map[string]int // by event ID
	calls    map[string]int // by op
}

type laneKey struct {
	hour afterhours.Hour
	name string
}

// fakeLane is a lane and its index row.
type fakeLane struct {
	laneKey
	rows    map[afterhours.RowID]*fakeRow
	index   *store.Lane
	indexed int       // when the index row was acknowledged, 0: never
	listed  time.Time // the same by the Writer's clock
	renewed time.Time // when the acknowledged call that wrote it last began
	closing bool      // a closing call was made
}

// shared returns the lane's receipt day, if writers share it.
func (l *fakeLane) shared() (afterhours.Day, bool) { return store.Lane{Name: l.name}.Shared() }

type fakeRow struct {
	lane  *fakeLane
	event afterhours.Event
	wrote afterhours.Micros
	kept  bool
	acked int       // when it was acknowledged, 0: never
	at    time.Time // the same by the Writer's clock
	tries int
}

func (f *fake) TTL() time.Duration { return f.ttl }

func newFake(t testing.TB) *fake {
	return &fake{
		ttl:      30 * 24 * time.Hour,
		t:        t,
		fault:    func(string, afterhours.Hour) (bool, error) { return true, nil },
		now:      time.Now,
		lanes:    map[laneKey]*fakeLane{},
		segments: map[afterhours.Segment]string{},
		types:    map[string]bool{},
		copies:   map[string][]*fakeRow{},
		marks:    map[afterhours.Hour][]int{},
		declared: map[string][]afterhours.Column{},
		acks:     map[string]int{},
		calls:    map[string]int{},
	}
}

// begin counts a call and asks for its fault without holding the lock, so that
// faults may block.
func (f *fake) begin(op string, h afterhours.Hour) (began int, apply bool, err error) {
	f.mu.Lock()
	f.calls[op]++
	f.clock++
	began = f.clock
	f.mu.Unlock()
	apply, err = f.fault(op, h)
	return began, apply, err
}

func (f *fake) lane(h afterhours.Hour, name string) *fakeLane {
	key := laneKey{h, name}
	l := f.lanes[key]
	if l == nil {
		l = &fakeLane{laneKey: key, rows: map[afterhours.RowID]*fakeRow{}}
		f.lanes[key] = l
	}
	return l
}

func (f *fake) PutLane(ctx context.Context, h afterhours.Hour, row store.Lane) error {
	op, at := "index", f.now()
	f.mu.Lock()
	l := f.lane(h, row.Name)
	if row.Closed {
		op = "close"
		l.closing = true
		if _, shared := l.shared(); shared {
			f.t.Errorf("shared lane %s of %s is closed", row.Name, h)
		}
		f.checkClose(l, row)
	} else if l.closing {
		f.t.Errorf("lane %s is opened again after it was closed", row.Name)
	}
	f.mu.Unlock()

	_, apply, err := f.begin(op, h)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clock++
	if apply {
		l.index = &row
	}
	if err == nil {
		l.renewed = at
		if l.indexed == 0 {
			l.indexed, l.listed = f.clock, f.now()
		}
	}
	return err
}

// checkClose checks that a lane is closed with exact numbers, when all its rows
// are acknowledged.
func (f *fake) checkClose(l *fakeLane, row store.Lane) {
	var size int64
	for id, r := range l.rows {
		size += int64(len(store.AppendEvent(nil, r.event)))
		if r.acked == 0 {
			f.t.Errorf("lane %s is closed before its row %d is acknowledged", row.Name, id.Seq)
		}
		if int64(id.Seq) >= row.Rows {
			f.t.Errorf("lane %s is closed with %d rows and has row %d", row.Name, row.Rows, id.Seq)
		}
	}
	if row.Rows != int64(len(l.rows)) || row.Bytes != size {
		f.t.Errorf("lane %s is closed with %d rows, %d bytes, has %d and %d", row.Name, row.Rows, row.Bytes, len(l.rows), size)
	}
}

func (f *fake) Append(ctx context.Context, h afterhours.Hour, lane string, wrote afterhours.Micros, rows []store.Row) error {
	f.mu.Lock()
	l := f.lane(h, lane)
	if l.closing {
		f.t.Errorf("lane %s gets rows after it was closed", lane)
	}
	for _, r := range rows {
		f.checkRow(l, wrote, r)
	}
	f.mu.Unlock()

	_, apply, err := f.begin("append", h)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && slices.ContainsFunc(rows, func(r store.Row) bool { return f.refuses(r) }) {
		apply, err = false, fmt.Errorf("row too strange: %w", store.ErrRefused)
	}
	f.clock++
	for _, r := range rows {
		kept := l.rows[r.ID]
		kept.kept = kept.kept || apply
		if err == nil {
			kept.acked, kept.at = f.clock, f.now()
		}
		if f.refuses(r) {
			delete(l.rows, r.ID)
		}
	}
	return err
}

// refuses reports whether the row is one of those that no store takes.
func (f *fake) refuses(r store.Row) bool {
	return bytes.Contains(r.Event.Payload, poison) && r.Event.Type[0] != '_'
}

// checkRow checks that a row number has the same event and write timestamp
// whenever it comes, and that a segment lies in one lane, or in those of one day.
func (f *fake) checkRow(l *fakeLane, wrote afterhours.Micros, r store.Row) {
	day, shared := l.shared()
	if name, used := f.segments[r.ID.Segment]; used && name != l.name || !shared && r.ID.Segment.String() != l.name {
		f.t.Errorf("a row of segment %s is in lane %s, others are in %s", r.ID.Segment, l.name, name)
	}
	f.segments[r.ID.Segment] = l.name
	if shared && day != afterhours.DayOf(wrote) {
		f.t.Errorf("a row sent at %s is in lane %s", wrote, l.name)
	}
	if err := r.Event.Validate(); err != nil || r.Event.Hour() != l.hour {
		f.t.Errorf("row of %s in %s: %v", r.Event.Hour(), l.hour, err)
	}
	old := l.rows[r.ID]
	if old == nil {
		row := &fakeRow{lane: l, event: r.Event, wrote: wrote, tries: 1}
		l.rows[r.ID] = row
		f.copies[r.Event.ID] = append(f.copies[r.Event.ID], row)
		return
	}
	old.tries++
	if old.wrote != wrote || old.event.ID != r.Event.ID || !bytes.Equal(old.event.Payload, r.Event.Payload) {
		f.t.Errorf("row %d of %s comes again as another one: %v %s, %v %s", r.ID.Seq, l.name, old.wrote, old.event.ID, wrote, r.Event.ID)
	}
}

func (f *fake) DeclareColumns(ctx context.Context, eventType string, cols []afterhours.Column) error {
	_, apply, err := f.begin("columns", afterhours.Hour{Type: eventType})
	f.mu.Lock()
	defer f.mu.Unlock()
	if apply {
		f.declared[eventType], f.types[eventType] = cols, true
	}
	return err
}

func (f *fake) DeclareType(ctx context.Context, eventType string) error {
	_, apply, err := f.begin("type", afterhours.Hour{Type: eventType})
	f.mu.Lock()
	defer f.mu.Unlock()
	if apply {
		f.types[eventType] = true
	}
	return err
}

func (f *fake) Types(ctx context.Context, visit func(string) error) error {
	_, _, err := f.begin("types", afterhours.Hour{})
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range f.types {
		if err := visit(name); err != nil {
			return err
		}
	}
	return err
}

func (f *fake) Mark(ctx context.Context, hours ...afterhours.Hour) error {
	f.mu.Lock()
	f.inFlight++
	if f.inFlight > 1 {
		f.t.Errorf("%d Mark calls in flight", f.inFlight)
	}
	f.mu.Unlock()
	began, _, err := f.begin("mark", hours[0])
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inFlight--
	f.clock++
	if err != nil {
		return err
	}
	seen := map[afterhours.Hour]bool{}
	for _, h := range hours {
		if seen[h] {
			f.t.Errorf("%s is marked twice in one call", h)
		}
		seen[h] = true
		f.marks[h] = append(f.marks[h], began)
	}
	return nil
}

// acked is the oracle of promise 1: whoever acknowledges e must be able to name
// a row of it and its index row, both acknowledged, the index row young, and a
// mark of its hour that was made after both. In a shared lane both were in time.
// The type was declared before.
func (f *fake) acked(e afterhours.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clock++
	f.acks[e.ID]++
	if !f.types[e.Type] {
		f.t.Errorf("%s is acknowledged before its type %s is declared", e.ID, e.Type)
	}
	for _, r := range f.copies[e.ID] {
		l := r.lane
		if r.acked == 0 || l.indexed == 0 || r.event.Type != e.Type || f.tooLate(r) {
			continue
		}
		if old := r.at.Sub(l.renewed); old > time.Hour+time.Minute {
			f.t.Errorf("%s is acknowledged %v after its index row was written", e.ID, old)
		}
		for _, began := range f.marks[l.hour] {
			if began > r.acked && began > l.indexed {
				return
			}
		}
	}
	f.t.Errorf("%s of %s is acknowledged without row, index row and later mark", e.ID, e.Hour())
}

// tooLate reports whether a row or its index row came into a shared lane when
// nobody looks there any more.
func (f *fake) tooLate(r *fakeRow) bool {
	day, shared := r.lane.shared()
	end := day.End().Time().Add(24 * time.Hour)
	return shared && (!r.at.Before(end) || !r.lane.listed.Before(end))
}

// testEvent makes the n-th event of an hour of the test day.
func testEvent(hour, n int) afterhours.Event {
	at := time.Date(2026, 11, 20, hour, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Millisecond)
	id := fmt.Sprintf("%d-%d", hour, n)
	return afterhours.NewEvent(id, "purchase", at, at, fmt.Appendf(nil, `{"id":%q}`, id))
}

// straggler makes the n-th event of an hour of the year before the tests' clock
// begins, in 2000.
func straggler(hour, n int) afterhours.Event {
	at := time.Date(1999, 11, 20, hour, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Millisecond)
	id := fmt.Sprintf("late-%d-%d", hour, n)
	return afterhours.NewEvent(id, "purchase", at, at.Add(time.Hour), fmt.Appendf(nil, `{"id":%q}`, id))
}

// poison makes the fake refuse a row.
var poison = []byte("POISON")

// testRecord is the record an event was made from.
func testRecord(e afterhours.Event) Record {
	return Record{Bytes: e.Payload, Source: "test", Position: e.ID, Time: e.Time.Time()}
}

// write hands an event to the writer, with the oracle as its acknowledgement.
func (f *fake) write(w *Writer, e afterhours.Event) {
	f.t.Helper()
	from := testRecord(e)
	kept := e
	if bytes.Contains(e.Payload, poison) {
		kept = quarantine(from, "", 0)
	}
	if err := w.Write(context.Background(), e, from, func() { f.acked(kept) }); err != nil {
		f.t.Errorf("write %s: %v", e.ID, err)
	}
}

// start runs a Writer and returns what ends it gracefully.
func (f *fake) start(o Options) (*Writer, func() error) {
	o.Now = f.now
	w := New(f, f, o)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(context.Background()) }()
	return w, func() error { w.Close(); return <-ended }
}

// allAcked checks that the events were acknowledged once each, and nothing else.
func (f *fake) allAcked(events ...afterhours.Event) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range events {
		if n := f.acks[e.ID]; n != 1 {
			f.t.Errorf("%s is acknowledged %d times", e.ID, n)
		}
	}
	if len(f.acks) != len(events) {
		f.t.Errorf("%d events are acknowledged, %d were written", len(f.acks), len(events))
	}
}

func (f *fake) count(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// openLanes returns how many own lanes are not closed.
func (f *fake) openLanes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, l := range f.lanes {
		if _, shared := l.shared(); !shared && (l.index == nil || !l.index.Closed) {
			n++
		}
	}
	return n
}
