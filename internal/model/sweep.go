package model

// sweep looks at every hour and marks those that have rows which nobody merged; of
// the others it brings the board up to date (Compactor.Sweep). In worlds with days
// it also remembers the day.
func (m *model) sweep(s *state) {
	t := *s
	var found set
	for h := range m.hours {
		sees := m.sweepSees(s, h)
		// What is there otherwise has its mark, or will have.
		if sees && !s.marked(h) && m.disturbed(s) {
			found |= of(h)
		}
		if m.board && (!sees || m.flaw.sweepToldFirst) {
			m.repair(&t.hour[h])
		}
	}
	if m.days > 0 {
		t.swept = s.day + 1
	}
	if u := t; m.flaw.sweepToldFirst && u != *s {
		u.swept = s.swept
		m.may(u, "a sweep tells the board, and dies")
	}
	if t.append(found) && t != *s {
		m.can(t, "a sweep finds %h", uint8(found))
	}
}

// repair tells the board of an object that it does not describe.
func (m *model) repair(h *hour) {
	if o := &h.object; o.generation > 0 && !h.board.current && o.generation >= h.board.generation {
		h.board = board{generation: o.generation, settled: o.merged | h.notes[o.lineage], current: true}
	}
}

// disturbed reports whether something happened that marks do not tell of.
func (m *model) disturbed(s *state) bool {
	return s.struck&(loss|wentBack|vanish|operatorDie) != 0
}

// sweepSees reports whether a sweep marks an hour.
func (m *model) sweepSees(s *state, h uint8) bool {
	o, b, listed := &s.hour[h].object, &s.hour[h].board, m.listed(s, h)
	switch {
	case m.flaw.sweptByCount:
		return (s.there & m.rowsOf(listed)).count() != o.merged.count()
	case m.flaw.sweptByPresence:
		return m.laneUnknown(s, h, o.merged)
	}
	described := m.board && o.generation > 0 && b.generation > 0 && (b.current || m.flaw.sweptByBoard)
	open := m.open(s, h, described)
	if open == 0 {
		return false
	}
	have := o.merged | s.hour[h].notes[o.lineage]
	switch {
	case o.generation == 0 && b.generation > 0:
		return true // it has vanished
	case o.generation == 0:
		have = 0
	case described:
		have = b.settled
	case o.generation < b.generation:
		have = o.merged
	}
	for l := range uint8(len(m.lanes)) {
		if open.has(l) && !m.complete(s, l, have) && m.ofLane[l]&s.there&^have != 0 {
			return true
		}
	}
	return false
}

// open returns the lanes that may have rows which the object does not, as far as
// the index and the board tell. What an earlier sweep saw is believed only of the
// same object.
func (m *model) open(s *state, h uint8, described bool) (open set) {
	same := described || !m.board || m.flaw.sweptBlindly ||
		s.hour[h].object.generation == 0 && s.hour[h].board.generation == 0
	for lanes := m.listed(s, h); lanes != 0; lanes &= lanes - 1 {
		l := lanes.lowest()
		done := described && m.complete(s, l, s.hour[h].board.settled)
		before := same && m.lanes[l].shared && m.lanes[l].day+3 < s.swept
		if !done && !before {
			open |= of(l)
		}
	}
	return open
}

// laneUnknown reports whether a lane has rows of which the partition has none.
func (m *model) laneUnknown(s *state, h uint8, merged set) bool {
	for lanes := m.listed(s, h); lanes != 0; lanes &= lanes - 1 {
		if rows := m.ofLane[lanes.lowest()]; s.there&rows != 0 && merged&rows == 0 {
			return true
		}
	}
	return false
}
