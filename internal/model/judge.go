package model

// judge ends an attempt: by a publish, by notes, or by nothing.
func (m *model) judge(s *state, c uint8) {
	t := *s
	w := &t.member[c].work
	added := w.read &^ (w.base.merged | w.noted)
	forced := w.wentBack() || m.flaw.replaced && w.base.generation > 0
	switch {
	case w.rebuild:
		m.rebuild(&t, c)
	case added == 0 && !forced:
		m.told(&t, c)
		m.can(t, "c%d finds nothing new", c)
	case m.notes && added != 0 && !forced && m.copies(w):
		m.note(&t, c, added)
	case !w.stale || m.flaw.unconditional:
		m.publish(&t, c, m.merged(&t, w, added))
		m.published(&t, c)
	case m.flaw.republished:
		w.stale = false
		m.can(t, "c%d fails to publish, and takes the new version as its condition", c)
	default:
		m.restart(&t, c)
		m.can(t, "c%d fails to publish, begins again", c)
	}
}

// note notes rows as copies of what the base has. First the board must know of the
// base (job.note).
func (m *model) note(t *state, c uint8, added set) {
	w := &t.member[c].work
	if m.board && w.known.generation < w.base.generation && !m.flaw.notedFirst {
		w.known = m.notice(w)
		m.tellBoard(t, w)
		m.can(*t, "c%d tells the board of generation %d", c, w.base.generation)
		return
	}
	t.hour[w.hour].notes[w.base.lineage] |= added
	w.noted |= added
	m.told(t, c)
	m.can(*t, "c%d notes %r as copies", c, uint8(added))
}

// published goes on after a publish, of which somebody may keep a copy.
func (m *model) published(t *state, c uint8) {
	h := &t.hour[t.member[c].work.hour]
	m.told(t, c)
	o := &h.object
	m.can(*t, "c%d publishes generation %d: %e of %r", c, o.generation, uint8(o.events), uint8(o.merged))
	if m.faults&(wentBack|restoring) != 0 && h.copy.generation == 0 {
		h.copy = h.object
		m.can(*t, "c%d publishes generation %d: %e of %r, which somebody keeps", c, o.generation, uint8(o.events), uint8(o.merged))
	}
}

// rebuild publishes what was read of all raw rows, under a new lineage, if that is
// all that the base was ever made of. Else it begins again, to merge.
func (m *model) rebuild(t *state, c uint8) {
	w := &t.member[c].work
	b := &w.base
	if w.stale {
		m.restart(t, c)
		m.can(*t, "c%d will fail to publish, begins again", c)
		return
	}
	complete := b.seen == b.merged.count() && b.erased == 0 && w.read.covers(b.merged) || m.flaw.uncoveredRebuilt
	switch {
	case w.read == 0 && b.generation == 0:
		m.told(t, c)
		m.can(*t, "c%d finds no rows to rebuild from", c)
	case w.read == 0 || !complete:
		m.restart(t, c)
		w.rebuild = false
		m.can(*t, "c%d finds that the raw rows do not cover the base, merges instead", c)
	default:
		next := manifest{merged: w.read, counted: w.read, seen: w.read.count(), erased: b.erased, settled: w.settled}
		next.events = m.events(w.read) &^ b.erased
		if b.generation > 0 {
			next.lineage = t.hour[w.hour].newLineage()
		}
		m.publish(t, c, next)
		m.published(t, c)
	}
}

// told goes on to tell the board, in worlds that have one.
func (m *model) told(t *state, c uint8) {
	w := &t.member[c].work
	if !m.board {
		m.finish(t, c)
		return
	}
	// Only what the board is told, and how the attempt ends, matters from here.
	*w = rewrite{phase: tell, hour: w.hour, upTo: w.upTo, asked: w.asked, known: w.known, base: w.base, stale: w.stale, noted: w.noted}
}

// tell tells the board how the attempt ended.
func (m *model) tell(s *state, c uint8) {
	t := *s
	w := t.member[c].work
	if now := m.notice(&w); now.generation != w.known.generation || now.settled != w.known.settled {
		m.tellBoard(&t, &w)
	}
	m.finish(&t, c)
	m.can(t, "c%d tells the board of generation %d; the mark is done", c, w.base.generation)
}

// notice is what the board is told.
func (m *model) notice(w *rewrite) board {
	return board{generation: w.base.generation, settled: w.base.merged | w.noted, current: !w.stale}
}

// tellBoard tells the board, unless it knows of a later publish (Compactor.tell).
func (m *model) tellBoard(t *state, w *rewrite) {
	if b := &t.hour[w.hour].board; w.base.generation >= b.generation || m.flaw.boardGoesBack {
		*b = m.notice(w)
	}
}

// finish ends the rewrite: the marks that were taken before it began are done.
func (m *model) finish(t *state, c uint8) {
	w := t.member[c].work
	t.member[c].work = rewrite{}
	if w.asked {
		t.hour[w.hour].request = false
	}
	if !m.flaw.committedFirst {
		m.done(t, c, w.hour, w.upTo)
	}
}
