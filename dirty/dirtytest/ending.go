package dirtytest

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/afterhours/afterhours/dirty"
)

// drainEmpty drains a log without marks, and one whose marks are all done.
func drainEmpty(t *testing.T, q dirty.Queue) {
	wantHours(t, "an empty log", leftover(t, q, "g"), nil)
	hs := hours(5)
	mark(t, q, hs...)
	r := consume(t, q, "g", dirty.Options{Drain: true})
	r.serve(r.drain(t), hs...)
	check(t, r.Close())
	wantHours(t, "a log whose marks are done", leftover(t, q, "g"), nil)
}

// drainAll needs several polls, and ends for good.
func drainAll(t *testing.T, q dirty.Queue) {
	hs := hours(2_500)
	mark(t, q, hs...)
	mark(t, q, hs[:100]...)
	r := consume(t, q, "g", dirty.Options{Drain: true})
	wantHours(t, "drained", sorted(r.drain(t)), hs)
	if _, err := r.Poll(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("poll after the end: %v, want %v", err, io.EOF)
	}
	check(t, r.Close())
}

// drainUndone shows that io.EOF does not wait for Done, nor stand for it.
func drainUndone(t *testing.T, q dirty.Queue) {
	hs := hours(5)
	mark(t, q, hs...)
	for range 2 {
		wantHours(t, "drained", leftover(t, q, "g"), hs)
	}
}

// lastMarkStays marks one hour a thousand times: however much of that the log
// drops, old and new groups get a mark above all that came before.
func lastMarkStays(t *testing.T, q dirty.Queue) {
	h := hours(1)[0]
	mark(t, q, h)
	r := consume(t, q, "old", dirty.Options{})
	first := r.until(t, h)[h]
	r.Done(first)

	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 124 {
				if err := q.Mark(t.Context(), h); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	mark(t, q, h, h, h, h, h, h, h)

	fresh := consume(t, q, "new", dirty.Options{Drain: true})
	last := fresh.drain(t)[h]
	check(t, fresh.Close())
	if last.Partition != first.Partition || last.Offset < first.Offset+999 {
		t.Fatalf("last mark %+v, first %+v: want 999 offsets further on", last, first)
	}
	for at := first; at.Offset < last.Offset; {
		at = r.until(t, h)[h]
		r.Done(at)
	}
	check(t, r.Close())
	wantHours(t, "pending of the old group", pending(t, q, "old"), nil)
}

// markAtOnce marks from many goroutines while a consumer reads.
func markAtOnce(t *testing.T, q dirty.Queue) {
	hs := hours(160)
	r := consume(t, q, "g", dirty.Options{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				// Each is marked by two, so that hours meet.
				if err := q.Mark(t.Context(), hs[i*20+j], hs[(i*20+j+20)%len(hs)]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	r.until(t, hs...)
	wg.Wait()
	check(t, r.Close())
	wantHours(t, "a new group", leftover(t, q, "new"), hs)
}

func markNothing(t *testing.T, q dirty.Queue) {
	mark(t, q)
	wantHours(t, "delivered", leftover(t, q, "g"), nil)
}

// cancelledCalls makes calls with a context that has ended: nobody may take
// silence for success.
func cancelledCalls(t *testing.T, q dirty.Queue) {
	hs := hours(2)
	mark(t, q, hs[0])
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if q.Mark(ctx, hs[1]) == nil {
		t.Error("Mark returned no error after its context had ended")
	}
	if _, err := q.Pending(ctx, "g"); err == nil {
		t.Error("Pending returned no error after its context had ended")
	}
}

// pollHonoursContext lets waiting end by deadline and by cancelling.
func pollHonoursContext(t *testing.T, q dirty.Queue) {
	hs := hours(2)
	mark(t, q, hs[0])
	r := consume(t, q, "g", dirty.Options{})
	r.until(t, hs[0])

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if p, err := pollPast(ctx, r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("poll until a deadline: %+v, error %v", p, err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if p, err := pollPast(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("poll until cancelled: %+v, error %v", p, err)
	}
	mark(t, q, hs[1])
	r.until(t, hs[1])
	check(t, r.Close())
}

// pollPast polls past what tells of partitions only.
func pollPast(ctx context.Context, r *reader) (p dirty.Polled, err error) {
	for err == nil && len(p.Marks) == 0 {
		p, err = r.Poll(ctx)
	}
	return p, err
}

// closeEarly closes consumers that polled nothing, or were handed marks they did
// not serve; what another has committed stays.
func closeEarly(t *testing.T, q dirty.Queue) {
	hs := hours(4)
	check(t, consume(t, q, "g", dirty.Options{}).Close())
	mark(t, q, hs[:2]...)
	check(t, consume(t, q, "g", dirty.Options{Drain: true}).Close())

	r := consume(t, q, "g", dirty.Options{})
	r.serve(r.until(t, hs[:2]...), hs[:2]...)
	check(t, r.Close())
	check(t, consume(t, q, "g", dirty.Options{}).Close())
	wantHours(t, "pending", pending(t, q, "g"), nil)
	mark(t, q, hs[2:]...)
	wantHours(t, "delivered", leftover(t, q, "g"), hs[2:])
}
