package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
)

const (
	// restSteps bounds the way to rest, restTime the time of the processes' timers
	// that it may take.
	restSteps = 4000
	restTime  = 30 * time.Minute
)

// run runs the schedule to its end.
func (w *world) run(suppressed map[int]bool) {
	began := time.Now()
	for w.broken == nil && !w.atRest() {
		w.step++
		if !w.calm && (w.step > w.plan.length || w.idle()) {
			w.comeToRest()
			began = time.Now()
		}
		w.mu.Lock()
		w.pcg.Seed(mix(w.plan.seed, uint64(w.step)), uint64(w.step))
		d := &decision{world: w, r: w.rand, suppressed: suppressed[w.step]}
		sleep := d.take()
		w.mu.Unlock()
		w.clock.Add(sleep.Microseconds())
		// A moment passes with every step, so that no two timers go off at once.
		time.Sleep(sleep + time.Microsecond)
		synctest.Wait()
		w.mu.Lock()
		w.tellAcks()
		w.seen.check()
		if w.calm && (w.step > w.calmed+restSteps || time.Since(began) > restTime) {
			w.violate("it does not come to rest")
		}
		w.mu.Unlock()
	}
	w.mu.Lock()
	if w.broken == nil {
		w.seen.final()
	}
	w.mu.Unlock()
	w.end()
	if w.broken == nil && w.plan.seed%8 == 0 {
		w.recount()
	}
}

// recount has the compactor's own verification look at everything.
func (w *world) recount() {
	w.direct = true
	p := &process{world: w, slot: w.operator()}
	c, err := w.compactor(p)
	if err == nil {
		_, err = c.Verify(context.Background(), queueView{p}, func(v compact.Verified) error {
			if v.Problem != "" {
				w.violate("the verification of %s finds: %s: %+v", v.Hour, v.Problem, v)
			}
			return nil
		})
	}
	if err != nil {
		w.violate("the verification failed: %v", err)
	}
}

// end ends every process. Nothing they do has any effect any more.
func (w *world) end() {
	w.mu.Lock()
	for _, s := range w.slots {
		if s.now != nil {
			w.crash(s.now)
			w.stats.count("crashes", -1)
		}
	}
	w.mu.Unlock()
	w.procs.Wait()
}

// comeToRest ends the faults: every process is there, and nothing goes wrong any
// more.
func (w *world) comeToRest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calm, w.calmed = true, w.step
	w.trace.addf("-- no more faults --")
	for _, o := range w.pending {
		o.stalled = 0
	}
}

// idle reports whether there is nothing left to do for a while.
func (w *world) idle() bool {
	if !w.source.finished() || w.queue.owed(group) || len(w.late) > 0 {
		w.idleSteps = 0
		return false
	}
	w.idleSteps++
	return w.idleSteps > 8
}

// atRest reports whether all is done.
func (w *world) atRest() bool {
	if !w.calm || len(w.late) > 0 || !w.source.finished() || w.queue.owed(group) {
		return false
	}
	if w.operator().now != nil {
		return false
	}
	for _, p := range w.seen.parts {
		if p.gone != nil {
			return false
		}
	}
	for _, o := range w.pending {
		if !o.p.dead && o.kind != "poll" && o.kind != "fetch" {
			return false
		}
	}
	w.seen.askSweeps()
	return len(w.seen.sweep) == 0
}

// decision is one step: what goes on, and what goes wrong with it.
type decision struct {
	*world
	r          *rand.Rand
	suppressed bool // what goes wrong in this step is left out
}

// take takes the decision and returns how long everybody then waits.
func (d *decision) take() time.Duration {
	if d.mischief() || d.event() {
		return 0
	}
	ready := d.ready()
	if d.housekeeping(len(ready)) {
		return 0
	}
	if len(ready) > 0 && d.r.IntN(100) < 85 {
		d.let(d.choose(ready))
		return 0
	}
	return d.wait(len(ready) > 0)
}

// ready returns the operations that can go through, in order.
func (d *decision) ready() []*op {
	var ready []*op
	for _, o := range d.pending {
		if (o.stalled <= d.step || o.awaited != nil && o.awaited()) && (o.applied || o.ready == nil || o.ready()) {
			ready = append(ready, o)
		}
	}
	slices.SortFunc(ready, (*op).compare)
	return ready
}

// choose takes one of the operations.
func (d *decision) choose(ready []*op) *op {
	switch d.plan.order {
	case ranked:
		epoch := uint64(d.step / 40)
		if chance(d.r, 8) {
			break
		}
		return slices.MaxFunc(ready, func(a, b *op) int {
			if d.rank(a, epoch) < d.rank(b, epoch) {
				return -1
			}
			return 1
		})
	case starving:
		others := slices.DeleteFunc(slices.Clone(ready), func(o *op) bool { return o.p.slot == d.slots[d.plan.starved] })
		if len(others) > 0 && !chance(d.r, 20) {
			return pick(d.r, others)
		}
	}
	return pick(d.r, ready)
}

// rank is the priority of an operation.
func (d *decision) rank(o *op, epoch uint64) uint64 {
	h := mix(d.plan.seed, epoch, uint64(o.n), uint64(o.p.incarnation))
	for _, b := range []byte(o.p.slot.name + o.kind + o.key) {
		h = (h ^ uint64(b)) * 0x100000001b3
	}
	return mix(h)
}

// wait lets time pass. While pauses of random length are under way it lets all of
// them end, so that their lengths do not matter.
func (d *decision) wait(busy bool) time.Duration {
	t := pick(d.r, []time.Duration{25 * time.Millisecond, 25 * time.Millisecond, 25 * time.Millisecond, 250 * time.Millisecond, time.Second})
	if !busy && chance(d.r, 3) {
		t = pick(d.r, []time.Duration{time.Second, 5 * time.Second})
	}
	switch {
	case d.coarse == 1:
		t = max(t, 250*time.Millisecond)
	case d.coarse > 1:
		t = max(t, 8*time.Second)
	}
	d.coarse = 0
	if d.calm && !busy && chance(d.r, 4) {
		d.jump(pick(d.r, []time.Duration{10 * time.Minute, time.Hour}))
	}
	d.trace.addf("wait %v", t)
	d.stats.count("waits", 1)
	return t
}

// let lets an operation through, with whatever goes wrong.
func (d *decision) let(o *op) {
	if o.applied {
		d.trace.addf("answer to %s", o)
		d.finish(o, o.answer)
		return
	}
	f := d.faultOf(o)
	d.trace.addf("%s%s", o, f)
	if f == "" {
		d.goThrough(o)
		return
	}
	d.stats.count("fault: "+strings.TrimLeft(string(f), " !"), 1)
	o.p.clean = false // it need not stop in peace
	if o.p.slot.ingests() {
		d.coarse = 2
	}
	d.goWrong(o, f)
}

// goThrough does what an operation is for. Its caller may hear of it later than
// others see it.
func (d *decision) goThrough(o *op) {
	err := o.do()
	if o.kind == "put" && err != nil {
		d.coarse = max(d.coarse, 1)
	}
	if !d.calm && (chance(d.r, 4) || d.outdate(o)) {
		o.applied, o.answer = true, err
		return
	}
	d.finish(o, err)
}

func (d *decision) goWrong(o *op, f fault) {
	switch f {
	case fail:
		d.finish(o, fmt.Errorf("%w: %s failed", errInjected, o.kind))
	case lost:
		_ = o.do()
		d.finish(o, d.unknown(o))
	case partly:
		o.some(func(n int) int { return d.r.IntN(n + 1) })
		d.finish(o, d.unknown(o))
	case later:
		d.late = append(d.late, lateEffect{o.String(), o.do})
		d.finish(o, d.unknown(o))
	case twice:
		err := o.do()
		d.late = append(d.late, lateEffect{o.String(), o.do})
		d.finish(o, err)
	case stall:
		o.stalled = d.step + 10 + d.r.IntN(100)
	case refuse:
		d.finish(o, fmt.Errorf("%w: for no reason", store.ErrRefused))
	case conflict:
		d.coarse = max(d.coarse, 1)
		d.finish(o, lake.ErrConflict)
	case crashBefore:
		d.crash(o.p)
	case crashAfter:
		_ = o.do()
		d.crash(o.p)
	}
}

// unknown is the error of a write of which nobody knows whether it got through.
func (d *decision) unknown(o *op) error {
	if o.kind == "put" && chance(d.r, 2) {
		d.coarse = max(d.coarse, 1)
		return fmt.Errorf("%w: %w", lake.ErrConflict, errInjected)
	}
	return fmt.Errorf("%w: %s timed out", errInjected, o.kind)
}
