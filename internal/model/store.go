package model

// store is what happens in the store by itself: writes land, time passes, rows
// and index rows expire.
func (m *model) store(s *state) {
	for l := range uint8(len(m.lanes)) {
		m.indexRow(s, l)
	}
	for r := range uint8(len(m.rows)) {
		if t := *s; s.late.has(r) {
			t.late &^= of(r)
			m.land(&t, r)
			m.may(t, "the write of r%d that timed out lands", r)
		}
		if t := *s; s.there.has(r) && m.mayExpire(s, r) {
			t.there &^= of(r)
			t.bare &^= of(r)
			m.may(t, "r%d expires", r)
		}
	}
	if t := *s; s.day < m.days {
		t.day++
		m.may(t, "day %d begins", t.day)
	}
}

// land makes a row readable.
func (m *model) land(t *state, r uint8) {
	t.there |= of(r)
	if m.flaw.segmentReused && r == 2 {
		t.there &^= of(0) // which has the same name
	}
}

// indexRow is what happens to the index row of a lane.
func (m *model) indexRow(s *state, l uint8) {
	t, at := *s, &s.lane[l]
	switch {
	case at.index == written || at.renewing || m.flaw.indexAfterMark && at.index == unwritten:
		t.lane[l] = lane{index: present, closed: at.closed}
		t.bare &^= m.ofLane[l]
		m.can(t, "the index row of lane %d is acknowledged", l)
	case at.index == present && m.renewal && !at.old && at.closed == 0:
		t.lane[l].old = true
		m.may(t, "an hour passes for the index row of lane %d", l)
	}
	if t := *s; at.index == present && m.mayLeaveIndex(s, l) {
		t.lane[l].index = expired
		m.may(t, "the index row of lane %d expires", l)
	}
}

// mayLeaveIndex reports whether a lane's index row may expire: it lives twice as
// long as every row that came before it was old.
func (m *model) mayLeaveIndex(s *state, l uint8) bool {
	at, rows := &s.lane[l], m.ofLane[l]
	if m.noExpiry {
		return false
	}
	if m.flaw.indexShortLived {
		first := rows & -rows
		return s.hour[m.lanes[l].hour].object.counted&first != 0 && s.there&first == 0
	}
	if m.renewal && at.closed == 0 {
		return at.old && (s.there|s.late)&^s.bare&rows == 0
	}
	for r := range uint8(len(m.rows)) {
		if rows.has(r) && (s.row[r] == sent || s.row[r] == fresh && at.closed == 0) {
			return false
		}
	}
	return (s.there|s.late)&rows == 0
}

// mayExpire reports whether a row may expire: the TTL is longer than it takes to
// serve a mark, so no row expires that is to be acknowledged and is not merged.
func (m *model) mayExpire(s *state, r uint8) bool {
	if m.noExpiry || s.row[r] == dead {
		return !m.noExpiry
	}
	h := &s.hour[m.lanes[m.rows[r].lane].hour]
	served := h.object.counted | h.notes[h.object.lineage]
	return served.has(r) && (h.object.events | h.object.erased).has(m.rows[r].event)
}
