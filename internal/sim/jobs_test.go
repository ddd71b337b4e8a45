package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/afterhours/afterhours"
)

// job is something that may happen beside the operations of processes.
type job struct {
	kind string
	name string
	do   func()
}

// agenda is what may happen now, always in the same order.
type agenda struct {
	*decision
	jobs []job
}

// add adds a job. Its name is for the trace.
func (a *agenda) add(kind string, do func(), format string, args ...any) {
	j := job{kind: kind, do: do}
	if a.trace.keep {
		j.name = fmt.Sprintf(format, args...)
	}
	a.jobs = append(a.jobs, j)
}

// pick takes a kind, then one of the kind. There must be a job.
func (a *agenda) pick() job {
	var kinds []string
	for _, j := range a.jobs {
		if !slices.Contains(kinds, j.kind) {
			kinds = append(kinds, j.kind)
		}
	}
	kind := pick(a.r, kinds)
	return pick(a.r, slices.DeleteFunc(a.jobs, func(j job) bool { return j.kind != kind }))
}

// housekeeping does what goes on beside the processes, now and then.
func (d *decision) housekeeping(ready int) bool {
	if ready > 0 && d.r.IntN(100) < 80 || ready == 0 && chance(d.r, 3) {
		return false
	}
	a := &agenda{decision: d}
	a.landings()
	a.starts()
	a.restores()
	a.group()
	a.sourceGroup()
	if len(a.jobs) == 0 {
		return false
	}
	j := pick(d.r, a.jobs)
	d.trace.addf("%s", j.name)
	j.do()
	return true
}

// landings are writes that were given up and arrive now.
func (a *agenda) landings() {
	w := a.world
	for i, l := range w.late {
		a.add("late", func() {
			w.late = slices.Delete(w.late, i, i+1)
			_ = l.do()
		}, "late: %s", l.name)
	}
}

// starts are processes that can be started. Drains begin when there is something
// to do, but in the end leave it to the daemons, if there are any: they come and go
// so often that no time passes. The operator's sweep is when nothing else is left.
func (a *agenda) starts() {
	for _, s := range a.slots {
		var due bool
		switch {
		case s.now != nil:
		case s.operator():
			due = a.calm && len(a.seen.sweep) > 0 && a.quiet()
		case s.drains():
			due = a.queue.owed(group) && (!a.calm || a.plan.daemons == 0) || !a.calm && chance(a.r, 10)
		default:
			due = true
		}
		if due {
			a.add("start", func() { a.startSlot(s) }, "start %s", s.name)
		}
	}
}

// quiet reports whether nothing but a sweep is left to do.
func (w *world) quiet() bool {
	return w.source.finished() && !w.queue.owed(group) && len(w.late) == 0
}

// restores are objects that an operator can put back.
func (a *agenda) restores() {
	s := a.operator()
	if s.now != nil {
		return
	}
	for _, h := range slices.SortedFunc(maps.Keys(a.seen.parts), afterhours.Hour.Compare) {
		if p := a.seen.parts[h]; p.gone != nil {
			a.add("restore", func() { a.startRestore(s, h, p) }, "an operator restores %s", h)
		}
	}
}

// group is what the group of the compactors does: it notices who has died, and its
// members commit.
func (a *agenda) group() {
	g := a.queue.group(group)
	for log, c := range g.owners {
		switch {
		case c == nil:
		case c.p.dead || c.left:
			a.add("expel", func() { a.expel(c.p) }, "the group notices the death of %s", c.p)
		case c.reading[log].floor() != g.floors[log]:
			a.add("commit", func() { a.commit(c, log) }, "%s commits %d at %d", c.p, log, c.reading[log].floor())
		}
	}
}

// sourceGroup is the same for the group of the ingests.
func (a *agenda) sourceGroup() {
	t := &a.world.source
	for log, s := range t.owners {
		switch {
		case s == nil:
		case s.p.dead || s.gone:
			a.add("expel", func() { a.expel(s.p) }, "the source notices the death of %s", s.p)
		case s.floor(log) != t.floors[log]:
			a.add("commit", func() { t.floors[log] = s.floor(log) }, "%s commits %d of the source at %d", s.p, log, s.floor(log))
		}
	}
}

// startSlot starts a slot's next process.
func (d *decision) startSlot(s *slot) {
	switch {
	case s.ingests():
		s.start(d.ingest)
	case s.operator():
		d.startSweep(s)
	default:
		s.start(d.compact(s.drains()))
	}
}

// startSweep has an operator sweep. The last sweep, when all else is done, is a
// full one: what an earlier one has found may have been lost again.
func (d *decision) startSweep(s *slot) {
	w := d.world
	d.stats.count("sweeps of an operator", 1)
	p := s.start(func(ctx context.Context, p *process) error {
		c, err := w.compactor(p)
		if err != nil {
			return err
		}
		_, err = c.Sweep(ctx, queueView{p}, w.calm)
		return err
	})
	if d.calm {
		p.done = func() { clear(w.seen.sweep) }
	}
}

// startBackfill has an operator rewrite every hour.
func (d *decision) startBackfill(s *slot, rebuild bool) {
	w := d.world
	s.start(func(ctx context.Context, p *process) error {
		c, err := w.compactor(p)
		if err != nil {
			return err
		}
		var hours []afterhours.Hour
		err = storeView{p}.Hours(ctx, func(h afterhours.Hour) error { hours = append(hours, h); return nil })
		if err == nil {
			_, err = c.Backfill(ctx, queueView{p}, hours, rebuild)
		}
		return err
	})
}

// startRestore has an operator put back what was removed.
func (d *decision) startRestore(s *slot, h afterhours.Hour, p *part) {
	w := d.world
	s.start(func(ctx context.Context, q *process) error {
		c, err := w.compactor(q)
		if err != nil {
			return err
		}
		return c.Restore(ctx, queueView{q}, h, p.kept.v.file).Err
	})
}
