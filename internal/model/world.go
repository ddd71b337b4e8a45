package model

import "strings"

// world is what is given: who writes what where, and what may go wrong. The
// numbers are as small as shows the dangers, and differ from world to world.
type world struct {
	name  string
	rows  []row
	lanes []laneOf
	hours uint8 // 1 if 0

	days       uint8 // that may pass; shared lanes are named by theirs
	notes      bool  // copies are noted, not published
	board      bool  // the board is modelled: its reads and writes are steps
	renewal    bool  // index rows grow old
	lateCommit bool  // offsets are committed at any time after they may be
	deferrals  uint8 // marks that may be moved to the end of the log
	oneAtATime bool  // a writer sends a batch when the one before is acknowledged
	noExpiry   bool  // nothing expires
	noClosing  bool  // no lane is closed

	faults faults
	budget uint8 // how many faults, of all kinds together

	flaw flaws
}

// row is one batch, which has one row of one event.
type row struct {
	writer uint8
	lane   uint8
	event  uint8
	// anewAs is the number of the row under which this one is written again when
	// it came too late for its lane; 0: there is none. That one has again set.
	anewAs uint8
	again  bool
}

// laneOf says what a lane is: of its writer's own, or shared on a day.
type laneOf struct {
	hour   uint8
	shared bool
	day    uint8
}

// faults is a set of kinds of faults.
type faults uint16

const (
	timeout     faults = 1 << iota // a write times out, is repeated, and lands once more at any time
	ingestDie                      // the first ingest dies
	rebalance                      // the log goes to the other compactor; the old owner does not notice
	kill                           // the owner of the log dies
	loss                           // every mark in the log is lost
	erasure                        // event 0 is erased
	wentBack                       // somebody puts an older version in the object's place
	vanish                         // somebody removes the object
	restoring                      // an operator restores an older version with our tool
	operatorDie                    // the command that restores dies
	regain                         // the log goes back to the first compactor
	rebuilding                     // an operator asks for a rebuild
)

// letters name the kinds of faults, in their order.
const letters = "TIRKLEBVSOGU"

func (f faults) String() string {
	var b strings.Builder
	for i, letter := range letters {
		if f>>i&1 == 1 {
			b.WriteRune(letter)
		}
	}
	return b.String()
}

// model is a world at work. It is a [system].
type model struct {
	world
	steps []step[state]

	ofLane  [maxLanes]set // rows
	ofEvent [maxRows]set  // rows
	ofHour  [maxHours]set // rows
	lanesOf [maxHours]set // lanes
}

func newModel(w world) *model {
	m := &model{world: w}
	m.hours = max(1, m.hours)
	for i, r := range w.rows {
		m.ofLane[r.lane] |= of(uint8(i))
		m.ofEvent[r.event] |= of(uint8(i))
		m.ofHour[w.lanes[r.lane].hour] |= of(uint8(i))
	}
	for i, l := range w.lanes {
		m.lanesOf[l.hour] |= of(uint8(i))
	}
	return m
}

// first implements system.
func (m *model) first() (s state) {
	for i, r := range m.rows {
		if r.again || m.flaw.segmentReused && i == 2 {
			s.row[i] = never
		}
	}
	for i := range s.row[len(m.rows):] {
		s.row[len(m.rows)+i] = never
	}
	return s
}

// next implements system.
func (m *model) next(s state, steps []step[state]) []step[state] {
	m.steps = steps
	m.ingest(&s)
	m.store(&s)
	m.queue(&s)
	for c := range uint8(members) {
		m.compact(&s, c)
	}
	m.sweep(&s)
	m.operators(&s)
	return m.steps
}

// can appends a step to what can happen.
func (m *model) can(t state, text string, args ...uint8) {
	m.forget(&t)
	m.steps = append(m.steps, step[state]{to: t, what: newLabel(text, args)})
}

// may appends a step that nobody is obliged to.
func (m *model) may(t state, text string, args ...uint8) {
	m.forget(&t)
	m.steps = append(m.steps, step[state]{to: t, what: newLabel(text, args), weak: true})
}

// strikes reports whether a fault of a kind can happen, and if so returns the
// state in which it is counted.
func (m *model) strikes(s *state, kind faults) (state, bool) {
	t := *s
	if m.faults&kind == 0 || s.spent >= m.budget {
		return t, false
	}
	t.spent++
	t.struck |= kind
	return t, true
}

// events returns the events of rows.
func (m *model) events(rows set) (events set) {
	for ; rows != 0; rows &= rows - 1 {
		events |= of(m.rows[rows.lowest()].event)
	}
	return events
}

// listed returns the lanes of an hour whose index row can be read.
func (m *model) listed(s *state, h uint8) (lanes set) {
	for i := range m.lanes {
		if m.lanes[i].hour == h && s.lane[i].index == present {
			lanes |= of(uint8(i))
		}
	}
	return lanes
}

// rowsOf returns all rows of lanes.
func (m *model) rowsOf(lanes set) (rows set) {
	for i := range m.lanes {
		if lanes.has(uint8(i)) {
			rows |= m.ofLane[i]
		}
	}
	return rows
}
