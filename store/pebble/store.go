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
//	l type start width lane              index row
//	r type start width lane segment seq  row
//	c type column                        declared column
//	q type start width request           request
//	p type start width                   partition
//	s type start width                   stuck hour
//
// start is the hour's first microsecond, 8 bytes, big endian, with the sign bit
// flipped; width is one byte, the segment 16, seq 4, big endian. So rows lie in
// the order (hour, lane, segment, seq). A row's value is the varint of when it
// was written, then the event as [store.AppendEvent] encodes it. All other
// values are the JSON of the contract's types, whose field names thereby are part
// of the format.
//
// # Expiry
//
// Values tell when they were written, and what has expired is passed over: the
// TTL is the reader's, and nothing is written anew when it changes. About once
// an hour, lanes whose index row has expired are deleted as a range.
//
// # Limits
//
// One process at a time may have a directory open. Memory is bounded, see
// package internal/embedded.
package pebble

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/internal/embedded"
	"github.com/afterhours/afterhours/store"
)

// format is that of the keys and values above.
const format = 1

// DefaultTTL is how long rows are kept unless Options say otherwise.
const DefaultTTL = 30 * 24 * time.Hour

// Options say how a store is opened. The zero value is ready.
type Options struct {
	TTL    time.Duration    // of rows, twice that of index rows; default: DefaultTTL
	Now    func() time.Time // when rows expire and lanes are put; default: time.Now
	Logger *slog.Logger     // default: slog.Default
}

// Store is an open directory. It implements [store.Store].
type Store struct {
	db  *embedded.DB
	ttl afterhours.Micros
	now func() time.Time
	log *slog.Logger

	// columns is held while columns are declared: what is read must not change
	// before what follows from it is written.
	columns sync.Mutex

	// lanes is held, shared, while lanes and rows are written, and alone while
	// an expired lane is deleted: it could be renewed in between.
	lanes sync.RWMutex

	swept chan struct{} // closed when the sweeper has ended
}

var _ store.Store = (*Store)(nil)

// Open opens the store in dir, and makes the directory if there is none. The
// caller must close it.
func Open(dir string, o Options) (*Store, error) {
	if o.TTL <= 0 {
		o.TTL = DefaultTTL
	}
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
	s := &Store{
		db: db, ttl: afterhours.Micros(o.TTL.Microseconds()), now: o.Now, log: o.Logger.With("dir", dir),
		swept: make(chan struct{}),
	}
	go s.sweepHourly()
	return s, nil
}

// Close ends calls under way with an error, and releases the directory.
func (s *Store) Close() error {
	err := s.db.Close()
	<-s.swept
	if err != nil {
		return fmt.Errorf("close embedded store: %w", err)
	}
	return nil
}

// put writes one key, synced, as JSON.
func (s *Store) put(ctx context.Context, key []byte, v any) error {
	_, end, err := s.db.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.db.Set(key, b, pebble.Sync)
}

// remove deletes one key, synced.
func (s *Store) remove(ctx context.Context, key []byte) error {
	_, end, err := s.db.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	return s.db.Delete(key, pebble.Sync)
}

// each visits the keys that begin with prefix, in order, with their JSON values.
func each[T any](ctx context.Context, s *Store, prefix []byte, visit func(key []byte, v T) error) error {
	return s.scan(ctx, prefix, func(key, value []byte) ([]byte, error) {
		var v T
		if err := json.Unmarshal(value, &v); err != nil {
			return nil, fmt.Errorf("decode value of key %q: %w", key, err)
		}
		return nil, visit(key, v)
	})
}

// scan visits the keys that begin with prefix, in order. The visitor may return
// a later key to go on from instead of the next; key and value are its own only
// until it returns. Only when scan returned nil was no key left.
func (s *Store) scan(ctx context.Context, prefix []byte, visit func(key, value []byte) (seek []byte, err error)) (err error) {
	ctx, end, err := s.db.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return err
	}
	defer func() {
		if e := it.Close(); err == nil { // the visitor's error is returned as it is
			err = e
		}
	}()
	for ok := it.First(); ok; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		seek, err := visit(it.Key(), value)
		switch {
		case err != nil:
			return err
		case seek != nil:
			ok = it.SeekGE(seek)
		default:
			ok = it.Next()
		}
	}
	return it.Error()
}
