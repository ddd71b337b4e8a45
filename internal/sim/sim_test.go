// Package sim runs the real ingest, compactor and lake against a simulated store,
// queue, object store and source, one step at a time, in an order and with faults
// that a seed decides, and checks after every step what Afterhours promises.
package sim

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

var (
	seedFlag    = flag.Uint64("seed", 0, "the seed that TestSeed replays")
	secondsFlag = flag.Int("seconds", 0, "how long TestSim runs")
	sameFlag    = flag.Int("same", 200/slow, "how many seeds TestSameSeedSameSchedule runs twice")
	stopFlag    = flag.Bool("stop", false, "TestSim ends at the first violation")
)

func TestMain(m *testing.M) {
	flag.Parse()
	// One processor, so that goroutines take turns in the same order every time.
	runtime.GOMAXPROCS(1)
	// What one schedule leaves is little: collect the garbage of many at once.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(200 << 20)
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

// inBubble runs f in a bubble with a clock of its own. What parquet-go keeps for
// later holds channels, which must not leave the bubble they were made in.
func inBubble(t *testing.T, f func(t *testing.T)) {
	fresh := func() {
		parquet.Zstd = zstd.Codec{Level: parquet.Zstd.Level}
		*lakeCompression = zstd.Codec{Level: lakeCompression.Level}
	}
	fresh()
	defer fresh()
	synctest.Test(t, f)
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
	w.stats.schedules, w.stats.steps = 1, w.step
	if w.broken != nil {
		w.stats.violations = 1
	}
	return result{err: w.broken, trace: w.trace, stats: w.stats, plan: w.plan}
}

// TestSeed replays the schedule of one seed and prints what happened.
func TestSeed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := simulate(t, schedule{seed: *seedFlag}, true)
		t.Logf("seed %d\n%s\n%s\n%s", *seedFlag, r.plan, strings.Join(r.trace.lines, "\n"), r.stats.table())
		if r.err != nil {
			t.Error(r.err)
		}
	})
}

// TestSim runs as many schedules as fit into the given time, or a few. Its last
// lines are a summary.
func TestSim(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if *seedFlag != 0 {
		seed = *seedFlag
	}
	t.Logf("the first seed is %d", seed)
	began, told := time.Now(), time.Now()
	var sum stats
	var at atomic.Uint64
	go watch(&at)
	more := func() bool {
		if *stopFlag && sum.violations > 0 {
			return false
		}
		if *secondsFlag == 0 {
			return sum.schedules < fewSchedules/slow
		}
		return time.Since(began) < time.Duration(*secondsFlag)*time.Second
	}
	for more() {
		var failed []uint64
		inBubble(t, func(t *testing.T) {
			for range 200 {
				at.Store(seed)
				r := simulate(t, schedule{seed: seed}, false)
				sum.add(r.stats)
				if r.err != nil {
					failed = append(failed, seed)
					fmt.Printf("seed %d: %v\n", seed, r.err)
					if *stopFlag {
						break
					}
				}
				seed++
			}
		})
		if len(failed) > 0 && !*stopFlag && sum.violations < 10 {
			shrinkAndTell(t, failed[0])
		}
		if time.Since(told) >= 10*time.Second {
			told = time.Now()
			fmt.Printf("%v: schedules %d, steps %d, violations %d, %.2f ms of CPU for each schedule\n", time.Since(began).Round(time.Second),
				sum.schedules, sum.steps, sum.violations, cpu().Seconds()*1000/float64(sum.schedules))
		}
	}
	fmt.Printf("schedules %d, steps %d, violations %d\n%s", sum.schedules, sum.steps, sum.violations, sum.table())
	if sum.violations > 0 {
		t.Fail()
	}
}

// fewSchedules is how many fresh seeds a test without flags tries.
const fewSchedules = 2000

// TestSameSeedSameSchedule runs seeds twice and compares everything that happened,
// step by step: what fails can be replayed.
func TestSameSeedSameSchedule(t *testing.T) {
	var first, second [][]string
	seed := uint64(time.Now().UnixNano())
	for _, traces := range []*[][]string{&first, &second} {
		inBubble(t, func(t *testing.T) {
			for i := range uint64(*sameFlag) {
				*traces = append(*traces, simulate(t, schedule{seed: seed + i}, true).trace.lines)
			}
		})
	}
	differ := 0
	for i := range first {
		if slices.Equal(first[i], second[i]) {
			continue
		}
		differ++
		for n := range first[i] {
			if n >= len(second[i]) || first[i][n] != second[i][n] {
				t.Logf("seed %d, once: %q, then: %q", seed+uint64(i), first[i][n:min(n+2, len(first[i]))], second[i][min(n, len(second[i])):min(n+2, len(second[i]))])
				break
			}
		}
	}
	t.Logf("%d of %d seeds differ", differ, len(first))
	// What is left are timers of one process that go off at the same instant.
	if differ > 1 && 50*differ > len(first) {
		t.Errorf("%d of %d seeds differ when they are run again", differ, len(first))
	}
}

// watch ends the program if a schedule hangs.
func watch(at *atomic.Uint64) {
	for {
		seed := at.Load()
		time.Sleep(20 * time.Second)
		if seed != 0 && at.Load() == seed {
			panic(fmt.Sprintf("seed %d hangs", seed))
		}
	}
}

// cpu is how long this process has computed.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
