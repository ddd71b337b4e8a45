package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/lake"
)

// group is the consumer group of the compactors, lakeURL the name of their lake.
const (
	group   = "compactors"
	lakeURL = "sim://lake"
)

var (
	errInjected = errors.New("injected fault")
	errDead     = errors.New("the process is dead")
)

// world is everything outside of the processes: store, queue, lake and source,
// and what happened so far. Its methods are called by the scheduler, or hold mu.
type world struct {
	plan  plan
	dir   string // of the lake's files
	trace trace
	stats stats

	mu      sync.Mutex
	clock   atomic.Int64             // microseconds: the time that everybody's clock is near
	direct  bool                     // calls are served at once: there is no scheduler
	changed chan struct{}            // direct: closed when something was applied
	wall    func() afterhours.Micros // direct: the clock
	writes  int64                    // calls so far, which orders writes of the same instant

	acks []string // of this step

	pending   []*op // calls that wait for the scheduler
	late      []lateEffect
	procs     sync.WaitGroup
	slots     []*slot
	step      int
	calm      bool // no more faults
	calmed    int  // the step since when
	idleSteps int  // since when nothing is left to do
	coarse    int  // pauses of random length are under way: how long they may be, 0 none, 1 and 2
	broken    error

	names map[afterhours.Hour]string
	pcg   rand.PCG // seeded anew for each step
	rand  *rand.Rand

	store  storage
	queue  marks
	lake   objectStore
	source topic
	seen   inspection
}

// newWorld makes an empty world for a plan.
func newWorld(p plan, dir string) *world {
	w := &world{plan: p, dir: dir, changed: make(chan struct{}), names: map[afterhours.Hour]string{}}
	w.rand = rand.New(&w.pcg)
	w.clock.Store(int64(p.start))
	w.store.init()
	w.queue.init(p.logs)
	w.lake.objects = map[string]*versions{}
	w.source.init(p)
	w.seen.init(w)
	for i, name := range p.slots() {
		w.slots = append(w.slots, &slot{world: w, name: name, skew: p.skew[i]})
	}
	return w
}

// name is the text of an hour, which takes long to make.
func (w *world) name(h afterhours.Hour) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.names[h]
	if n == "" {
		n = h.String()
		w.names[h] = n
	}
	return n
}

func (w *world) now() afterhours.Micros {
	if w.wall != nil {
		return w.wall()
	}
	return afterhours.Micros(w.clock.Load())
}

// violate records the first violation; it ends the schedule.
func (w *world) violate(format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
		w.trace.addf("VIOLATION: %v", w.broken)
	}
}

// tempRoot is where files go: memory, if there is a file system in it.
func tempRoot() string {
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}

// pick returns one of the items.
func pick[T any](r *rand.Rand, items []T) T { return items[r.IntN(len(items))] }

// openLake returns a lake over the simulated objects as a process sees them.
func (p *process) openLake() *lake.Lake {
	return lake.New(lakeURL, &objects{p}, lake.Options{TempDir: p.world.dir, Logger: silent, Now: p.now, BlockRows: p.world.plan.blockRows})
}
