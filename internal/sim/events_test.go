package sim

import (
	"slices"
	"time"

	"github.com/afterhours/afterhours"
)

const day = 24 * time.Hour

// event draws something unusual that is no fault.
func (d *decision) event() bool {
	if d.calm || d.stats.events >= d.plan.events || d.r.Float64() >= d.plan.eventRate {
		return false
	}
	a := &agenda{decision: d}
	if d.plan.expiry {
		a.jumps(day, 2*day, d.plan.ttl-day)
		a.redeliveries() // so that of some events only later copies are left
	} else {
		a.jumps(10*time.Minute, time.Hour, 13*time.Hour, day, 2*day, d.plan.ttl+day, 2*d.plan.ttl+day)
		a.hangs()
		a.terminations()
		a.rebalances()
		a.operations()
		a.add("clean", a.clean, "the logs are cleaned")
	}
	j := pick(d.r, a.jobs)
	if d.leftOut(&d.stats.events) {
		return false
	}
	d.trace.addf("%s", j.name)
	j.do()
	return true
}

func (a *agenda) jumps(by ...time.Duration) {
	for _, t := range by {
		a.add("jump", func() { a.jump(t) }, "the clock jumps by %v", t)
	}
}

// jump moves everybody's clock, unless something would expire that was promised
// to be kept and is not in the lake yet: the TTL must outlast every delay.
func (d *decision) jump(t time.Duration) {
	if len(d.seen.wentBack) > 0 && t > time.Hour || d.rewriting() && t > day {
		return
	}
	then := d.now() + micros(t+day/2)
	for _, r := range d.seen.waiting {
		// Another copy that came since may not be acknowledged, nor its hour marked.
		if r.row == nil || !d.readable(r.row, then) {
			return
		}
	}
	for _, s := range d.slots {
		if s.now == nil || s.now.reader == nil {
			continue
		}
		for _, since := range s.now.reader.inHand {
			if since+micros(d.plan.ttl-day/2) <= then {
				return
			}
		}
	}
	d.stats.count("clock jumps", 1)
	d.clock.Add(t.Microseconds())
	d.trace.addf("it is %s", d.now())
}

// rewriting reports whether a rewrite is under way, or an upload: none lasts as
// long as rows do.
func (w *world) rewriting() bool {
	return slices.ContainsFunc(w.pending, (*op).rewrites) || len(w.late) > 0
}

// rewrites reports whether a rewrite is under way that made this call.
func (o *op) rewrites() bool {
	kinds := []string{"known", "stat", "get", "lanes", "columns", "notes", "rows", "put", "feed", "board"}
	return !o.p.dead && slices.Contains(kinds, o.kind)
}

// outdate draws whether the answer to a read of a rewrite is on its way until somebody
// has published. The logs of who waits for it are another's from now on, if there is
// one: it is to rewrite the same hour.
func (d *decision) outdate(o *op) bool {
	if !d.plan.crowded || d.calm || d.outdating() || o.write || !o.rewrites() || d.stats.events >= d.plan.events {
		return false
	}
	rarely := 12
	if o.kind == "get" {
		rarely = 2 // what a rewrite starts from
	}
	if !chance(d.r, rarely) || d.leftOut(&d.stats.events) {
		return false
	}
	made := d.lake.made
	o.stalled, o.awaited = d.step+100, func() bool { return d.lake.made > made }
	d.trace.addf("%s hears of it late", o.p)
	d.stats.count("answers outdated", 1)
	d.standIn(o.p)
	return true
}

// standIn gives the logs of a compactor to another, and it does not know.
func (d *decision) standIn(p *process) {
	g := d.queue.group(group)
	others := slices.DeleteFunc(slices.Clone(g.members), func(c *consumer) bool { return c.p == p || c.p.dead })
	for log, c := range g.owners {
		if c != nil && c.p == p && len(others) > 0 {
			d.give(g, log, pick(d.r, others), true)
		}
	}
}

// outdating reports whether an answer waits until somebody has published.
func (w *world) outdating() bool {
	return slices.ContainsFunc(w.pending, func(o *op) bool { return o.awaited != nil && !o.p.dead })
}

// outdates reports whether an upload replaces an object that another has just read.
func (w *world) outdates(o *op) bool {
	return o.kind == "put" && slices.ContainsFunc(w.pending, func(a *op) bool {
		return a.awaited != nil && a.kind == "get" && a.key == o.key && a.p != o.p && !a.p.dead
	})
}

// hangs keep what an ingest has under way where it is for two days, while others
// work.
func (a *agenda) hangs() {
	for _, s := range a.slots {
		p := s.now
		if p == nil || !s.ingests() {
			continue
		}
		a.add("hang", func() {
			for _, o := range a.pending {
				if o.p == p && o.kind != "fetch" {
					o.stalled = a.step + 40 + a.r.IntN(80)
				}
			}
			a.jump(2*day + 2*time.Hour)
		}, "%s hangs for two days", p)
	}
}

// terminations tell processes to stop in peace.
func (a *agenda) terminations() {
	for _, s := range a.slots {
		if p := s.now; p != nil && !p.stopping && !s.operator() {
			a.add("terminate", func() {
				p.stopping, p.clean = true, a.plan.grace == patience
				a.stats.count("processes told to stop", 1)
				p.stop()
			}, "%s is told to stop", p)
		}
	}
}

// rebalances give logs to other members, and their owners know.
func (a *agenda) rebalances() {
	g := a.queue.group(group)
	for log := range g.owners {
		for _, c := range g.members {
			if c != g.owners[log] && !c.p.dead {
				a.add("rebalance", func() { a.give(g, log, c, false) }, "log %d is given to %s", log, c.p)
			}
		}
	}
	t := &a.world.source
	for log := range t.owners {
		for _, s := range t.readers {
			if s != t.owners[log] && !s.p.dead {
				a.add("rebalance", func() { t.give(log, s) }, "log %d of the source is given to %s", log, s.p)
			}
		}
	}
}

// operations are what an operator does.
func (a *agenda) operations() {
	s := a.operator()
	if s.now != nil {
		return
	}
	a.add("operate", func() { a.startSlot(s) }, "an operator sweeps")
	for _, rebuild := range []bool{false, true} {
		a.add("operate", func() { a.startBackfill(s, rebuild) }, "an operator backfills, rebuild %v", rebuild)
	}
}

// clean drops every mark that a later one of its hour follows.
func (d *decision) clean() {
	for _, log := range d.queue.logs {
		followed := map[afterhours.Hour]bool{}
		for o := len(log) - 1; o >= 0; o-- {
			e := &log[o]
			if e.gone {
				continue
			}
			if followed[e.Hour] {
				e.gone = true
				d.stats.count("marks cleaned", 1)
			}
			followed[e.Hour] = true
		}
	}
}
