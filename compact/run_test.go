package compact

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// TestDrainServesEverything: every mark that was there is done, and the lake has
// every event.
func TestDrainServesEverything(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	q := newFakeQueue(true)
	for n := range 20 {
		e := event(0)
		e.Time += afterhours.Micros(n * int(time.Hour/time.Microsecond))
		s.append(afterhours.NewSegment(), 0, e)
		if err := q.Mark(t.Context(), e.Hour()); err != nil {
			t.Fatal(err)
		}
	}
	sum, err := newCompactor(t, s, l).Drain(t.Context(), q, Limits{})
	if err != nil || sum.Rewritten != 20 || sum.Added != 20 {
		t.Errorf("summary %+v, error %v; want 20 hours rewritten", sum, err)
	}
	if q.undone(t) != 0 {
		t.Errorf("%d marks are not done", q.undone(t))
	}
}

// TestMarkIsDoneOnlyAfterThePublish is promise 2 under a crash: a rewrite that
// did not publish leaves its marks.
func TestMarkIsDoneOnlyAfterThePublish(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	q := newFakeQueue(true)
	s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	if err := q.Mark(t.Context(), testHour); err != nil {
		t.Fatal(err)
	}
	s.Fault = func(op string, _ afterhours.Hour) (bool, error) {
		if op == "ReadRows" {
			if q.undone(t) != 1 {
				t.Error("the mark was done before the publish")
			}
			return false, errors.New("boom")
		}
		return true, nil
	}
	sum, err := newCompactor(t, s, l).Drain(t.Context(), q, Limits{})
	if err == nil || sum.Failed != 1 {
		t.Errorf("summary %+v, error %v; want one failed hour", sum, err)
	}
	if q.undone(t) != 1 {
		t.Error("the mark of a failed hour was done")
	}
}

// TestMarkDuringRewriteIsServed: the rows of a mark that comes while its hour is
// read, and that the read did not see, are in the lake at the end.
func TestMarkDuringRewriteIsServed(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	q := newFakeQueue(false)
	s.append(afterhours.NewSegment(), 0, event(0))
	if err := q.Mark(t.Context(), testHour); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var once sync.Once
	s.Fault = func(op string, _ afterhours.Hour) (bool, error) {
		if op == "Columns" { // the index was read: what comes now is not seen
			once.Do(func() {
				s.append(afterhours.NewSegment(), 0, event(1))
				if err := q.Mark(ctx, testHour); err != nil {
					t.Error(err)
				}
			})
		}
		return true, nil
	}
	c := newCompactor(t, s, l)
	c.cfg.Policy = Policy{}
	var rewrites atomic.Int32
	c.cfg.Finished = func(Outcome) {
		if rewrites.Add(1) == 2 {
			stop()
		}
	}
	if _, err := c.Run(ctx, q, q); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, l, events(0, 2))
	if q.undone(t) != 0 {
		t.Errorf("%d marks are not done", q.undone(t))
	}
}

// TestStuckHour: an hour whose object cannot be read is recorded, keeps its mark
// and its object, and holds up nobody; once it is right again, so is the record.
func TestStuckHour(t *testing.T) {
	s := newFakeStore()
	l, dir := openLake(t)
	c := newCompactor(t, s, l)
	s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	rewrite(t, c)
	path := object(t, dir)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	truncate(t, path)
	broken, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s.append(afterhours.NewSegment(), 0, events(10, 20)...)
	other := event(0)
	other.Time += afterhours.Micros(time.Hour / time.Microsecond)
	s.append(afterhours.NewSegment(), 0, other)
	q := newFakeQueue(true)
	if err := q.Mark(t.Context(), testHour, other.Hour()); err != nil {
		t.Fatal(err)
	}
	sum, err := c.Drain(t.Context(), q, Limits{})
	if err == nil || sum.Failed != 1 || sum.Rewritten != 1 {
		t.Errorf("summary %+v, error %v; want the other hour rewritten and this one failed", sum, err)
	}
	if _, stuck := s.stuck[testHour]; !stuck || q.undone(t) != 1 {
		t.Errorf("stuck %v, %d marks left; want the hour recorded and its mark kept", s.stuck, q.undone(t))
	}
	if now, err := os.ReadFile(path); err != nil || string(now) != string(broken) {
		t.Errorf("the broken object was touched (%v)", err)
	}

	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	q.read = 0
	if _, err := c.Drain(t.Context(), q, Limits{}); err != nil {
		t.Fatal(err)
	}
	if len(s.stuck) != 0 || q.undone(t) != 0 {
		t.Errorf("stuck %v, %d marks left; want neither", s.stuck, q.undone(t))
	}
	wantEvents(t, l, events(0, 20))
}

// TestStuckRecordMayBeThereAllTheSame: if the answer to its write was lost, it is
// removed as well when the hour works again.
func TestStuckRecordMayBeThereAllTheSame(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	v := &server{Compactor: newCompactor(t, s, l), stuck: map[afterhours.Hour]store.Stuck{}}
	s.Fault = func(op string, _ afterhours.Hour) (bool, error) {
		if op == "PutStuck" {
			return true, errors.New("timed out")
		}
		return true, nil
	}
	v.stick(t.Context(), testHour, ErrVanished)
	if len(s.stuck) != 1 {
		t.Fatal("there is no record")
	}
	v.unstick(t.Context(), testHour)
	if len(s.stuck) != 0 {
		t.Errorf("stuck %v, want nothing", s.stuck)
	}
}

// TestShutdownFinishesWorkUnderWay: a rewrite that began is published and its
// mark done, although the context ended.
func TestShutdownFinishesWorkUnderWay(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	q := newFakeQueue(false)
	s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	if err := q.Mark(t.Context(), testHour); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	s.Fault = func(op string, _ afterhours.Hour) (bool, error) {
		if op == "ReadRows" {
			stop()
		}
		return true, nil
	}
	c := newCompactor(t, s, l)
	c.cfg.Policy = Policy{}
	sum, err := c.Run(ctx, q, q)
	if err != nil || sum.Rewritten != 1 || q.undone(t) != 0 {
		t.Errorf("summary %+v, error %v, %d marks left; want the work finished", sum, err, q.undone(t))
	}
	wantEvents(t, l, events(0, 10))
}

// TestStatus shows what waits, what is stuck and what is published.
func TestStatus(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	rewrite(t, c)
	q := newFakeQueue(false)
	if err := q.Mark(t.Context(), testHour, testHour); err != nil {
		t.Fatal(err)
	}
	s.stuck[testHour] = store.Stuck{Hour: testHour, Reason: "because"}
	got, err := c.Status(t.Context(), q, "g")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Waiting) != 1 || got.Waiting[0].Hour != testHour || len(got.Stuck) != 1 {
		t.Errorf("waiting %v, stuck %v; want the test hour once in each", got.Waiting, got.Stuck)
	}
	if len(got.Types) != 1 || got.Types[0].Rows != 10 || got.Types[0].Late != 10 || got.Types[0].Partitions != 1 {
		t.Errorf("types %+v, want one with 10 rows, all late, in one partition", got.Types)
	}
}
