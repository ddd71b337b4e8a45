package model

// compact is what a compactor does with the hours that wait: package compact.
func (m *model) compact(s *state, c uint8) {
	switch s.member[c].work.phase {
	case idle:
		m.start(s, c)
	case readBoard:
		m.readBoard(s, c)
	case readBase:
		m.readBase(s, c)
	case readIndex:
		m.readIndex(s, c)
	case readRows:
		m.readRow(s, c)
	case judge:
		m.judge(s, c)
	case tell:
		m.tell(s, c)
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

// readBoard asks the board what was published.
func (m *model) readBoard(s *state, c uint8) {
	t := *s
	w := &t.member[c].work
	w.known, w.phase = t.hour[w.hour].board, readBase
	generation := w.known.generation
	if m.flaw.boardAfterBase {
		m.bothRead(&t, c)
	}
	m.can(t, "c%d reads the board: generation %d", c, generation)
}

// readBase takes the partition, rows and version from one response.
func (m *model) readBase(s *state, c uint8) {
	t := *s
	w := &t.member[c].work
	w.base, w.stale = t.hour[w.hour].object, false
	base := w.base
	if m.board && m.flaw.boardAfterBase {
		w.phase = readBoard
	} else if m.bothRead(&t, c); w.phase == idle {
		m.can(t, "c%d finds no partition although there was one", c)
		return
	}
	m.can(t, "c%d reads the base: generation %d, %e", c, base.generation, uint8(base.events))
}

// bothRead goes on after the board and the base were read.
func (m *model) bothRead(t *state, c uint8) {
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
