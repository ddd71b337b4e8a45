// Package dirty is the contract of the queue of marks: which hours have
// something new, and which of that was served.
//
// The backends are dirty/kafka, a log-compacted topic, and dirty/pebble, for one
// machine without servers. Both pass the suite of dirty/dirtytest.
//
// # Model
//
// The queue is a set of logs ("partitions" in Kafka's sense). A mark is appended
// to the log that its hour's text form selects, so one consumer of a group sees
// all marks of an hour. A log may drop a mark when a later one of the same hour
// follows it; it never drops the last. Every log is read by groups, and each
// group commits one offset per log, its floor: every hour with a mark below it is
// served, or has a later mark at or above it. See [Ledger].
//
// # Promise
//
// When Mark returned nil, every group will be handed a mark of each of the hours
// that was appended after Mark was called, at least once, and again after a
// crash until it is Done.
package dirty

import (
	"cmp"
	"context"
	"errors"

	"github.com/afterhours/afterhours"
)

// ErrStalled is wrapped when there are marks to read but none arrive. Nothing is
// lost; a new consumer may help, and an operator should know.
var ErrStalled = errors.New("marks are waiting but none arrive")

// Mark is a mark in its log.
type Mark struct {
	afterhours.Mark
	Partition int32
	Offset    int64

	// Reading tells one reading of the log from another, where offsets may come to
	// mean other marks. It is the consumer's own; nobody else looks at it.
	Reading int64
}

// Began returns when the hour began to wait, as far as the mark knows.
func (m Mark) Began() afterhours.Micros { return cmp.Or(m.Since, m.Time) }

// Again returns what Defer appends: the hours of marks, and since when they wait.
func Again(marks []Mark) []afterhours.Mark {
	again := make([]afterhours.Mark, len(marks))
	for i, m := range marks {
		again[i] = afterhours.Mark{Hour: m.Hour, Since: m.Began()}
	}
	return again
}

// Polled is what Poll brings.
type Polled struct {
	Marks   []Mark  // in log order within each partition
	Revoked []int32 // partitions that now belong to another member of the group

	// Gaps are partitions that marks may have gone from which the group was never
	// handed: it has committed nothing there, or its offset lies outside the log or
	// in a log that is no more. What these marks said only a sweep over every hour
	// can find. Who polls again has taken note: a partition is named until then, also
	// to another member and after a crash, and not any more.
	Gaps []int32
}

// Options say how a group is consumed.
type Options struct {
	// Drain ends the reading where the logs ended when their partitions were
	// assigned: Poll then returns io.EOF. Later marks are left to the next
	// consumer, also those that this one makes by Defer.
	Drain bool

	// Slack is by how many marks an hour that waits may hold the floor of its log
	// back before Behind names it; DefaultSlack if 0. Twice as many marks as hours
	// wait in that log are always allowed, so that deferring comes to an end.
	Slack int64
}

// Queue is everything a backend does. Its methods may be called by several
// goroutines at once.
type Queue interface {
	// Mark appends a mark of each hour. On nil all of them are durable. After an
	// error any of them may be there; to mark again is always right.
	Mark(ctx context.Context, hours ...afterhours.Hour) error

	// Consume joins a group.
	Consume(ctx context.Context, group string, o Options) (Consumer, error)

	// Pending returns the marks that the group has not committed, of every
	// partition, without joining it, in log order within each partition.
	Pending(ctx context.Context, group string) ([]Mark, error)

	// Close releases the connections or files. Consumers are closed before.
	Close() error
}

// Consumer hands out marks. Poll is called by one goroutine, the rest by any.
type Consumer interface {
	// Poll waits until there are marks or gaps, partitions were revoked, or ctx ends
	// (with ctx's error). io.EOF: a drain is complete. After ErrStalled the
	// consumer can only be closed.
	Poll(ctx context.Context) (Polled, error)

	// Done says that every mark of m's hour in m's partition, up to and
	// including m, is served. It may be called late, also when the partition or its
	// log is another one by now: then nothing is done. The floor of what is done is committed in the
	// background about once a second, when a partition is revoked, and by Close.
	//
	// The floor needs one mark of each hour that waits, not all of them: it is
	// the lowest of the hours' last marks. An hour that is marked again and again
	// does not hold it.
	Done(m Mark)

	// Behind returns the last mark of every hour that waits and holds the floor
	// more than the slack behind the last mark handed out, in log order within
	// each partition, but only the first 10,000 of a partition: the others follow
	// when these are deferred. It is cheap enough to be called every second.
	Behind() []Mark

	// Defer marks the hours of marks again, at the end of the log, and when that
	// is durable does Done for the old ones. So an hour may wait, for its time or
	// for an operator, without holding the floor. The new marks are handed out
	// like all others; their Since is that of the old, or the old one's Time.
	// After an error nothing is done, and to defer again is right. To defer a mark
	// that is served, or whose partition was revoked, is a mark too many.
	Defer(ctx context.Context, marks ...Mark) error

	// Close commits the floor and leaves the group.
	Close() error
}
