package model

import "math/bits"

// Bounds of every world.
const (
	maxRows     = 4
	maxLanes    = 3
	maxHours    = 2
	maxLineages = 4
	maxMarks    = 8
	members     = 2 // compactors in the group
)

// set is a set of small numbers: rows, events or lanes.
type set uint8

func of(i uint8) set            { return 1 << i }
func (m set) has(i uint8) bool  { return m>>i&1 == 1 }
func (m set) covers(o set) bool { return o&^m == 0 }
func (m set) count() uint8      { return uint8(bits.OnesCount8(uint8(m))) }
func (m set) lowest() uint8     { return uint8(bits.TrailingZeros8(uint8(m))) }
func (m set) highest() uint8    { return uint8(bits.Len8(uint8(m))) - 1 }
func below(i uint8) set         { return 1<<i - 1 }

// state is everything that can be different from one moment to the next. It is a
// plain value: states are compared and hashed as a whole. What a world does not
// use stays zero.
type state struct {
	// At ingest.
	row [maxRows]life

	// In the store.
	late  set // rows of which a write that timed out may still land
	there set // rows that can be read
	bare  set // rows that came when their lane's index row was old
	lane  [maxLanes]lane

	// Days, by the clocks of ingest.
	day   uint8
	swept uint8 // day of the last sweep, plus 1; 0: there was none

	// The dirty topic: one log, one group.
	log       [maxMarks]uint8 // the hour of each mark, plus 1; 0: lost
	end       uint8
	committed uint8
	owner     uint8 // the member to which the log belongs
	deferrals uint8
	member    [members]member

	// The lake.
	hour     [maxHours]hour
	operator operator

	// Faults so far.
	spent  uint8
	struck faults
}

// life is where a row stands with its writer.
type life uint8

const (
	fresh   life = iota // not sent yet
	sent                // on its way to the store
	stored              // acknowledged by the store
	pending             // in a shared lane: found to be in time, waiting for a mark
	riding              // in a call of Mark that is under way
	acked               // acknowledged to the source
	dead                // sent, will never be acknowledged
	never               // will never be sent
)

// lane is an index row, and what its writer knows of it.
type lane struct {
	index    index
	renewing bool  // it is being written again
	old      bool  // it was written more than an hour ago
	closed   uint8 // with so many rows, plus 1; 0: it is open
}

// index is where a lane's index row stands.
type index uint8

const (
	unwritten index = iota
	written         // on its way to the store
	present
	expired
)

// hour is what the lake and the store hold of an hour beside its rows.
type hour struct {
	object   manifest // generation 0: there is none
	board    board
	notes    [maxLineages]set // rows noted, by lineage
	copy     manifest         // an older version that somebody kept
	lineages uint8            // begun
	request  bool             // somebody asks for a rebuild

	// What no process knows, for the promises.
	must    set  // events that the partition must have
	erased  set  // events that it must not have
	givenUp set  // rows, gone from the store, whose event only a version had that somebody replaced or removed
	alarm   bool // a partition was said to have vanished, and nobody had removed it
}

// manifest is a partition: what its rows are and what its footer says.
type manifest struct {
	events     set // whose rows it has
	merged     set // rows it was made of
	erased     set // events, remembered
	seen       uint8
	settled    uint8 // the first day whose shared lane may still get rows
	lineage    uint8
	generation uint8

	counted set // rows that are in seen: the truth
}

// board is what the store's board says of an hour.
type board struct {
	generation uint8
	settled    set  // rows merged or noted
	current    bool // the version it describes is the object's
}

// member is a compactor in the group.
type member struct {
	pos    uint8           // of the next mark
	waits  [maxHours]uint8 // the ledger: offset of each waiting hour's last mark, plus 1
	moving uint8           // offset of a mark whose copy was appended and which is not done yet, plus 1
	moved  uint8           // its hour
	work   rewrite
}

// rewrite is one attempt at an hour. The zero value is none.
type rewrite struct {
	phase    phase
	hour     uint8
	upTo     uint8 // offset of the mark that it serves, plus 1
	asked    bool  // it serves a request
	rebuild  bool  // it takes no rows of the base, but all raw rows
	known    board
	base     manifest
	stale    bool  // base is not the object any more
	unlisted set   // lanes that the index did not list
	noted    set   // rows, by the notes that hold
	todo     set   // rows to read
	read     set   // rows that were there
	settled  uint8 // the watermark to record
}

// phase is what a rewrite does next.
type phase uint8

const (
	idle phase = iota
	readBoard
	readBase
	readIndex
	readRows
	judge   // and publish, note, or find nothing new
	tell    // the board
	marking // the operator alone
)

// operator is somebody who restores a kept version with our tool.
type operator struct {
	phase phase
	known board
	base  manifest // the object to be replaced
	stale bool

	willMark bool // the hour, if it does not die
}
