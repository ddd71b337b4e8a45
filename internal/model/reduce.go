package model

// What makes fewer states of the same behaviour. All of it is sound: it joins states
// that no step and no promise can tell apart, or leaves out steps that nobody sees.

// giveUpIfLost begins a rewrite again that will fail the condition of its publish,
// whatever else it reads. Until that publish nobody sees what it does, and it could
// have been as slow as to begin now.
func (m *model) giveUpIfLost(t *state, c uint8) {
	w := &t.member[c].work
	if w.phase > readIndex && w.phase < tell && w.stale && !w.rebuild && m.conditional() && (w.wentBack() || !m.copies(w)) {
		m.restart(t, c)
	}
}

// conditional reports whether publishes fail once the base was replaced.
func (m *model) conditional() bool {
	return !m.flaw.unconditional && !m.flaw.versionAfterContent && !m.flaw.republished
}

// generation returns a generation as it is kept: as 1 in worlds in which no object
// ever goes back, since then nobody compares them.
func (m *model) generation(g uint8) uint8 {
	if m.faults&(wentBack|vanish|restoring) == 0 {
		return 1
	}
	return g
}

// forget clears what nobody looks at again.
func (m *model) forget(t *state) {
	if !m.lateCommit && m.hours == 1 {
		t.member[1-t.owner].forgetLog()
	}
	for c := range t.member {
		w := &t.member[c].work
		if w.stale && w.phase > readIndex && m.conditional() {
			// It will not publish.
			w.base.seen, w.base.counted, w.base.settled, w.base.erased = 0, 0, 0, 0
			w.unlisted, w.settled = 0, 0
		}
	}
}

// forgetLog leaves of what a member knows of a log that it does not own whether the
// hour waits, and whether that ends with the rewrite.
func (c *member) forgetLog() {
	c.pos = 0
	served := c.work.upTo == c.waits[0]
	if c.waits[0] > 0 {
		c.waits[0] = 1
	}
	if c.work.phase != idle && c.work.upTo > 0 {
		if c.work.upTo = 1; !served {
			c.work.upTo = 2
		}
	}
}
