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
		l, its := uint8(i), merged&m.ofLane[i]
		prune := w.unlisted.has(l) && its&(t.there|t.late) == 0
		switch {
		case m.flaw.prunedClosed:
			prune = t.lane[l].closed > 0
		case m.flaw.prunedByAge:
			prune = its&t.there == 0
		case m.flaw.prunedByIndex:
			prune = w.unlisted.has(l)
		}
		if prune {
			rows |= its
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
