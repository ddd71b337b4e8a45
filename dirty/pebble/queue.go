// Package pebble keeps marks in a directory, for one machine without servers.
//
// It implements [dirty.Queue] on an embedded Pebble database, as one log,
// partition 0. Every mark is synced to disk before Mark returns; marks that are
// made at once share a sync.
//
// # Format
//
//	m offset   mark: JSON of its hour's text form, its time and since when the hour waits
//	h hour     offset of the hour's last mark, the only one that is kept
//	n          offset of the next mark, written with each mark: none is used twice
//	g group    the group's floor
//	k group    there if the group has taken note that the log was new to it
//
// Offsets are 8 bytes, big endian.
//
// # Limits
//
// One process at a time may have a directory open, and a group has one consumer
// at a time. Memory is bounded, see package internal/embedded.
package pebble

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
	"github.com/afterhours/afterhours/internal/embedded"
)

// format is that of the keys and values above.
const format = 1

var nextKey = []byte{'n'}

func markKey(offset int64) []byte { return append([]byte{'m'}, encodeOffset(offset)...) }
func hourKey(text string) []byte  { return append([]byte{'h'}, text...) }
func groupKey(name string) []byte { return append([]byte{'g'}, name...) }
func knownKey(name string) []byte { return append([]byte{'k'}, name...) }

// markValue is what the log holds of a mark.
type markValue struct {
	Hour  string
	Time  afterhours.Micros
	Since afterhours.Micros `json:",omitempty"`
}

// Options say how a queue is opened. The zero value is ready.
type Options struct {
	Logger *slog.Logger     // default: slog.Default
	Now    func() time.Time // the time of marks; default: time.Now
}

// Queue is an open directory. It implements [dirty.Queue].
type Queue struct {
	db  *embedded.DB
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	next    int64           // offset of the next mark
	durable int64           // all marks below it are on disk; only these are handed out
	moved   chan struct{}   // closed, and replaced, when durable moves
	groups  map[string]bool // those that have a consumer
}

var _ dirty.Queue = (*Queue)(nil)

// Open opens the queue in dir, and makes the directory if there is none. The
// caller must close it.
func Open(dir string, o Options) (*Queue, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	db, err := embedded.Open(dir, "queue", format, o.Logger)
	if err != nil {
		return nil, err
	}
	q := &Queue{db: db, log: o.Logger.With("dir", dir), now: o.Now, moved: make(chan struct{}), groups: map[string]bool{}}
	if q.next, err = q.offset(nextKey); err != nil {
		return nil, errors.Join(fmt.Errorf("open embedded queue %s: %w", dir, err), db.Close())
	}
	q.durable = q.next
	return q, nil
}

// Mark appends a mark of each hour, and drops the older marks of these hours, in
// one synced batch.
func (q *Queue) Mark(ctx context.Context, hours ...afterhours.Hour) error {
	marks := make([]afterhours.Mark, len(hours))
	for i, h := range hours {
		marks[i].Hour = h
	}
	return q.mark(ctx, marks)
}

// mark does what Mark promises. It sets the times.
func (q *Queue) mark(ctx context.Context, marks []afterhours.Mark) error {
	_, end, err := q.db.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	for _, m := range marks {
		if back, err := afterhours.ParseHour(m.Hour.String()); err != nil || back != m.Hour {
			return fmt.Errorf("mark hour %q: it could not be read back", m.Hour)
		}
	}
	if len(marks) == 0 {
		return nil
	}
	b, next, err := q.append(marks)
	if err != nil {
		return fmt.Errorf("mark %d hours: %w", len(marks), err)
	}
	// The lock is not held while the disk works, so that others share the sync.
	// A sync covers all that was appended before.
	if err := errors.Join(b.SyncWait(), b.Close()); err != nil {
		return fmt.Errorf("mark %d hours: %w", len(marks), err)
	}
	q.synced(next)
	return nil
}

// append appends the marks and returns the offset after them. The caller waits
// for the batch to be on disk.
func (q *Queue) append(marks []afterhours.Mark) (*pebble.Batch, int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.db.NewIndexedBatch() // an hour may be among marks twice
	now, next := afterhours.MicrosOf(q.now()), q.next
	for _, m := range marks {
		if err := appendMark(b, markValue{m.Hour.String(), now, m.Since}, next); err != nil {
			return nil, 0, errors.Join(err, b.Close())
		}
		next++
	}
	err := b.Set(nextKey, encodeOffset(next), nil)
	if err == nil {
		err = q.db.ApplyNoSyncWait(b, pebble.Sync)
	}
	if err != nil {
		return nil, 0, errors.Join(err, b.Close())
	}
	q.next = next
	return b, next, nil
}

// synced records that all marks below next are on disk, and wakes who waits.
func (q *Queue) synced(next int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if next > q.durable {
		q.durable = next
		close(q.moved)
		q.moved = make(chan struct{})
	}
}

// readable returns the offset below which marks may be handed out, and a channel
// that is closed when it moves.
func (q *Queue) readable() (int64, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.durable, q.moved
}

// appendMark writes one mark and drops the one before it.
func appendMark(b *pebble.Batch, v markValue, offset int64) error {
	last, err := getOffset(b, hourKey(v.Hour))
	if err != nil {
		return err
	}
	if last >= 0 {
		if err := b.Delete(markKey(last), nil); err != nil {
			return err
		}
	}
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return errors.Join(b.Set(markKey(offset), value, nil), b.Set(hourKey(v.Hour), encodeOffset(offset), nil))
}

// Pending returns the marks at and above the group's committed floor.
func (q *Queue) Pending(ctx context.Context, group string) ([]dirty.Mark, error) {
	ctx, end, err := q.db.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	floor, err := q.offset(groupKey(group))
	if err != nil {
		return nil, err
	}
	return q.read(ctx, floor, math.MaxInt64, math.MaxInt)
}

// read returns at most limit marks with offsets from first up to, not with, end.
func (q *Queue) read(ctx context.Context, first, end int64, limit int) (marks []dirty.Mark, err error) {
	it, err := q.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: markKey(first), UpperBound: markKey(end)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok && len(marks) < limit; ok = it.Next() {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		m, err := decodeMark(it.Key(), value)
		if err != nil {
			return nil, err
		}
		marks = append(marks, m)
	}
	return marks, it.Error()
}

func decodeMark(key, value []byte) (dirty.Mark, error) {
	offset, err := decodeOffset(key[1:])
	if err != nil {
		return dirty.Mark{}, err
	}
	var v markValue
	if err := json.Unmarshal(value, &v); err != nil {
		return dirty.Mark{}, fmt.Errorf("decode mark %d: %w", offset, err)
	}
	h, err := afterhours.ParseHour(v.Hour)
	if err != nil {
		return dirty.Mark{}, fmt.Errorf("decode mark %d: %w", offset, err)
	}
	return dirty.Mark{Mark: afterhours.Mark{Hour: h, Time: v.Time, Since: v.Since}, Offset: offset}, nil
}

// Close ends calls under way with an error, and releases the directory.
func (q *Queue) Close() error {
	if err := q.db.Close(); err != nil {
		return fmt.Errorf("close embedded queue: %w", err)
	}
	return nil
}

// offset reads a stored offset, 0 if there is none.
func (q *Queue) offset(key []byte) (int64, error) {
	n, err := getOffset(q.db, key)
	return max(0, n), err
}

// getOffset reads a stored offset, -1 if there is none.
func getOffset(r pebble.Reader, key []byte) (int64, error) {
	v, done, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return -1, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := decodeOffset(v)
	return n, errors.Join(err, done.Close())
}

func encodeOffset(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func decodeOffset(b []byte) (int64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("decode offset %x: malformed", b)
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}
