package sim

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seedFlag    = flag.Uint64("seed", 0, "the seed that TestSeed replays, and with which TestSim begins; 0: of now")
	secondsFlag = flag.Int("seconds", 0, "how long TestSim runs; 0: a few schedules")
	procsFlag   = flag.Int("procs", 1, "in how many processes TestSim runs")
	stopFlag    = flag.Bool("stop", false, "TestSim ends at the first violation")
	sameFlag    = flag.Int("same", 200/slow, "how many seeds TestSameSeedSameSchedule runs twice")
)

const (
	// fewSchedules is how many fresh seeds a test without flags tries.
	fewSchedules = 2000 / slow

	// perBubble is how many schedules share a bubble: to begin one takes time.
	perBubble = 200

	// shrinks is of how many violations the shortest schedule is looked for.
	shrinks = 5
)

// TestSim runs schedules of fresh seeds. It ends with a summary.
func TestSim(t *testing.T) {
	if *seedFlag == 0 {
		*seedFlag = uint64(time.Now().UnixNano())
	}
	fmt.Printf("the first seed is %d\n", *seedFlag)
	r := runner{began: time.Now(), told: time.Now(), seed: *seedFlag}
	if *procsFlag > 1 {
		r.inProcesses(t)
	} else {
		go r.watch()
		for r.more() {
			r.some(t)
		}
	}
	fmt.Print(r.sum)
	if r.sum.counts[violations] > 0 {
		t.Fail()
	}
}

// runner runs schedules one after the other.
type runner struct {
	began, told time.Time
	seed        uint64
	now         atomic.Uint64 // the seed that is run
	shrunk      int

	mu  sync.Mutex
	sum stats
}

func (r *runner) more() bool {
	switch {
	case *stopFlag && r.sum.counts[violations] > 0:
		return false
	case *secondsFlag == 0:
		return r.sum.counts[schedules] < fewSchedules
	}
	return time.Since(r.began) < time.Duration(*secondsFlag)*time.Second
}

// some runs the schedules of one bubble.
func (r *runner) some(t *testing.T) {
	var failed []uint64
	synctest.Test(t, func(t *testing.T) {
		for range perBubble {
			r.now.Store(r.seed)
			x := simulate(t, schedule{seed: r.seed}, false)
			r.sum.add(x.stats.counts)
			if x.err != nil {
				fmt.Printf("seed %d: %v\n", r.seed, x.err)
				failed = append(failed, r.seed)
			}
			r.seed++
			if *stopFlag && x.err != nil {
				return
			}
		}
	})
	for _, seed := range failed {
		if r.shrunk++; r.shrunk <= shrinks && !*stopFlag {
			tellShortest(t, seed)
		}
	}
	if time.Since(r.told) >= 10*time.Second {
		r.told = time.Now()
		n := r.sum.counts[schedules]
		fmt.Printf("%v: %d schedules, %d steps, %d violations, %.2f ms of CPU for each schedule\n", time.Since(r.began).Round(time.Second),
			n, r.sum.counts[steps], r.sum.counts[violations], cpu().Seconds()*1000/float64(n))
	}
}

// watch ends the program if a schedule hangs.
func (r *runner) watch() {
	for {
		seed := r.now.Load()
		time.Sleep(time.Minute)
		if seed != 0 && r.now.Load() == seed {
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

// inProcesses runs several processes like this one, each with seeds of its own,
// and adds up what they tell.
func (r *runner) inProcesses(t *testing.T) {
	var g sync.WaitGroup
	for i := range *procsFlag {
		seed := r.seed + uint64(i)*1e15
		child := exec.Command(os.Args[0], "-test.run=^TestSim$", "-test.timeout=0", fmt.Sprint("-seed=", seed),
			fmt.Sprint("-seconds=", *secondsFlag), fmt.Sprint("-stop=", *stopFlag))
		child.Env = append(os.Environ(), "GOGC=1600") // schedules leave little behind: a fifth more of them
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err == nil {
			err = child.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		g.Go(func() {
			r.collect(i, out)
			if err := child.Wait(); err != nil {
				t.Errorf("process %d: %v", i, err)
			}
		})
	}
	g.Wait()
}

var (
	summaryLine = regexp.MustCompile(`^schedules (\d+), steps (\d+), violations (\d+)$`)
	countLine   = regexp.MustCompile(`^  (\S.*?) +(\d+)$`)
)

// collect adds a process's summary up, and passes on what it tells before.
func (r *runner) collect(process int, out io.Reader) {
	ended := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		if m := summaryLine.FindStringSubmatch(line); m != nil {
			ended = true
			r.add(schedules, m[1])
			r.add(steps, m[2])
			r.add(violations, m[3])
		} else if m := countLine.FindStringSubmatch(line); ended && m != nil {
			r.add(m[1], m[2])
		} else if !ended {
			fmt.Printf("[%d] %s\n", process, line)
		}
	}
}

func (r *runner) add(name, count string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, _ := strconv.Atoi(count) // the expressions let nothing else through
	r.sum.count(name, n)
}

// TestSeed replays the schedule of one seed, or of a line of testdata/failed-seeds,
// and prints what happened.
func TestSeed(t *testing.T) {
	s := schedule{seed: *seedFlag}
	if *scheduleFlag != "" {
		var err error
		if s, err = parseSchedule(*scheduleFlag); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		r := simulate(t, s, true)
		t.Logf("%s\n%s%s\n%s", s, r.plan, strings.Join(r.trace.lines, "\n"), r.stats)
		if r.err != nil {
			t.Error(r.err)
		}
	})
}

var scheduleFlag = flag.String("schedule", "", "the line of testdata/failed-seeds that TestSeed replays")

// TestSameSeedSameSchedule runs seeds twice and compares everything that happened,
// step by step: what fails can be replayed.
func TestSameSeedSameSchedule(t *testing.T) {
	var runs [2][][]string
	seed := uint64(time.Now().UnixNano())
	for run := range runs {
		synctest.Test(t, func(t *testing.T) {
			for i := range uint64(*sameFlag) {
				runs[run] = append(runs[run], simulate(t, schedule{seed: seed + i}, true).trace.lines)
			}
		})
	}
	differ := 0
	for i, lines := range runs[0] {
		if again := runs[1][i]; !slices.Equal(lines, again) {
			differ++
			n := 0
			for n < min(len(lines), len(again)) && lines[n] == again[n] {
				n++
			}
			t.Logf("seed %d is another schedule the second time, from line %d on", seed+uint64(i), n)
		}
	}
	// Goroutines of one process that are ready at once run in an order that nobody
	// decides. Hardly anything depends on it.
	if t.Logf("%d of %d seeds differ", differ, *sameFlag); differ > 1+*sameFlag/50 {
		t.Errorf("%d of %d seeds are another schedule the second time", differ, *sameFlag)
	}
}
