package app

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/ingest"
	"github.com/afterhours/afterhours/store"
)

// dependency is something that answers, fails, or does neither.
type dependency struct {
	mu      sync.Mutex
	err     error
	hangs   bool
	waiting int64
	sum     ingest.Summary
	asked   int
}

func (d *dependency) Ping(ctx context.Context) error {
	d.mu.Lock()
	d.asked++
	hangs, err := d.hangs, d.err
	d.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

// now changes what it does.
func (d *dependency) now(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

func (d *dependency) stats() (s ingest.Summary) {
	d.now(func() { s = d.sum })
	return s
}

func (d *dependency) times() (n int) {
	d.now(func() { n = d.asked })
	return n
}

func (d *dependency) Lanes(ctx context.Context, _ afterhours.Hour) ([]store.Lane, error) {
	return nil, d.Ping(ctx)
}

func (d *dependency) Waiting(ctx context.Context) (n int64, err error) {
	d.now(func() { n = d.waiting })
	return n, d.Ping(ctx)
}

// probing returns vitals whose probes look until the test ends.
func probing(t *testing.T, ps ...*probe) *Vitals {
	v := &Vitals{}
	for _, p := range ps {
		v.add(p)
	}
	v.begin()
	t.Cleanup(v.end)
	return v
}

// TestDependencyIsDown: readiness turns red within seconds when the store or the
// queue fails or hangs, says since when and what to do, and turns green with the
// first answer. Liveness stays green: a restart would not help.
func TestDependencyIsDown(t *testing.T) {
	for name, of := range map[string]func(*dependency) *probe{
		"store": func(d *dependency) *probe { return storeProbe(d) },
		"queue": func(d *dependency) *probe { return queueProbe(d) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &dependency{}
				v := probing(t, of(d))
				v.Compacts(func() compact.Health { return compact.Health{} })
				wantAnswer(t, v, "/readyz", http.StatusOK)
				for range 2 {
					time.Sleep(time.Minute)
					d.now(func() { d.err = errors.New("no quorum") })
					time.Sleep(2*probeEvery + time.Second)
					wantAnswer(t, v, "/readyz", http.StatusServiceUnavailable, `"check":"`+name+`"`, "no quorum", "since 2000-01-01T00:0", `"remedy":"bring back`)
					wantAnswer(t, v, "/healthz", http.StatusServiceUnavailable, "no quorum")
					wantAnswer(t, v, "/livez", http.StatusOK)
					d.now(func() { d.err, d.hangs = nil, true })
					time.Sleep(time.Minute)
					wantAnswer(t, v, "/readyz", http.StatusServiceUnavailable, "deadline exceeded")
					wantAnswer(t, v, "/livez", http.StatusOK)
					d.now(func() { d.hangs = false })
					time.Sleep(probeEvery + probeTimeout)
					wantAnswer(t, v, "/readyz", http.StatusOK)
				}
			})
		})
	}
}

// TestOneFailedAnswerIsNoProblem: it may be chance.
func TestOneFailedAnswerIsNoProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dependency{}
		v := probing(t, storeProbe(d))
		time.Sleep(time.Second)
		d.now(func() { d.err = errors.New("reset") })
		time.Sleep(probeEvery)
		d.now(func() { d.err = nil })
		wantAnswer(t, v, "/readyz", http.StatusOK)
		time.Sleep(probeEvery)
		d.now(func() { d.err = errors.New("reset") })
		time.Sleep(probeEvery)
		wantAnswer(t, v, "/readyz", http.StatusOK)
	})
}

// TestSourceThatGivesNothing: readiness is red when records wait at the source and
// none comes for long, not when none waits, some come, or they are in hand.
func TestSourceThatGivesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dependency{}
		v := probing(t, sourceProbe(d, d.stats, 5*time.Minute))
		ready := func(after time.Duration, want int) {
			t.Helper()
			time.Sleep(after)
			wantAnswer(t, v, "/readyz", want)
		}
		ready(time.Hour, http.StatusOK)
		d.now(func() { d.waiting = 7 })
		ready(4*time.Minute, http.StatusOK)
		d.now(func() { d.sum = ingest.Summary{Read: 1, Written: 1} })
		ready(4*time.Minute, http.StatusOK)
		d.now(func() { d.sum.Read = 2 })
		ready(time.Hour, http.StatusOK)
		d.now(func() { d.sum.Quarantined = 1 })
		ready(4*time.Minute, http.StatusOK)
		time.Sleep(2 * time.Minute)
		wantAnswer(t, v, "/readyz", http.StatusServiceUnavailable, `"check":"source"`, "7 records wait")
		d.now(func() { d.waiting = 0 })
		ready(probeEvery+time.Second, http.StatusOK)
		d.now(func() { d.err = errors.New("connection refused") })
		time.Sleep(2*probeEvery + time.Second)
		wantAnswer(t, v, "/readyz", http.StatusServiceUnavailable, `"check":"source"`, "connection refused")
	})
}

// TestNobodyAsks: without an address nothing is probed; a probe that is added while
// health is told looks at once.
func TestNobodyAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dependency{}
		v := &Vitals{}
		v.add(storeProbe(d))
		time.Sleep(time.Hour)
		if d.times() != 0 {
			t.Errorf("asked %d times", d.times())
		}
		v.begin()
		late := &dependency{}
		v.add(queueProbe(late))
		synctest.Wait()
		if d.times() != 1 || late.times() != 1 {
			t.Errorf("asked %d and %d times, want at once", d.times(), late.times())
		}
		v.end()
		time.Sleep(time.Hour)
		if d.times() != 1 {
			t.Errorf("asked %d times after the end", d.times())
		}
	})
}
