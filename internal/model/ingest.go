package model

// ingest is what the writers do: package ingest.
func (m *model) ingest(s *state) {
	for r := range uint8(len(m.rows)) {
		switch s.row[r] {
		case fresh:
			m.send(s, r)
		case sent:
			m.acknowledged(s, r)
		case stored:
			m.settle(s, r)
		}
	}
	for l := range uint8(len(m.lanes)) {
		m.renew(s, l)
		m.closeLane(s, l)
	}
	for p := range uint8(2) {
		m.mark(s, p)
	}
	m.ingestDies(s)
}

// send writes a row, and in parallel the index row of its lane if that is not
// written yet or is old (worker.send).
func (m *model) send(s *state, r uint8) {
	w, l := &m.rows[r], m.rows[r].lane
	if m.lanes[l].shared && s.day != m.lanes[l].day {
		return // its writer's rows go to another day's lane by now
	}
	for before := range r {
		b, at := &m.rows[before], s.row[before]
		if b.writer == w.writer && (at == fresh && b.lane == l || m.oneAtATime && at < acked) {
			return // rows are numbered as they are sent
		}
	}
	t := *s
	t.row[r] = sent
	switch index := &t.lane[l]; {
	case m.flaw.indexAfterMark:
	case index.index == unwritten:
		index.index = written
	case index.old && !m.flaw.noRenewal:
		index.renewing = true
	}
	m.can(t, "P%d sends r%d to lane %d", w.writer, r, l)
}

// acknowledged is the store's answer to a write, or the lack of one.
func (m *model) acknowledged(s *state, r uint8) {
	t := *s
	t.row[r] = stored
	m.land(&t, r)
	if t.lane[m.rows[r].lane].old {
		t.bare |= of(r)
	}
	m.can(t, "the store acknowledges r%d", r)
	if t, strikes := m.strikes(s, timeout); strikes && s.late == 0 {
		t.late |= of(r)
		m.may(t, "the write of r%d times out, may land late, and is repeated", r)
	}
}

// settle passes a row of a shared lane on, if it came in time, or else writes it
// anew into the lane of the day (worker.settle). The row of an own lane needs no
// such look.
func (m *model) settle(s *state, r uint8) {
	lane := m.lanes[m.rows[r].lane]
	if !lane.shared || !m.kept(s, r) {
		return
	}
	t := *s
	if s.day < lane.day+2 || m.flaw.settledAcked {
		t.row[r] = pending
		m.can(t, "r%d is in time for its lane", r)
		return
	}
	t.row[r] = dead
	if again := m.rows[r].anewAs; again != 0 {
		t.row[again] = fresh
		m.can(t, "r%d is too late for its lane, its event is written again as r%d", r, again)
		return
	}
	m.can(t, "r%d is too late for its lane and is written again elsewhere", r)
}

// kept reports whether the store has acknowledged a row and an index row that
// will outlive it.
func (m *model) kept(s *state, r uint8) bool {
	l := &s.lane[m.rows[r].lane]
	return m.flaw.indexAfterMark || l.index >= present && !l.renewing && (!s.bare.has(r) || m.flaw.noRenewal)
}

// renew writes an index row again before rows are passed on that came when it was
// old.
func (m *model) renew(s *state, l uint8) {
	if m.flaw.noRenewal || s.lane[l].renewing || s.lane[l].index < present {
		return
	}
	for r := range uint8(len(m.rows)) {
		if m.ofLane[l].has(r) && s.row[r] == stored && s.bare.has(r) {
			t := *s
			t.lane[l].renewing = true
			m.can(t, "the index row of lane %d is sent again", l)
			return
		}
	}
}

// closeLane writes the number of rows of an own lane to which none is on its way
// (worker.closeLanes). Rows that were not sent yet go to another lane.
func (m *model) closeLane(s *state, l uint8) {
	at := &s.lane[l]
	if m.noClosing || m.lanes[l].shared || at.closed > 0 || at.index != present || at.renewing {
		return
	}
	t, n, acknowledged := *s, uint8(0), uint8(0)
	for r := range uint8(len(m.rows)) {
		if !m.ofLane[l].has(r) {
			continue
		}
		switch s.row[r] {
		case dead:
			return // its writer is
		case sent:
			if !m.flaw.closedEarly {
				return
			}
		case stored:
			if !m.kept(s, r) {
				return
			}
			n++
		case riding:
			n++
		case acked:
			n++
			acknowledged++
		case fresh:
			t.row[r] = never
		}
	}
	if n == 0 || s.struck&ingestDie != 0 && m.writerOf(l) == 0 {
		return
	}
	if m.flaw.closedEarly && acknowledged == 0 {
		return
	}
	t.lane[l].closed, t.lane[l].old = n+1, false
	m.can(t, "lane %d is closed with %d rows", l, n)
}

// writerOf returns the process to which an own lane belongs.
func (m *model) writerOf(l uint8) uint8 { return m.rows[m.ofLane[l].lowest()].writer }

// mark is the one call of Mark that a process has under way (marker.flush). Rows
// ride on it that were kept before it began.
func (m *model) mark(s *state, p uint8) {
	var waiting, under, hours set
	for r := range uint8(len(m.rows)) {
		if m.rows[r].writer != p {
			continue
		}
		switch s.row[r] {
		case stored, pending:
			if s.row[r] == stored && (m.lanes[m.rows[r].lane].shared || !m.kept(s, r)) {
				continue
			}
			waiting |= of(r)
			hours |= of(m.lanes[m.rows[r].lane].hour)
		case riding:
			under |= of(r)
		}
	}
	if under != 0 {
		t := *s
		t.become(under, acked)
		m.can(t, "P%d's mark is acknowledged, so are %r", p, uint8(under))
	}
	if waiting == 0 {
		return
	}
	m.flawedMark(s, p, waiting, under)
	if t := *s; under == 0 && t.append(hours) {
		t.become(waiting, riding)
		m.can(t, "P%d marks at @%d for %r", p, s.end, uint8(waiting))
	}
}

// flawedMark is what the tempting savings do.
func (m *model) flawedMark(s *state, p uint8, waiting, under set) {
	if t := *s; m.flaw.markSuppressed && s.end > 0 {
		t.become(waiting, acked)
		m.can(t, "P%d has just marked the hour, and acknowledges %r", p, uint8(waiting))
	}
	if t := *s; m.flaw.rideInFlight && under != 0 {
		t.become(waiting, riding)
		m.can(t, "P%d lets %r ride on the mark that is under way", p, uint8(waiting))
	}
}

func (s *state) become(rows set, l life) {
	for ; rows != 0; rows &= rows - 1 {
		s.row[rows.lowest()] = l
	}
}

// ingestDies ends the first process. What it sent may land; nothing of it will be
// acknowledged.
func (m *model) ingestDies(s *state) {
	if s.struck&ingestDie != 0 {
		return
	}
	t, strikes := m.strikes(s, ingestDie)
	if !strikes {
		return
	}
	for r := range uint8(len(m.rows)) {
		if m.rows[r].writer != 0 {
			continue
		}
		switch s.row[r] {
		case fresh:
			t.row[r] = never
		case sent:
			t.late |= of(r)
			t.row[r] = dead
		case stored, pending, riding:
			t.row[r] = dead
		}
	}
	if m.flaw.segmentReused {
		t.row[2] = fresh
	}
	m.may(t, "P0 dies")
}
