package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// driver does faults.
type driver struct {
	rng    *rand.Rand
	every  time.Duration
	faults []fault
	mayDo  func() bool // whether a fault may begin now
	events func(msg string, args ...any)
	wrong  func(format string, args ...any)

	work   sync.WaitGroup
	mu     sync.Mutex
	busy   map[string]bool           // targets
	done   map[string]map[string]int // by class and what
	spared []fault

	heldOff int // how often a fault was not begun, for the lake was late
}

func newDriver(rng *rand.Rand, every time.Duration) *driver {
	return &driver{rng: rng, every: every, mayDo: func() bool { return true }, busy: map[string]bool{}, done: map[string]map[string]int{}}
}

// atOnce is how many faults are done at the same time, at most.
const atOnce = 4

// run does faults until ctx ends, in an order of its own, each as often as its
// weight says; then it waits until all are undone.
func (d *driver) run(ctx context.Context) {
	defer d.work.Wait()
	var bag []fault
	tick := time.NewTicker(d.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if len(bag) == 0 {
			for _, f := range d.faults {
				bag = append(bag, slices.Repeat([]fault{f}, f.weight)...)
			}
			d.shuffle(bag)
		}
		bag = d.begin(ctx, bag, d.holdLong())
	}
}

// once does every kind of fault once, however long that takes: those whose target
// was spared are done again. It reports false if ctx ends before.
func (d *driver) once(ctx context.Context) bool {
	defer d.work.Wait()
	tick := time.NewTicker(d.every)
	defer tick.Stop()
	for bag := d.kinds(); ; bag = append(bag, d.takeSpared()...) {
		if len(bag) == 0 && d.idle() {
			return true
		}
		bag = d.begin(ctx, bag, d.hold())
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// kinds returns one fault of every kind, of targets chosen at random.
func (d *driver) kinds() (bag []fault) {
	all := slices.Clone(d.faults)
	d.shuffle(all)
	seen := map[[2]string]bool{}
	for _, f := range all {
		if kind := [2]string{f.class, f.what}; !seen[kind] {
			seen[kind] = true
			bag = append(bag, f)
		}
	}
	return bag
}

func (d *driver) shuffle(bag []fault) {
	d.rng.Shuffle(len(bag), func(i, j int) { bag[i], bag[j] = bag[j], bag[i] })
}

// hold returns how long a fault lasts.
func (d *driver) hold() time.Duration {
	return time.Second + time.Duration(d.rng.Int64N(int64(3*time.Second)))
}

// holdLong is hold, but now and then longer than a group keeps a silent member.
func (d *driver) holdLong() time.Duration {
	if d.rng.IntN(8) == 0 {
		return d.hold() + 10*time.Second
	}
	return d.hold()
}

// idle reports whether nothing is under way, and nothing was spared.
func (d *driver) idle() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.busy) == 0 && len(d.spared) == 0
}

func (d *driver) takeSpared() []fault {
	d.mu.Lock()
	defer d.mu.Unlock()
	spared := d.spared
	d.spared = nil
	return spared
}

// begin begins the first fault of the bag whose target has none, and returns the
// rest.
func (d *driver) begin(ctx context.Context, bag []fault, hold time.Duration) []fault {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.busy) >= atOnce {
		return bag
	}
	if !d.mayDo() {
		d.heldOff++
		return bag
	}
	for i, f := range bag {
		if d.busy[f.target] {
			continue
		}
		d.busy[f.target] = true
		d.work.Go(func() { d.perform(ctx, f, hold) })
		return append(bag[:i:i], bag[i+1:]...)
	}
	return bag
}

// undoLimit is how long a fault may last in all. A Cassandra node takes minutes to
// start where others keep the machine busy.
const undoLimit = 15 * time.Minute

// perform does a fault and undoes it. A target that is down already, since it was
// killed or ended by itself, is spared.
func (d *driver) perform(ctx context.Context, f fault, hold time.Duration) {
	begin := time.Now()
	d.events("fault", "class", f.class, "what", f.what, "target", f.target, "hold", hold.Round(time.Millisecond).String())
	undoing, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	err := f.do(undoing, hold)
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.busy, f.target)
	switch {
	case err == nil:
		if d.done[f.class] == nil {
			d.done[f.class] = map[string]int{}
		}
		d.done[f.class][f.what]++
		d.events("undone", "class", f.class, "what", f.what, "target", f.target, "after", time.Since(begin).Round(time.Millisecond).String())
	case errors.Is(err, errDown):
		d.spared = append(d.spared, f)
		d.events("spared", "class", f.class, "what", f.what, "target", f.target)
	default:
		d.wrong("%s of %s (%s) cannot be undone: %v", f.class, f.target, f.what, err)
	}
}

// count returns how many faults of a class were done, by what was done.
func (d *driver) count(class string) map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done[class]
}
