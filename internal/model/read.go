package model

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
	return rows & (s.there | s.late | m.coming(s))
}

// coming returns the rows that their writers may yet send, or have sent.
func (m *model) coming(s *state) (rows set) {
	for r := range uint8(len(m.rows)) {
		if s.row[r] != dead && (s.row[r] != never || m.rows[r].again) {
			rows |= of(r)
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
