package model

// compact is what a compactor does with the hours that wait: package compact.
func (m *model) compact(s *state, c uint8) {
	switch s.member[c].work.phase {
	case idle:
		m.start(s, c)
	case readBoard:
		t := *s
		w := &t.member[c].work
		w.known = t.hour[w.hour].board
		w.phase = readBase
		if m.flaw.boardAfterBase {
			m.baseRead(&t, c)
			m.can(t, "c%d reads the board: generation %d", c, w.known.generation)
			return
		}
		m.can(t, "c%d reads the board: generation %d", c, w.known.generation)
	case readBase:
		m.readBase(s, c)
	case readIndex:
		m.readIndex(s, c)
	case readRows:
		m.readRow(s, c)
	case judge:
		m.judge(s, c)
	case tell:
		t := *s
		w := &t.member[c].work
		now, b := m.notice(w), &t.hour[w.hour].board
		known := now.generation == w.known.generation && now.settled == w.known.settled
		if !known && (now.generation >= b.generation || m.flaw.boardGoesBack) {
			*b = now
		}
		generation := w.base.generation
		m.finish(&t, c)
		m.can(t, "c%d tells the board of generation %d; the mark is done", c, generation)
	}
}

// start begins the rewrite of an hour that waits, whether or not its log still
// belongs to c.
func (m *model) start(s *state, c uint8) {
	for h, waits := range s.member[c].waits[:m.hours] {
		if waits == 0 {
			continue
		}
		t, h := *s, uint8(h)
		t.member[c].work = rewrite{hour: h, upTo: waits}
		m.restart(&t, c)
		if m.flaw.committedFirst {
			m.done(&t, c, h, waits)
		}
		m.can(t, "c%d begins to rewrite hour %d", c, h)
	}
}

// restart is an attempt from its beginning.
func (m *model) restart(t *state, c uint8) {
	w := &t.member[c].work
	asked := t.hour[w.hour].request
	*w = rewrite{phase: readBase, hour: w.hour, upTo: w.upTo, asked: asked, rebuild: asked}
	switch {
	case m.flaw.indexBeforeBase:
		w.phase = readIndex
	case m.board && !m.flaw.boardAfterBase:
		w.phase = readBoard
	}
}

// readBase takes the partition, rows and version from one response.
func (m *model) readBase(s *state, c uint8) {
	t := *s
	w := &t.member[c].work
	w.base, w.stale = t.hour[w.hour].object, false
	if m.board && m.flaw.boardAfterBase {
		w.phase = readBoard
		m.can(t, "c%d reads the base: generation %d, %e", c, w.base.generation, uint8(w.base.events))
		return
	}
	if m.baseRead(&t, c); w.phase == idle {
		m.can(t, "c%d finds no partition although there was one", c)
		return
	}
	m.can(t, "c%d reads the base: generation %d, %e", c, w.base.generation, uint8(w.base.events))
}

// baseRead goes on after the base and the board were read.
func (m *model) baseRead(t *state, c uint8) {
	w := &t.member[c].work
	switch {
	case w.base.generation == 0 && w.known.generation > 0 && !m.flaw.vanishedIgnored:
		// The hour is stuck: its mark waits, and it is tried again.
		t.hour[w.hour].alarm = t.struck&vanish == 0
		*w = rewrite{}
	case m.flaw.indexBeforeBase:
		w.todo = m.unread(t, w.hour, w.base, w.noted) &^ m.rowsOf(w.unlisted)
		w.rowsNext()
	default:
		w.phase = readIndex
	}
}

// wentBack reports whether the base is an older version than one that was
// published.
func (w *rewrite) wentBack() bool {
	return w.base.generation > 0 && w.base.generation < w.known.generation
}

// readIndex reads the index and the notes, and finds out which rows to read.
func (m *model) readIndex(s *state, c uint8) {
	t := *s
	w := &t.member[c].work
	listed := m.listed(s, w.hour)
	w.unlisted = m.lanesOf[w.hour] &^ listed
	w.noted = m.validNotes(s, w)
	if m.flaw.indexBeforeBase {
		w.phase = readBase
		m.can(t, "c%d reads the index: %l", c, uint8(listed))
		return
	}
	if w.todo = m.unread(s, w.hour, w.base, w.base.merged|w.noted); w.rebuild {
		w.noted = 0
		w.todo = m.unread(s, w.hour, manifest{}, 0)
	}
	w.rowsNext()
	if m.days == 0 {
		m.can(t, "c%d reads the index: %l", c, uint8(listed))
		return
	}
	// Clocks of compactors may be ahead of those of ingest by less than a day.
	for _, today := range [2]uint8{s.day, s.day + 1} {
		w.settled = m.settledOn(today)
		m.can(t, "c%d reads the index on day %d: %l", c, today, uint8(listed))
	}
}

// settledOn returns the first day whose shared lanes may still get rows.
func (m *model) settledOn(today uint8) uint8 {
	after := uint8(2)
	if m.flaw.settledEarly {
		after = 1
	}
	return today - min(after, today)
}

// validNotes returns the rows noted that hold for the base.
func (m *model) validNotes(s *state, w *rewrite) set {
	if w.base.generation == 0 && !m.flaw.indexBeforeBase || w.wentBack() && !m.flaw.notesKeptWhenWentBack {
		return 0
	}
	notes := s.hour[w.hour].notes[w.base.lineage]
	if !m.flaw.unlistedFolded {
		notes &= m.rowsOf(m.listed(s, w.hour))
	}
	return notes
}

// unread returns the rows outside have that a rewrite of a base looks for: not
// those of lanes that are complete, and of shared lanes that are settled
// (job.unread).
func (m *model) unread(s *state, h uint8, base manifest, have set) (rows set) {
	for i := range m.lanes {
		l := uint8(i)
		if m.lanes[l].hour != h || s.lane[l].index != present || m.complete(s, l, have) {
			continue
		}
		if m.lanes[l].shared && m.lanes[l].day < base.settled {
			continue
		}
		rows |= m.ofLane[l] &^ have
	}
	if m.flaw.replaced {
		rows |= m.rowsOf(m.listed(s, h))
	}
	for r := range uint8(len(m.rows)) {
		if gone := s.row[r] == dead || s.row[r] == never; gone && !(s.there | s.late).has(r) {
			rows &^= of(r) // will never be there
		}
	}
	return rows
}

// complete reports whether have has every row that a closed lane will ever have.
func (m *model) complete(s *state, l uint8, have set) bool {
	return s.lane[l].closed > 0 && (have&m.ofLane[l]).count() == s.lane[l].closed-1
}

// rowsNext goes on to the next row, or to the publish if there is none.
func (w *rewrite) rowsNext() {
	if w.phase = readRows; w.todo == 0 {
		w.phase = judge
	}
}

// readRow reads one row. Lanes are read at once, the rows of each in order; no
// read is a snapshot.
func (m *model) readRow(s *state, c uint8) {
	var lanes set
	for todo := s.member[c].work.todo; todo != 0; todo &= todo - 1 {
		r := todo.lowest()
		if lanes.has(m.rows[r].lane) {
			continue
		}
		lanes |= of(m.rows[r].lane)
		t := *s
		w := &t.member[c].work
		w.todo &^= of(r)
		there := s.there.has(r) && !m.passedOver(w, r)
		if there {
			w.read |= of(r)
		}
		if w.rowsNext(); w.phase == judge && m.flaw.versionAfterContent {
			w.stale = false
		}
		m.giveUpIfLost(&t, c)
		if there {
			m.can(t, "c%d reads r%d", c, r)
		} else {
			m.can(t, "c%d looks for r%d, which is not there", c, r)
		}
	}
}

// passedOver reports whether a reader that looks only behind the largest row of a
// segment misses a row.
func (m *model) passedOver(w *rewrite, r uint8) bool {
	return m.flaw.tailOnly && w.base.merged&m.ofLane[m.rows[r].lane]&^below(r) != 0
}

// copies reports whether all that was read are copies of events of the base.
func (m *model) copies(w *rewrite) bool {
	return w.base.events.covers(m.events(w.read)) || m.flaw.anyNoted && w.base.generation > 0
}

// judge ends the attempt: by a publish, by notes, or by nothing.
func (m *model) judge(s *state, c uint8) {
	t := *s
	w := &t.member[c].work
	added := w.read &^ (w.base.merged | w.noted)
	if w.rebuild {
		m.rebuild(&t, c)
		return
	}
	switch {
	case added == 0 && !w.wentBack() && !(m.flaw.replaced && w.base.generation > 0):
		m.told(&t, c)
		m.can(t, "c%d finds nothing new", c)
	case m.notes && added != 0 && !w.wentBack() && m.copies(w):
		if m.board && w.known.generation < w.base.generation && !m.flaw.notedFirst {
			w.known = m.notice(w)
			t.hour[w.hour].board = w.known
			m.can(t, "c%d tells the board of generation %d", c, w.base.generation)
			return
		}
		t.hour[w.hour].notes[w.base.lineage] |= added
		w.noted |= added
		m.told(&t, c)
		m.can(t, "c%d notes %r as copies", c, uint8(added))
	case w.stale && !m.flaw.unconditional:
		if m.flaw.republished {
			w.stale = false
			m.can(t, "c%d fails to publish, and takes the new version as its condition", c)
			return
		}
		m.restart(&t, c)
		m.can(t, "c%d fails to publish, begins again", c)
	default:
		m.publish(&t, c, m.merged(&t, w, added))
		h := &t.hour[w.hour]
		m.told(&t, c)
		o := h.object
		m.can(t, "c%d publishes generation %d: %e of %r", c, o.generation, uint8(o.events), uint8(o.merged))
		if m.faults&(wentBack|restoring) != 0 && h.copy.generation == 0 {
			h.copy = o
			m.can(t, "c%d publishes generation %d: %e of %r, which somebody keeps", c, o.generation, uint8(o.events), uint8(o.merged))
		}
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
		m.told(t, c)
		m.can(*t, "c%d publishes a rebuild of %r", c, uint8(next.merged))
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

// notice is what the board is told.
func (m *model) notice(w *rewrite) board {
	return board{generation: w.base.generation, settled: w.base.merged | w.noted, current: !w.stale}
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
