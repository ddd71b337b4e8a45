package model

// queue is the dirty topic and its group: packages dirty and dirty/kafka.
func (m *model) queue(s *state) {
	for c := range uint8(members) {
		if s.owner == c {
			m.poll(s, c)
			m.postpone(s, c)
		}
		m.postponed(s, c)
		if floor := m.floor(s, c); m.lateCommit && floor != s.committed && floor > 0 {
			t := *s
			t.committed = floor
			m.can(t, "c%d commits %d", c, floor)
		}
	}
	m.faultsOfQueue(s)
}

// append puts a mark of each hour at the end of the log, unless that is full.
func (s *state) append(hours set) bool {
	if s.end+hours.count() > maxMarks {
		return false
	}
	for ; hours != 0; hours &= hours - 1 {
		s.log[s.end] = hours.lowest() + 1
		s.end++
	}
	return true
}

// marked reports whether an hour has a mark that is handed out after a crash.
func (s *state) marked(h uint8) bool {
	for o := s.committed; o < s.end; o++ {
		if s.log[o] == h+1 {
			return true
		}
	}
	return false
}

// poll hands the next mark to its member. Log compaction may have dropped it if a
// later one of the hour follows.
func (m *model) poll(s *state, c uint8) {
	for o := s.member[c].pos; o < s.end; o++ {
		if s.log[o] == 0 {
			continue
		}
		t, h := *s, s.log[o]-1
		t.member[c].pos = o + 1
		t.member[c].waits[h] = o + 1
		m.commit(&t, c)
		m.can(t, "c%d takes the mark of hour %d at @%d", c, h, o)
		if !s.marksAfter(o, h) {
			return
		}
		// else the cleaner may have been there first
	}
}

func (s *state) marksAfter(o, h uint8) bool {
	for o++; o < s.end; o++ {
		if s.log[o] == h+1 {
			return true
		}
	}
	return false
}

// floor is the offset that may be committed: the lowest of the waiting hours' last
// marks (dirty.Ledger).
func (m *model) floor(s *state, c uint8) uint8 {
	floor := s.member[c].pos
	if m.flaw.floorOfHighest {
		return m.highestFloor(s, c)
	}
	for _, waits := range s.member[c].waits {
		if waits > 0 {
			floor = min(floor, waits-1)
		}
	}
	return floor
}

// highestFloor passes every mark before the last that was taken.
func (m *model) highestFloor(s *state, c uint8) uint8 {
	floor := s.member[c].pos
	if waits := max(s.member[c].waits[0], s.member[c].waits[1]); waits > 0 {
		floor = waits - 1
	}
	return floor
}

// commit commits at once, in worlds that do not look at late commits.
func (m *model) commit(t *state, c uint8) {
	if !m.lateCommit && t.owner == c {
		t.committed = m.floor(t, c)
	}
}

// done says that an hour's marks before upTo are served.
func (m *model) done(t *state, c, h, upTo uint8) {
	waits := &t.member[c].waits[h]
	if *waits == upTo || upTo > 0 && m.flaw.marksDuringRewriteDropped {
		*waits = 0
	}
	m.commit(t, c)
}

// postpone marks a waiting hour again at the end of the log (Consumer.Defer).
func (m *model) postpone(s *state, c uint8) {
	at := &s.member[c]
	for i, waits := range at.waits[:m.hours] {
		t, h := *s, uint8(i)
		busy := at.work.phase != idle && at.work.hour == h
		if waits == 0 || busy || at.moving > 0 || s.deferrals >= m.deferrals {
			continue
		}
		t.member[c].moving, t.member[c].moved = waits, h
		t.deferrals++
		if m.flaw.deferredDoneFirst {
			m.done(&t, c, h, waits)
			m.can(t, "c%d lets hour %d wait, so @%d is done", c, h, waits-1)
		} else if t.append(of(h)) {
			m.can(t, "c%d lets hour %d wait, and marks it at @%d", c, h, s.end)
		}
	}
}

// postponed ends that: when the new mark is durable, the old one is done.
func (m *model) postponed(s *state, c uint8) {
	t, at := *s, &s.member[c]
	if at.moving == 0 {
		return
	}
	t.member[c].moving, t.member[c].moved = 0, 0
	if m.flaw.deferredDoneFirst {
		t.append(of(at.moved))
		m.can(t, "c%d marks hour %d again", c, at.moved)
		return
	}
	m.done(&t, c, at.moved, at.moving)
	m.can(t, "c%d has marked hour %d again, so @%d is done", c, at.moved, at.moving-1)
}

// hand gives the log to a member, which begins a new reading of it: of what it knew of
// an earlier one, only its rewrite goes on, which serves no mark of this one.
func (t *state) hand(owner uint8) {
	t.owner = owner
	at := &t.member[owner]
	*at = member{pos: t.committed, work: at.work}
	at.work.upTo = 0
}

// faultsOfQueue are a rebalance, the death of the owner, and the loss of marks.
func (m *model) faultsOfQueue(s *state) {
	c := s.owner
	if t, strikes := m.strikes(s, rebalance); strikes && s.struck&rebalance == 0 {
		t.hand(1 - c)
		m.may(t, "the log goes to c%d, from %d; c%d does not notice", t.owner, s.committed, c)
	}
	if t, strikes := m.strikes(s, regain); strikes && s.struck&rebalance != 0 && s.struck&regain == 0 {
		t.hand(1 - c)
		m.may(t, "the log goes back to c%d, from %d; c%d does not notice", t.owner, s.committed, c)
	}
	if t, strikes := m.strikes(s, kill); strikes && (s.member[c].work.phase != idle || s.member[c].moving > 0 || m.lateCommit) {
		t.member[c] = member{pos: s.committed}
		if t.member != s.member {
			m.may(t, "c%d dies, begins again at %d", c, s.committed)
		}
	}
	if t, strikes := m.strikes(s, loss); strikes && s.struck&loss == 0 && s.end > 0 {
		t.log = [maxMarks]uint8{}
		if !m.flaw.sweptInPart {
			t.swept = 0 // who loses the queue sweeps all
		}
		m.may(t, "all marks are lost")
	}
}
