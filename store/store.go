// Package store is the contract of the place where ingest keeps every copy of
// every event until the lake has it, and the types its backends share.
//
// The backends are store/cassandra, for production, and store/pebble, for one
// machine without servers. Both pass the suite of store/storetest. Ingest and
// the compactor each name the few methods they need; [Store] is the whole.
//
// # Model
//
// An hour is stored in lanes. The index lists an hour's lanes; a lane holds
// rows, each named by (segment, seq) and never changed once written. A lane of
// its own belongs to one segment: its rows are numbered 0, 1, 2 …, and once it
// is closed its number of rows is known. Lanes that several writers share are
// named by their receipt day and are never closed.
//
// # Durability
//
// Every write that returned nil survives a crash of this process, and of a
// minority of the servers. A write that returned an error may have happened, or
// may happen later: repeating it with the same arguments is always right and
// never makes a second row.
//
// # Expiry
//
// Rows expire after the store's TTL, index rows and notes after twice that.
// PutLane starts the index row's time again. Whoever acknowledges a row that was
// sent more than [RenewalFor] after its lane was last put, puts the lane again first:
// so an index row outlives the rows it leads to.
//
// Every method may be called by several goroutines at once.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/afterhours/afterhours"
)

var (
	// ErrRefused is wrapped by errors that repeating the same write cannot
	// cure, such as a row that is too large or a permission that is missing.
	// Any other error may go away.
	ErrRefused = errors.New("refused by the store")

	// ErrColumnConflict is wrapped when a column was declared before with
	// another field or type.
	ErrColumnConflict = errors.New("column is declared differently")
)

// Row is one stored copy of an event.
type Row struct {
	ID    afterhours.RowID
	Event afterhours.Event
}

// Lane is an index row: one of the parts an hour is stored in.
type Lane struct {
	Name   string // a segment's text (a lane of its own), or a receipt day
	Closed bool   // no row will be added; only a lane of its own is ever closed
	Rows   int64  // hint while open, exact once closed: the rows are 0 … Rows-1
	Bytes  int64  // hint: encoded size of these rows

	// Until is when the last row of the lane will have expired, as far as the
	// index knows. Lanes and Index set it; PutLane does not look at it.
	Until afterhours.Micros
}

// OwnLane returns the open, empty lane that belongs to a segment.
func OwnLane(s afterhours.Segment) Lane { return Lane{Name: s.String()} }

// Own returns the segment a lane belongs to, and false for a shared lane.
func (l Lane) Own() (afterhours.Segment, bool) {
	s, err := afterhours.ParseSegment(l.Name)
	return s, err == nil
}

// SharedLane returns the lane that all writers share for stragglers received on a
// day.
func SharedLane(d afterhours.Day) Lane { return Lane{Name: d.String()} }

// Shared returns the receipt day of a shared lane, and false for any other.
func (l Lane) Shared() (afterhours.Day, bool) {
	d, err := afterhours.ParseDay(l.Name)
	return d, err == nil
}

// Note names rows of one lane that were judged to be mere copies of published
// events, without a publish. It is valid for partitions of one lineage.
type Note struct {
	Lane    string
	Segment afterhours.Segment
	Rows    afterhours.Range
}

// Request asks for a rewrite of an hour for another reason than new rows. It is
// read after the hour's mark was taken; a served request is deleted.
type Request struct {
	Hour    afterhours.Hour
	ID      string            // unique; a backfill gives all its hours the same
	Rebuild bool              // read every raw row again instead of what is new
	Made    afterhours.Micros // when it was asked for
}

// Partition is what was last published of an hour. The truth is in the
// partition's own footer; this is for people, and saves the sweeper from opening
// every partition.
type Partition struct {
	Hour       afterhours.Hour
	Lineage    string
	Generation int64
	Rows       int64 // rows published
	Seen       int64 // raw rows merged so far, duplicates and noted ones included
	Duplicates int64 // noted ones included
	Erased     int64
	Conflicts  int64 // IDs that came with differing payloads
	Late       int64 // published rows received after their hour had ended
	Bytes      int64 // size of the object
	Manifest   int64 // size of its manifest
	Published  afterhours.Micros

	Version string            // of the object that this is about
	Settled afterhours.RowSet // raw rows merged or noted; Partitions leaves it out
}

// Publication is one publish of an hour, as the feed of changes tells it.
type Publication struct {
	Hour       afterhours.Hour
	Lineage    string
	Generation int64
	At         afterhours.Micros
	Cause      string // merge, refresh, rebuild, discard or restore
	Added      int64  // raw rows merged
	Duplicates int64  // of these, dropped as copies
}

// Stuck is an hour that cannot be rewritten until somebody acts.
type Stuck struct {
	Hour   afterhours.Hour
	Since  afterhours.Micros
	Reason string
}

// Store is everything a backend does.
type Store interface {
	// TTL returns how long raw rows live, as all processes agreed.
	TTL() time.Duration

	// PutLane writes the lane's index row, or writes it again to renew or to
	// close it. Rows may be appended in parallel, but nothing of a lane may be
	// acknowledged before its index row is.
	PutLane(ctx context.Context, h afterhours.Hour, l Lane) error

	// Append writes rows to one lane of an hour, all or (after an error) any of
	// them. All events are of hour h. wrote is when ingest took them: the write
	// timestamp, the same on every repetition, and where their TTL starts.
	// Callers keep batches to about 100 rows and under 128 KiB, save for a
	// single larger row.
	Append(ctx context.Context, h afterhours.Hour, lane string, wrote afterhours.Micros, rows []Row) error

	// Lanes returns the hour's index rows, in order of name.
	Lanes(ctx context.Context, h afterhours.Hour) ([]Lane, error)

	// ReadRows visits the rows of one lane, in order of (segment, seq). Rows in
	// have may be left out, all others are visited. Only when it returned nil
	// were all rows visited: on an error everything visited must be thrown away.
	// The payloads belong to the visitor. An error of visit ends the reading and
	// is returned as it is.
	//
	// A read is no snapshot: rows appended meanwhile may be seen or not. Expired
	// rows that the backend has not yet purged are no rows, and no error.
	ReadRows(ctx context.Context, h afterhours.Hour, l Lane, have afterhours.RowSet, visit func(Row) error) error

	// Hours visits every hour that has index rows, each once, in any order.
	Hours(ctx context.Context, visit func(afterhours.Hour) error) error

	// Index visits every hour that has index rows, each once, in any order, with
	// all of them in order of name.
	Index(ctx context.Context, visit func(afterhours.Hour, []Lane) error) error

	// PutNotes records notes of an hour; a note that is there already is fine.
	// Notes returns those of a lineage, in order of lane, segment and row.
	PutNotes(ctx context.Context, h afterhours.Hour, lineage string, notes []Note) error
	Notes(ctx context.Context, h afterhours.Hour, lineage string) ([]Note, error)

	// DeclareType records that an event type exists; Types visits all of them,
	// in any order. DeclareColumns declares the type as well.
	DeclareType(ctx context.Context, eventType string) error
	Types(ctx context.Context, visit func(string) error) error

	// DeclareColumns records columns of an event type. To declare a column again
	// is fine; with another field or type it is ErrColumnConflict, and two
	// processes that declare at once cannot both win. There is no way back.
	DeclareColumns(ctx context.Context, eventType string, cols []afterhours.Column) error

	// Columns returns the declared columns of an event type, in order of name.
	Columns(ctx context.Context, eventType string) ([]afterhours.Column, error)

	// Board returns the board of one lake, whatever names it. Several lakes may
	// be fed from one store; none sees the others' board.
	Board(lake string) Board

	// Close releases the connections or files. Calls under way fail.
	Close() error
}

// Board is what a lake's compactors tell people and each other. No event depends
// on it.
type Board interface {
	// PutRequest records a request; Requests returns those of an hour, in order
	// of ID; DeleteRequest removes a served one.
	PutRequest(ctx context.Context, r Request) error
	Requests(ctx context.Context, h afterhours.Hour) ([]Request, error)
	DeleteRequest(ctx context.Context, r Request) error

	// PutPartition records what was published of an hour, over what was there.
	// Partition returns it, and false if there is nothing. Partitions visits them
	// all, ordered by hour within an event type, without their settled rows;
	// Settled visits them all, in any order, and sets only Hour, Version and
	// Settled.
	PutPartition(ctx context.Context, p Partition) error
	Partition(ctx context.Context, h afterhours.Hour) (Partition, bool, error)
	Partitions(ctx context.Context, visit func(Partition) error) error
	Settled(ctx context.Context, visit func(Partition) error) error

	// PutPublications records publishes in the feed; one that is there already
	// (same lineage, generation and time) is fine. Feed visits those at or after
	// from and before to, in order of time. Records live twice the rows' TTL.
	// They are durable once a PutPartition that was called later has returned.
	PutPublications(ctx context.Context, ps []Publication) error
	Feed(ctx context.Context, from, to afterhours.Micros, visit func(Publication) error) error

	// PutStuck records a stuck hour, over what was there; ClearStuck removes it;
	// StuckHours returns all, in order of hour.
	PutStuck(ctx context.Context, s Stuck) error
	ClearStuck(ctx context.Context, h afterhours.Hour) error
	StuckHours(ctx context.Context) ([]Stuck, error)

	// PutSwept records when the last complete sweep over all hours began; Swept
	// returns it, 0 if there was none.
	PutSwept(ctx context.Context, at afterhours.Micros) error
	Swept(ctx context.Context) (afterhours.Micros, error)
}
