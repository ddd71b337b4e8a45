package model

import "fmt"

// wrong implements system: the promises, which hold in every state.
func (m *model) wrong(s state) string {
	for h := range m.hours {
		if text := m.wrongPartition(&s.hour[h]); text != "" {
			return fmt.Sprintf("hour %d: %s", h, text)
		}
	}
	for r := range uint8(len(m.rows)) {
		if s.row[r] != acked || m.inLake(&s, r) {
			continue
		}
		if text := m.lost(&s, r); text != "" {
			return fmt.Sprintf("acknowledged r%d %s", r, text)
		}
	}
	return ""
}

// wrongPartition says what is wrong with an hour's object alone.
func (m *model) wrongPartition(h *hour) string {
	o := &h.object
	switch {
	case o.generation > 0 && !o.events.covers(h.must):
		return fmt.Sprintf("it shrank, %s is missing", (h.must &^ o.events).names('e'))
	case o.events&h.erased != 0:
		return fmt.Sprintf("erased %s came back", (o.events & h.erased).names('e'))
	case o.seen != o.counted.count():
		return fmt.Sprintf("the books count %d rows, %d were merged", o.seen, o.counted.count())
	case h.alarm:
		return "a false alarm: its partition never vanished"
	}
	return ""
}

// inLake reports whether nothing more is owed to a row.
func (m *model) inLake(s *state, r uint8) bool {
	h := &s.hour[m.lanes[m.rows[r].lane].hour]
	return (h.object.events | h.object.erased).has(m.rows[r].event) || h.givenUp.has(r)
}

// lost says why an acknowledged row that is not in the lake will never be; "" if
// it will: some row of its event can be read, an index row leads there, a rewrite
// would take it, and the hour is marked, or a sweep would mark it.
func (m *model) lost(s *state, r uint8) string {
	h := m.lanes[m.rows[r].lane].hour
	at := &s.hour[h]
	rows := m.ofEvent[m.rows[r].event] & s.there
	if rows == 0 {
		return "is gone from the store and not in the lake"
	}
	listed := m.rowsOf(m.listed(s, h))
	if m.flaw.indexAfterMark && s.marked(h) {
		listed = s.there // it may come
	}
	if rows &= listed; rows == 0 {
		return "has no index row"
	}
	w := rewrite{hour: h, base: at.object, known: at.board}
	have := at.object.merged | m.validNotes(s, &w)
	if rows &^= have; rows == 0 {
		return "is recorded as merged but not in the lake"
	}
	if m.unread(s, h, at.object, have)&rows == 0 && !m.flaw.indexAfterMark {
		return "is in a lane that no rewrite reads"
	}
	switch {
	case s.marked(h), h == 0 && s.operator.willMark:
		return ""
	case !m.disturbed(s):
		return "has no mark"
	case !m.sweepSees(s, h):
		return "has no mark and no sweep sees it"
	}
	return ""
}

// unfinished implements system: when nothing is left to do, everything is done. With
// a full log something may be left.
func (m *model) unfinished(s state) string {
	if s.end == maxMarks {
		return ""
	}
	for r := range uint8(len(m.rows)) {
		if s.row[r] == acked && !m.inLake(&s, r) {
			return fmt.Sprintf("acknowledged r%d is not in the lake, and nothing is left to do", r)
		}
	}
	return ""
}
