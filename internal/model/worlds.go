package model

import (
	"fmt"
	"strings"
)

// Worlds, each as small as shows what it is for. Writers P0 and P1, compactors c0
// and c1, hour 0 unless there are two.

// pair has one own lane, whose writer has two batches in flight together.
var pair = world{
	name:  "pair",
	rows:  []row{{lane: 0, event: 0}, {lane: 0, event: 1}},
	lanes: []laneOf{{}},
	notes: true,
}

// segments has two own lanes: as pair, and P1 is delivered event 0 again.
var segments = world{
	name:  "segments",
	rows:  []row{{lane: 0, event: 0}, {lane: 0, event: 1}, {writer: 1, lane: 1, event: 0}},
	lanes: []laneOf{{}, {}},
	notes: true,
}

// restarted has a writer that writes again after it died.
var restarted = world{
	name:  "restarted",
	rows:  []row{{lane: 0, event: 0}, {lane: 0, event: 1}, {lane: 0, event: 2}},
	lanes: []laneOf{{}},
}

// inTurn has two own lanes, and events enough for a third rewrite.
var inTurn = world{
	name:       "in turn",
	rows:       []row{{lane: 0, event: 0}, {writer: 1, lane: 1, event: 1}, {writer: 1, lane: 1, event: 2}},
	lanes:      []laneOf{{}, {}},
	oneAtATime: true,
}

// copies has a copy that is noted, and events that follow.
var copies = world{
	name:       "copies",
	rows:       []row{{lane: 0, event: 0}, {lane: 1, event: 0}, {lane: 0, event: 1}, {lane: 0, event: 2}},
	lanes:      []laneOf{{}, {}},
	notes:      true,
	oneAtATime: true,
}

// renewal has an index row that grows old.
var renewal = world{
	name:    "renewal",
	rows:    []row{{lane: 0, event: 0}, {lane: 0, event: 1}},
	lanes:   []laneOf{{}},
	notes:   true,
	renewal: true,
}

// stragglers has shared lanes: both write to that of day 0, and what P0 writes too
// late is written again on day 2.
var stragglers = world{
	name:  "stragglers",
	rows:  []row{{lane: 0, event: 0, anewAs: 2}, {writer: 1, lane: 0, event: 1}, {lane: 1, event: 0, again: true}},
	lanes: []laneOf{{shared: true, day: 0}, {shared: true, day: 2}},
	notes: true,
	days:  4,
}

// hours has two hours on one log, and hours that wait are marked again.
var hours = world{
	name:       "hours",
	hours:      2,
	rows:       []row{{lane: 0, event: 0}, {lane: 1, event: 1}, {writer: 1, lane: 2, event: 2}},
	lanes:      []laneOf{{hour: 0}, {hour: 1}, {hour: 0}},
	lateCommit: true,
	deferrals:  1,
	oneAtATime: true,
	noExpiry:   true,
	noClosing:  true,
}

// line is versions with one writer.
var line = world{
	name:       "line",
	rows:       []row{{lane: 0, event: 0}, {lane: 0, event: 1}, {lane: 0, event: 1}},
	lanes:      []laneOf{{}},
	notes:      true,
	board:      true,
	oneAtATime: true,
}

// lone is line of stragglers.
var lone = world{
	name:       "lone stragglers",
	rows:       []row{{lane: 0, event: 0}, {lane: 0, event: 1}},
	lanes:      []laneOf{{shared: true}},
	notes:      true,
	board:      true,
	days:       3,
	oneAtATime: true,
}

// versions has objects that go back, vanish and are restored: segments in turn, and
// the board.
var versions = world{
	name:       "versions",
	rows:       []row{{lane: 0, event: 0}, {lane: 0, event: 1}, {writer: 1, lane: 1, event: 1}},
	lanes:      []laneOf{{}, {}},
	notes:      true,
	board:      true,
	oneAtATime: true,
}

// oldVersions is versions of stragglers: two writers, one shared lane.
var oldVersions = world{
	name:  "old versions",
	rows:  []row{{lane: 0, event: 0}, {writer: 1, lane: 0, event: 1}},
	lanes: []laneOf{{shared: true}},
	notes: true,
	board: true,
	days:  3,
}

// known has the board and one lane.
var known = pair.told()

// with returns the world with faults.
func (w world) with(budget uint8, kinds faults) world {
	w.faults, w.budget = kinds, budget
	return w
}

// but returns the world with flaws.
func (w world) but(f flaws) world {
	w.flaw = f
	return w
}

// named returns the world with another word in its name.
func (w world) named(word string) world {
	w.name += ", " + word
	return w
}

// unclosed returns the world without the closing of lanes.
func (w world) unclosed() world {
	w.noClosing = true
	return w.named("unclosed")
}

// quick returns the world as it is for so short a time that nothing expires and no
// lane is closed.
func (w world) quick() world {
	w.noExpiry, w.noClosing = true, true
	return w.named("quick")
}

// late returns the world with offsets that are committed at any time after they
// may be.
func (w world) late() world {
	w.lateCommit = true
	return w.named("late commits")
}

// told returns the world with a board.
func (w world) told() world {
	w.board = true
	return w.named("board")
}

// aging returns the world with index rows that grow old.
func (w world) aging() world {
	w.renewal = true
	return w.named("renewal")
}

// unnoted returns the world with copies that are published, as are those that win
// over the row that is there.
func (w world) unnoted() world {
	w.notes = false
	return w.named("unnoted")
}

// cast says what the rows and lanes of a trace are.
func (w world) cast() string {
	var b strings.Builder
	for i, r := range w.rows {
		l := w.lanes[r.lane]
		kind := "own"
		if l.shared {
			kind = fmt.Sprintf("shared, day %d", l.day)
		}
		fmt.Fprintf(&b, "r%d: a row of e%d, by P%d, in lane %d (%s) of hour %d\n", i, r.event, r.writer, r.lane, kind, l.hour)
	}
	return b.String()
}

// String names the world and its faults.
func (w world) String() string {
	if w.budget == 0 {
		return w.name
	}
	return fmt.Sprintf("%s, %d of %s", w.name, w.budget, w.faults)
}
