// Package sim runs the real ingest, compactor and lake against a simulated store,
// queue, object store and source, one step at a time, in an order and with faults
// that a seed decides, and checks after every step what Afterhours promises.
package sim

import (
	"flag"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/cryptotest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// One processor, so that goroutines take turns in the same order every time.
	runtime.GOMAXPROCS(1)
	// What one schedule leaves is little: collect the garbage of many at once.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(200 << 20)
	// It makes a channel when it is used first, which must not be in a bubble.
	lakeCompressor.EncodeAll(nil, nil)
	os.Exit(m.Run())
}

// schedule is a seed and what is left out of it.
type schedule struct {
	seed    uint64
	steps   map[int]bool // in which nothing goes wrong
	records map[int]bool // that are not delivered
}

// result is how a schedule ended.
type result struct {
	err   error
	trace trace
	stats stats
	plan  plan
}

// simulate runs one schedule. It must be called in a bubble.
func simulate(t *testing.T, s schedule, keep bool) result {
	cryptotest.SetGlobalRandom(t, s.seed)
	dir, err := os.MkdirTemp(tempRoot(), "sim")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	w := newWorld(newPlan(s.seed, s.records), dir)
	w.trace = trace{keep: keep, step: &w.step}
	w.run(s.steps)
	w.stats.count(schedules, 1)
	w.stats.count(steps, w.step)
	if w.broken != nil {
		w.stats.count(violations, 1)
	}
	return result{err: w.broken, trace: w.trace, stats: w.stats, plan: w.plan}
}
