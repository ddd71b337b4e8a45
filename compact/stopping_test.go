package compact

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
)

// TestStoppingWaitsInPeace: a compactor that was told to stop waits for the
// rewrite under way, and does not spin meanwhile because other hours are due.
func TestStoppingWaitsInPeace(t *testing.T) {
	const hours, manyLooks = 3, 1000
	s := newFakeStore()
	l, _ := openLake(t)
	q := newFakeQueue(true)
	for n := range hours {
		e := event(0)
		e.Time += afterhours.Micros(n * int(time.Hour/time.Microsecond))
		s.append(afterhours.NewSegment(), 0, e)
		if err := q.Mark(t.Context(), e.Hour()); err != nil {
			t.Fatal(err)
		}
	}
	c := newCompactor(t, s, l)
	c.cfg.Workers = 2
	var looks atomic.Int64 // at the clock: one each time round
	spun := make(chan struct{})
	now := c.cfg.Now
	c.cfg.Now = func() time.Time {
		if looks.Add(1) == manyLooks {
			close(spun)
		}
		return now()
	}
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	c.cfg.Finished = func(Outcome) { stop() }
	var reads atomic.Int64
	s.Fault = func(op string, _ afterhours.Hour) (bool, error) {
		if op == "ReadRows" && reads.Add(1) == 1 {
			<-ctx.Done() // of two rewrites one goes on after the other has ended
			select {
			case <-spun:
				t.Errorf("it looked at the clock %d times", manyLooks)
			case <-time.After(200 * time.Millisecond):
			}
			close(stopped)
		}
		return true, nil
	}
	if sum, err := c.Drain(ctx, q, Limits{}); err == nil || sum.Rewritten != 2 || sum.Left != 1 {
		t.Errorf("summary %+v, error %v; want two hours rewritten and one left", sum, err)
	}
	<-stopped
}
