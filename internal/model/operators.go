package model

// operators is what happens to objects from outside of the compactors: erasure,
// restoration, requests, and hands that move objects.
func (m *model) operators(s *state) {
	m.erase(s)
	m.restore(s)
	if t, strikes := m.strikes(s, rebuilding); strikes && !s.hour[0].request && t.append(of(0)) {
		t.hour[0].request = true
		m.may(t, "an operator asks for a rebuild, and marks the hour at @%d", s.end)
	}
	if !m.betweenBoardAndBase(s) {
		m.hands(s)
	}
}

// hands put an older object in the place of the present one, or remove it.
func (m *model) hands(s *state) {
	h := &s.hour[0]
	if t, strikes := m.strikes(s, wentBack); strikes && h.copy.generation > 0 && h.copy != h.object {
		m.put(&t, 0, h.copy)
		m.giveUp(&t)
		t.hour[0].must, t.hour[0].erased = h.copy.events, h.copy.erased
		m.may(t, "somebody puts generation %d back", h.copy.generation)
	}
	// An object that nobody knows of yet is not removed.
	if t, strikes := m.strikes(s, vanish); strikes && h.object.generation > 0 && h.board.generation > 0 {
		m.put(&t, 0, manifest{})
		m.giveUp(&t)
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

// giveUp gives up the rows of which neither the object that somebody chose has the
// event, nor the store another row.
func (m *model) giveUp(t *state) {
	h, lasting := &t.hour[0], m.lasting(t)
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
// generation of a new lineage, with the erasures of both. Then the hour is marked,
// and then the board is told.
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
		m.publishRestored(&t)
	case marking:
		if t.append(of(0)) {
			if t.operator.phase, t.operator.willMark = tell, false; m.flaw.restoredToldFirst {
				t.operator = operator{}
			}
			m.can(t, "the operator marks the hour at @%d", s.end)
		}
	case tell:
		m.tellBoard(&t, &rewrite{base: o.base, stale: o.stale})
		if t.operator = (operator{}); m.flaw.restoredToldFirst {
			t.operator = operator{phase: marking, willMark: true}
		}
		m.can(t, "the operator tells the board")
	}
	if t, strikes := m.strikes(s, operatorDie); strikes && o.phase != idle {
		t.operator = operator{}
		m.may(t, "the operator's command dies")
	}
}

// publishRestored is the conditional publish of a restoration.
func (m *model) publishRestored(t *state) {
	h := &t.hour[0]
	if t.operator.stale {
		t.operator = operator{phase: readBase, known: h.board}
		m.can(*t, "the operator fails to publish, begins again")
		return
	}
	m.put(t, 0, m.restored(t))
	m.giveUp(t)
	h.must = h.object.events
	t.operator = operator{phase: marking, base: h.object, willMark: !m.flaw.restoredUnmarked}
	if m.flaw.restoredUnmarked || m.flaw.restoredToldFirst {
		t.operator.phase = tell
	}
	m.can(*t, "the operator publishes generation %d: %e", h.object.generation, uint8(h.object.events))
}

// restored returns the manifest that a restoration publishes.
func (m *model) restored(t *state) manifest {
	h, o := &t.hour[0], &t.operator
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
