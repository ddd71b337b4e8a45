package sim

// fault is what goes wrong with one operation.
type fault string

const (
	fail        fault = " !failed"
	lost        fault = " !done, but an error"
	partly      fault = " !partly done"
	later       fault = " !error, done later"
	twice       fault = " !done twice"
	stall       fault = " !stalled"
	refuse      fault = " !refused"
	conflict    fault = " !conflict"
	crashBefore fault = " !crash before"
	crashAfter  fault = " !crash after"
)

// mayFail reports whether another fault may be drawn. Each has its own chance.
func (d *decision) mayFail() bool { return !d.calm && d.stats.drawn < d.plan.faults }

// faultOf draws what goes wrong with an operation.
func (d *decision) faultOf(o *op) fault {
	var kinds []fault
	switch {
	case !d.calm && d.outdates(o):
		// Then only the object tells of the publish, which the other must not replace.
		if kinds = []fault{lost, crashAfter}; chance(d.r, 2) {
			return ""
		}
	case !d.mayFail() || d.r.Float64() >= d.plan.faultRate:
		return ""
	default:
		kinds = o.faults()
	}
	f := pick(d.r, kinds)
	if d.leftOut(&d.stats.drawn) {
		return ""
	}
	return f
}

// faults are what may go wrong with an operation.
func (o *op) faults() []fault {
	kinds := []fault{fail, stall, crashBefore}
	if o.write {
		kinds = append(kinds, lost, later, twice, crashAfter, lost, later)
	}
	if o.some != nil {
		kinds = append(kinds, partly)
	}
	if o.kind == "append" && o.size > 1 { // a row that is refused alone goes to quarantine, rightly
		kinds = append(kinds, refuse)
	}
	if o.kind == "put" {
		kinds = append(kinds, conflict)
	}
	return kinds
}

// leftOut counts something unusual, and reports whether shrinking leaves it out. It
// counts all the same, so that all else stays as it is.
func (d *decision) leftOut(counter *int) bool {
	*counter++
	d.trace.fault(d.step)
	return d.suppressed
}

// mischief draws a fault that is not one of an operation.
func (d *decision) mischief() bool {
	if !d.mayFail() {
		return false
	}
	a, rate := &agenda{decision: d}, d.plan.faultRate/4
	if d.plan.expiry {
		rate = expiryRate
	}
	if d.r.Float64() >= rate {
		return false
	}
	a.tampering()
	if !d.plan.expiry {
		a.crashes()
		a.takeovers()
		a.lostMarks()
		a.lateCommits()
		a.redeliveries()
	}
	if len(a.jobs) == 0 {
		return false
	}
	j := a.pick()
	if d.leftOut(&d.stats.drawn) {
		return false
	}
	d.trace.addf("!%s", j.name)
	d.stats.count("fault: "+j.kind, 1)
	j.do()
	return true
}

// expiryRate is the chance of mischief in each step of a plan in which much time
// passes.
const expiryRate = 0.03

func (a *agenda) crashes() {
	for _, s := range a.slots {
		if p := s.now; p != nil {
			a.add("crash between calls", func() { a.crash(p) }, "crash of %s", p)
		}
	}
}

// takeovers give a log to another member while its owner goes on as if it were its
// own.
func (a *agenda) takeovers() {
	g := a.queue.group(group)
	for log := range g.owners {
		for _, c := range g.members {
			if c != g.owners[log] && !c.p.dead {
				a.add("takeover", func() { a.give(g, log, c, true) }, "log %d is now read by %s, and its owner does not know", log, c.p)
			}
		}
	}
}

// lostMarks are marks that are lost before they are served. A sweep must find what
// they told of: the marks before them may have been let go because of them.
func (a *agenda) lostMarks() {
	for log, floor := range a.queue.group(group).floors {
		for o := floor; o < int64(len(a.queue.logs[log])); o++ {
			if e := &a.queue.logs[log][o]; !e.gone {
				a.add("mark lost", func() { e.gone, a.seen.sweep[e.Hour] = true, true }, "mark %d.%d of %s is lost", log, o, e.Hour)
			}
		}
	}
}

// lateCommits are commits of members whose logs are others' by now.
func (a *agenda) lateCommits() {
	for _, c := range a.queue.group(group).ever {
		for log := range a.queue.logs {
			if r := c.reading[log]; r != nil && r.lost {
				a.add("late commit", func() { a.commit(c, log) }, "%s, which lost the log, commits %d at %d", c.p, log, r.floor())
			}
		}
	}
}

// redeliveries take a log of the source back to its beginning.
func (a *agenda) redeliveries() {
	for log, s := range a.world.source.owners {
		if s != nil && s.logs[log] != nil && s.logs[log].position > 0 {
			a.add("delivered again", func() { s.logs[log].position = 0 }, "log %d of the source begins anew", log)
		}
	}
}
