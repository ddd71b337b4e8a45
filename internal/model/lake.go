package model

// publish replaces the object.
func (m *model) publish(t *state, c uint8, next manifest) {
	w := &t.member[c].work
	h := &t.hour[w.hour]
	next.generation = m.generation(max(w.base.generation, w.known.generation) + 1)
	if w.wentBack() && !w.rebuild && !m.flaw.lineageKept {
		next.lineage = h.newLineage()
	}
	m.put(t, w.hour, next)
	h.must |= next.events
	w.base, w.noted, w.stale = next, 0, false
}

// merged returns the manifest of the base with the rows that were noted and added.
func (m *model) merged(t *state, w *rewrite, added set) manifest {
	next := w.base
	folded := w.noted &^ next.merged
	next.merged |= folded | added
	next.seen += folded.count() + added.count()
	next.counted |= folded | added
	next.settled = max(next.settled, w.settled)
	switch {
	case m.flaw.replaced:
		next.events = m.events(w.read) &^ next.erased
	case m.flaw.erasureForgotten:
		next.events |= m.events(added)
	default:
		next.events |= m.events(added) &^ next.erased
	}
	next.merged = m.misrecorded(t, w, next.merged)
	next.merged &^= m.prunable(t, w, next.merged)
	return next
}

// misrecorded is what a manifest says that records other rows than those read.
func (m *model) misrecorded(t *state, w *rewrite, merged set) set {
	for l := range m.lanes {
		if rows := merged & m.ofLane[l]; m.flaw.rangeRecorded && rows != 0 {
			merged |= m.ofLane[l] & below(rows.highest())
		}
	}
	if m.flaw.unreadRecorded {
		merged |= t.there & m.rowsOf(m.listed(t, w.hour))
	}
	return merged
}

// prunable returns the rows that the manifest forgets: those of lanes that are not
// listed, in an index that was read after the base, and that have expired
// (job.prunable).
func (m *model) prunable(t *state, w *rewrite, merged set) (rows set) {
	for i := range m.lanes {
		l := uint8(i)
		of := merged & m.ofLane[l]
		gone := of&(t.there|t.late) == 0
		switch {
		case m.flaw.prunedClosed:
			if t.lane[l].closed > 0 {
				rows |= of
			}
		case m.flaw.prunedByAge:
			if of&t.there == 0 {
				rows |= of
			}
		case w.unlisted.has(l) && (gone || m.flaw.prunedByIndex):
			rows |= of
		}
	}
	return rows
}

// put makes a manifest an hour's object: a new version, on which no other rewrite
// is based.
func (m *model) put(t *state, h uint8, next manifest) {
	t.hour[h].object = next
	t.hour[h].board.current = false
	for c := range uint8(members) {
		w := &t.member[c].work
		if w.phase != idle && w.hour == h && (w.phase > readBase || m.flaw.boardAfterBase && w.phase == readBoard) {
			w.stale = true
			m.giveUpIfLost(t, c)
		}
	}
	if h == 0 && t.operator.phase > readBase {
		t.operator.stale = true
	}
}

// newLineage begins a lineage.
func (h *hour) newLineage() uint8 {
	h.lineages++
	return h.lineages
}

// lake is what happens to objects from outside of the compactors: erasure, an
// operator's restoration, and hands that move objects.
func (m *model) lake(s *state) {
	m.erase(s)
	m.restore(s)
	if t, strikes := m.strikes(s, rebuilding); strikes && !s.hour[0].request && t.append(of(0)) {
		t.hour[0].request = true
		m.may(t, "an operator asks for a rebuild, and marks the hour at @%d", s.end)
	}
	h := &s.hour[0]
	if m.betweenBoardAndBase(s) {
		return
	}
	if t, strikes := m.strikes(s, wentBack); strikes && h.copy.generation > 0 && h.copy != h.object {
		m.put(&t, 0, h.copy)
		t.hour[0].erased = h.copy.erased // whoever does this brings them back
		m.replaced(&t)
		t.hour[0].must = h.copy.events
		m.may(t, "somebody puts generation %d back", h.copy.generation)
	}
	// An object that nobody knows of yet is not removed.
	if t, strikes := m.strikes(s, vanish); strikes && h.object.generation > 0 && h.board.generation > 0 {
		m.put(&t, 0, manifest{})
		m.replaced(&t)
		m.may(t, "somebody removes the object")
	}
}

// betweenBoardAndBase reports whether a rewrite of hour 0 has read the board and
// not yet the base. No hand moves an object just then.
func (m *model) betweenBoardAndBase(s *state) bool {
	for c := range s.member {
		if w := &s.member[c].work; w.phase == readBase && w.hour == 0 {
			return true
		}
	}
	return false
}

// erase drops event 0 by a publish of its own, and remembers it. An object that went
// back is left to a rewrite first.
func (m *model) erase(s *state) {
	t, strikes := m.strikes(s, erasure)
	next := s.hour[0].object
	if !strikes || !next.events.has(0) || next.generation < s.hour[0].board.generation {
		return
	}
	next.events &^= of(0)
	next.erased |= of(0)
	next.generation = m.generation(next.generation + 1)
	m.put(&t, 0, next)
	h := &t.hour[0]
	h.must &^= of(0)
	h.erased |= of(0)
	if h.board.generation > 0 {
		h.board = board{generation: next.generation, settled: next.merged, current: true}
	}
	m.may(t, "event 0 is erased")
}

// replaced gives up what neither a partition that somebody chose has, nor the
// store.
func (m *model) replaced(t *state) {
	h := &t.hour[0]
	lasting := m.lasting(t)
	for r := range uint8(len(m.rows)) {
		e, gone := m.rows[r].event, t.row[r] >= stored && !t.there.has(r)
		if m.ofHour[0].has(r) && gone && m.ofEvent[e]&lasting == 0 && !h.object.events.has(e) {
			h.givenUp |= of(r)
		}
	}
}

// lasting returns the rows that can be read and do not expire unless merged.
func (m *model) lasting(t *state) (rows set) {
	for r := range uint8(len(m.rows)) {
		if t.row[r] != dead {
			rows |= of(r)
		}
	}
	return rows & t.there & m.rowsOf(m.listed(t, 0))
}

// restore publishes the kept copy again with our tool (Compactor.Restore): a new
// generation of a new lineage, with the erasures of both; then the hour is marked.
func (m *model) restore(s *state) {
	o, h := &s.operator, &s.hour[0]
	t := *s
	switch o.phase {
	case idle:
		if t, strikes := m.strikes(s, restoring); strikes && h.copy.generation > 0 {
			t.operator = operator{phase: readBase, known: h.board}
			m.may(t, "an operator restores generation %d: reads the board", h.copy.generation)
		}
	case readBase:
		t.operator.base, t.operator.stale, t.operator.phase = h.object, false, judge
		m.can(t, "the operator looks at the object: generation %d", h.object.generation)
	case judge:
		if o.stale {
			t.operator = operator{phase: readBase, known: h.board}
			m.can(t, "the operator fails to publish, begins again")
			return
		}
		m.put(&t, 0, m.restored(&t, o))
		m.replaced(&t)
		t.hour[0].must = t.hour[0].object.events
		t.operator = operator{phase: marking, base: t.hour[0].object, willMark: !m.flaw.restoredUnmarked}
		if m.flaw.restoredUnmarked || m.flaw.restoredToldFirst {
			t.operator.phase = tell
		}
		m.can(t, "the operator publishes generation %d: %e", t.hour[0].object.generation, uint8(t.hour[0].object.events))
	case tell:
		if o.base.generation >= h.board.generation {
			t.hour[0].board = board{generation: o.base.generation, settled: o.base.merged, current: !o.stale}
		}
		if t.operator = (operator{}); m.flaw.restoredToldFirst {
			t.operator = operator{phase: marking, willMark: true}
		}
		m.can(t, "the operator tells the board")
	case marking:
		if t.append(of(0)) {
			if t.operator.phase, t.operator.willMark = tell, false; m.flaw.restoredToldFirst {
				t.operator = operator{}
			}
			m.can(t, "the operator marks the hour at @%d", s.end)
		}
	}
	if t, strikes := m.strikes(s, operatorDie); strikes && o.phase != idle {
		t.operator = operator{}
		m.may(t, "the operator's command dies")
	}
}

// restored returns the manifest that a restoration publishes.
func (m *model) restored(t *state, o *operator) manifest {
	h := &t.hour[0]
	next := h.copy
	if !m.flaw.restoredUnerased {
		next.erased |= o.base.erased
		next.events &^= next.erased
	}
	if !m.flaw.lineageKept {
		next.lineage = h.newLineage()
	}
	if m.flaw.restoredSettled {
		next.settled = max(next.settled, m.settledOn(t.day))
	}
	next.generation = max(next.generation, o.base.generation, o.known.generation) + 1
	return next
}
