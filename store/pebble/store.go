// Package pebble keeps events in a directory, for one machine without servers.
//
// It implements [store.Store] on an embedded Pebble database. Every write is
// synced to disk before it returns; writes that come at once share a sync.
//
// # Format
//
// A key is a table's letter and the key's parts. Parts of variable length end in
// the bytes 0 1, with every 0 in them written as 0 255: this keeps the order of
// the parts, and no two keys run into each other whatever the names are.
//
//	l type start width lane                   lane record: the index row, and what the sweeper must know
//	r type start width lane segment seq       row
//	n type start width lineage lane segment first last   note
//	t type                                    declared type
//	c type column                             declared column
//	q lake type start width request           request
//	p lake type start width                   partition
//	x lake type start width                   stuck hour
//	f lake at type start width lineage generation   publication
//	w lake                                    when the last complete sweep began
//	s name                                    setting
//
// start is the hour's first microsecond, at a publication's time, generation its
// number: 8 bytes, big endian, with the sign bit flipped. width is one byte, the
// segment 16, seq, first and last 4, big endian. So rows lie in the order (hour,
// lane, segment, seq). A row's value is the varint of when it was written, then
// the event as [store.AppendEvent] encodes it; of a lane record see laneRecord. All
// other values are the JSON of the contract's types, whose field names thereby
// are part of the format.
//
// # Expiry
//
// Values tell when they were written, and what has expired is passed over by all
// who read. About once an hour the sweeper deletes it: the rows of a lane all at
// once, when the newest has expired.
//
// No row is stored whose lane record does not cover it, even when the lane is put
// later than its rows or never. So the sweeper reads lane records and no rows.
//
// # Limits
//
// One process at a time may have a directory open. Memory is bounded, see
// package internal/embedded.
package pebble

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/internal/embedded"
	"github.com/afterhours/afterhours/store"
)

// format is that of the keys and values above.
const format = 2

// DefaultTTL is how long a new store keeps rows unless Options say otherwise.
const DefaultTTL = 30 * 24 * time.Hour

// Options say how a store is opened. The zero value is ready.
type Options struct {
	// TTL is how long rows live. It is recorded when the store is made, and a
	// store that was made with another is not opened. 0 stands for what is
	// recorded, and in a new store for DefaultTTL.
	TTL time.Duration

	Now    func() time.Time // the clock of expiry; default: time.Now
	Logger *slog.Logger     // default: slog.Default
}

// Store is an open directory. It implements [store.Store].
type Store struct {
	db  *embedded.DB
	ttl time.Duration
	now func() time.Time
	log *slog.Logger

	// columns is held while columns are declared: what is read must not change
	// before what follows from it is written.
	columns sync.Mutex

	// expiring is held alone while a lane record is changed or what has expired
	// is deleted, and shared while what can expire is written. It is not held
	// while the disk syncs.
	expiring sync.RWMutex

	sweeping sync.Mutex    // held by a sweep: two would do the same
	swept    chan struct{} // closed when the sweeper has ended
}

var _ store.Store = (*Store)(nil)

// Open opens the store in dir, and makes the directory if there is none. The
// caller must close it.
func Open(dir string, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	db, err := embedded.Open(dir, "store", format, o.Logger)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, now: o.Now, log: o.Logger.With("dir", dir), swept: make(chan struct{})}
	if s.ttl, err = s.settleTTL(o.TTL); err != nil {
		return nil, errors.Join(fmt.Errorf("open embedded store %s: %w", dir, err), db.Close())
	}
	go s.sweepHourly()
	return s, nil
}

// TTL returns how long rows live.
func (s *Store) TTL() time.Duration { return s.ttl }

// micros returns the time.
func (s *Store) micros() afterhours.Micros { return afterhours.MicrosOf(s.now()) }

// expiredRows returns the instant at and before which rows were written that have
// expired now.
func (s *Store) expiredRows() afterhours.Micros { return s.micros() - s.lifetime() }

// expired is expiredRows for all that lives twice as long.
func (s *Store) expired() afterhours.Micros { return s.micros() - 2*s.lifetime() }

func (s *Store) lifetime() afterhours.Micros { return afterhours.Micros(s.ttl.Microseconds()) }

// Close ends calls under way with an error, and releases the directory.
func (s *Store) Close() error {
	err := s.db.Close()
	<-s.swept
	if err != nil {
		return fmt.Errorf("close embedded store: %w", err)
	}
	return nil
}
