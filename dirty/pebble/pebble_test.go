package pebble

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
	"github.com/afterhours/afterhours/dirty/dirtytest"
	"github.com/afterhours/afterhours/internal/embedded"
)

// TestContract shows that the embedded queue keeps the contract.
func TestContract(t *testing.T) {
	dirtytest.Run(t, func(t *testing.T) dirty.Queue { return open(t, t.TempDir()) })
}

// open opens a queue that the test closes, or its end does.
func open(t *testing.T, dir string) *Queue {
	t.Helper()
	q, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

func hour(n int) afterhours.Hour { return afterhours.HourOf("purchase", afterhours.Micros(n)*3_600e6) }

func mark(t *testing.T, q *Queue, ns ...int) {
	t.Helper()
	var hs []afterhours.Hour
	for _, n := range ns {
		hs = append(hs, hour(n))
	}
	if err := q.Mark(t.Context(), hs...); err != nil {
		t.Fatal(err)
	}
}

// stored returns the offsets of the marks in the log.
func stored(t *testing.T, q *Queue) []int64 {
	t.Helper()
	marks, err := q.Pending(t.Context(), "a group that does not exist")
	if err != nil {
		t.Fatal(err)
	}
	var offsets []int64
	for _, m := range marks {
		offsets = append(offsets, m.Offset)
	}
	return offsets
}

func wantOffsets(t *testing.T, got []int64, want ...int64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("offsets in the log: %v, want %v", got, want)
	}
}

// TestOnlyTheLastMarkIsKept shows that the log stays as small as the number of
// hours, also when a call marks an hour twice.
func TestOnlyTheLastMarkIsKept(t *testing.T) {
	q := open(t, t.TempDir())
	mark(t, q, 1, 2, 3)
	wantOffsets(t, stored(t, q), 0, 1, 2)
	mark(t, q, 2)
	wantOffsets(t, stored(t, q), 0, 2, 3)
	mark(t, q, 1, 3, 1, 1)
	wantOffsets(t, stored(t, q), 3, 5, 7)
}

// TestReopened shows that marks, floors and the next offset outlive the process.
func TestReopened(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	mark(t, q, 1, 2, 3)
	c, err := q.Consume(t.Context(), "g", dirty.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Poll(t.Context())
	if err != nil || len(p.Marks) != 3 {
		t.Fatalf("polled %v, error %v", p, err)
	}
	c.Done(p.Marks[0])
	c.Done(p.Marks[2])
	if err := errors.Join(c.Close(), q.Close()); err != nil {
		t.Fatal(err)
	}
	q = open(t, dir)
	wantOffsets(t, stored(t, q), 0, 1, 2)
	if left, err := q.Pending(t.Context(), "g"); err != nil || len(left) != 2 || left[0].Offset != 1 {
		t.Errorf("pending %v, want offsets 1 and 2, error %v", left, err)
	}
	mark(t, q, 2)
	wantOffsets(t, stored(t, q), 0, 2, 3)
}

// poll hands out n marks.
func poll(t *testing.T, c dirty.Consumer, n int) []dirty.Mark {
	t.Helper()
	p, err := c.Poll(t.Context())
	if err != nil || len(p.Marks) != n {
		t.Fatalf("polled %v, want %d marks, error %v", p.Marks, n, err)
	}
	return p.Marks
}

// TestDeferredOutlivesTheProcess shows that a deferred mark takes the place of the
// old one in the log, and that since when its hour waits is kept on disk. The
// queue's time is the one it is told.
func TestDeferredOutlivesTheProcess(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	open := func() *Queue {
		q, err := Open(dir, Options{Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	q := open()
	mark(t, q, 1, 2, 3)
	c, err := q.Consume(t.Context(), "g", dirty.Options{})
	if err != nil {
		t.Fatal(err)
	}
	old := poll(t, c, 3)
	now = now.Add(time.Hour)
	if err := errors.Join(c.Defer(t.Context(), old[0], old[2]), c.Close(), q.Close()); err != nil {
		t.Fatal(err)
	}
	q = open()
	defer func() { _ = q.Close() }()
	wantOffsets(t, stored(t, q), 1, 3, 4)
	left, err := q.Pending(t.Context(), "g")
	want := afterhours.Mark{Hour: hour(3), Time: afterhours.MicrosOf(now), Since: afterhours.MicrosOf(now.Add(-time.Hour))}
	if err != nil || len(left) != 3 || left[2].Mark != want {
		t.Errorf("pending %+v, want %+v last, error %v", left, want, err)
	}
}

// TestOffsetsAreNeverReused shows that the offset after a reopening does not
// depend on which marks are left: here the newest one was taken away.
func TestOffsetsAreNeverReused(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	mark(t, q, 1, 2)
	if err := errors.Join(q.db.Delete(markKey(1), nil), q.db.Delete(hourKey(hour(2).String()), nil), q.Close()); err != nil {
		t.Fatal(err)
	}
	q = open(t, dir)
	mark(t, q, 3)
	wantOffsets(t, stored(t, q), 0, 2)
}

// TestDrainLeavesNewerMarks shows that a drain ends where the log ended when it
// began, even if marks keep coming and displace those before.
func TestDrainLeavesNewerMarks(t *testing.T) {
	q := open(t, t.TempDir())
	mark(t, q, 1, 2)
	c, err := q.Consume(t.Context(), "g", dirty.Options{Drain: true})
	if err != nil {
		t.Fatal(err)
	}
	mark(t, q, 2, 3)
	p, err := c.Poll(t.Context())
	if err != nil || len(p.Marks) != 1 || p.Marks[0].Hour != hour(1) {
		t.Errorf("drained %v, want %s, error %v", p.Marks, hour(1), err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, stored(t, q), 0, 2, 3)
}

// TestOneConsumerOfAGroup shows that the second is refused until the first is
// closed.
func TestOneConsumerOfAGroup(t *testing.T) {
	q := open(t, t.TempDir())
	c, err := q.Consume(t.Context(), "g", dirty.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Consume(t.Context(), "g", dirty.Options{}); err == nil || !strings.Contains(err.Error(), `"g"`) {
		t.Errorf("second consumer: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err = q.Consume(t.Context(), "g", dirty.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestUnreadableHour shows that an hour whose text cannot be read back is
// refused before it is in the log, where it would block every group.
func TestUnreadableHour(t *testing.T) {
	q := open(t, t.TempDir())
	for _, h := range []afterhours.Hour{{}, {Type: "a\nb"}, {Type: "a\xff"}, {Type: "a", Start: 1}, {Type: "_a"}} {
		if err := q.Mark(t.Context(), hour(1), h); err == nil {
			t.Errorf("hour %+v was marked", h)
		}
	}
	wantOffsets(t, stored(t, q))
}

// TestCloseWhileWaiting shows that a consumer which waits is told, and that
// nothing works after Close instead of being lost.
func TestCloseWhileWaiting(t *testing.T) {
	q := open(t, t.TempDir())
	c, err := q.Consume(t.Context(), "g", dirty.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := c.Poll(t.Context()); err != nil || len(p.Gaps) != 1 {
		t.Fatalf("poll of a new group: %+v, %v; want to be told of a gap", p, err)
	}
	polled := make(chan error, 1)
	go func() {
		_, err := c.Poll(context.Background())
		polled <- err
	}()
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-polled; !errors.Is(err, embedded.ErrClosed) {
		t.Errorf("poll: %v, want %v", err, embedded.ErrClosed)
	}
	if q.Mark(t.Context(), hour(1)) == nil {
		t.Error("an hour was marked in a closed queue")
	}
	if err := c.Close(); !errors.Is(err, embedded.ErrClosed) {
		t.Errorf("close consumer: %v, want %v", err, embedded.ErrClosed)
	}
}

// TestInUse shows that the error is the queue's.
func TestInUse(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "embedded queue "+dir) {
		t.Errorf("second open: %v", err)
	}
}

// TestDamaged shows that what cannot be read is an error, never a mark left out.
func TestDamaged(t *testing.T) {
	for name, damage := range map[string]func(db *embedded.DB) error{
		"a mark that is no JSON":    func(db *embedded.DB) error { return db.Set(markKey(1), []byte("x"), pebble.Sync) },
		"a mark of no hour":         func(db *embedded.DB) error { return db.Set(markKey(1), []byte(`{"Hour":"x"}`), pebble.Sync) },
		"a mark without an offset":  func(db *embedded.DB) error { return db.Set(append(markKey(1), 0), []byte(`{}`), pebble.Sync) },
		"a floor that is no offset": func(db *embedded.DB) error { return db.Set(groupKey("g"), []byte("x"), pebble.Sync) },
	} {
		t.Run(name, func(t *testing.T) {
			q := open(t, t.TempDir())
			mark(t, q, 1, 2, 3)
			if err := damage(q.db); err != nil {
				t.Fatal(err)
			}
			if marks, err := q.Pending(t.Context(), "g"); err == nil {
				t.Errorf("pending %v without an error", marks)
			}
		})
	}
}
