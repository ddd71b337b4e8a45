package main

import (
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/afterhours/afterhours"
)

// ledger is kept outside of the system: what was sent, and what the system has
// acknowledged. Its methods may be called by several goroutines at once.
type ledger struct {
	mu     sync.Mutex
	events []event // by serial number
	broken []bool  // by serial number: acknowledged
	sent   int64   // records: events, copies of them, and broken ones
	acked  int64   // likewise
}

// event is what is known of an ID.
type event struct {
	hour   afterhours.Hour
	copies []payload // that differ; the first is the original
	acked  time.Time // when a copy of it was first acknowledged; zero: none was
	seen   time.Time // when a reader first saw it; zero: none did
}

// payload is one of the payloads an ID was sent with.
type payload struct {
	digest uint64
	acked  bool
}

// record names a record that was sent.
type record struct {
	serial int
	copy   int  // of its payloads
	broken bool // no event: serial counts these alone
}

// eventID and brokenMark are the inverse of each other's parsers.
func eventID(serial int) string    { return fmt.Sprintf("e%09d", serial) }
func brokenMark(serial int) string { return fmt.Sprintf("broken-%09d", serial) }

// parseID returns the serial number of an event ID, or -1.
func parseID(id string) int {
	var serial int
	if _, err := fmt.Sscanf(id, "e%d", &serial); err != nil || eventID(serial) != id {
		return -1
	}
	return serial
}

func digest(b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b) // never fails
	return h.Sum64()
}

// add enters a new event of an hour. Its payload, which is made of the record, is
// entered with it.
func (l *ledger) add(h afterhours.Hour, make func(record) []byte) (record, []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := record{serial: len(l.events)}
	b := make(r)
	l.events = append(l.events, event{hour: h, copies: []payload{{digest: digest(b)}}})
	l.sent++
	return r, b
}

// addBroken enters a record that is no event.
func (l *ledger) addBroken() record {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = append(l.broken, false)
	l.sent++
	return record{serial: len(l.broken) - 1, broken: true}
}

// again enters another copy of an event: of the same payload, or of one that
// nobody has sent yet. It reports the event's hour, too.
func (l *ledger) again(serial int, differs bool, make func(record, afterhours.Hour) []byte) (record, []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &l.events[serial]
	r := record{serial: serial}
	if differs {
		r.copy = len(e.copies)
	}
	b := make(r, e.hour)
	if differs {
		e.copies = append(e.copies, payload{digest: digest(b)})
	}
	l.sent++
	return r, b
}

// size returns how many events there are.
func (l *ledger) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.events)
}

// ack enters what the system has acknowledged.
func (l *ledger) ack(now time.Time, records ...record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		l.acked++
		if r.broken {
			l.broken[r.serial] = true
			continue
		}
		e := &l.events[r.serial]
		e.copies[r.copy].acked = true
		if e.acked.IsZero() {
			e.acked = now
		}
	}
}

// see enters which events a reader has seen, and returns how long the slowest of
// those that are new took since they were acknowledged.
func (l *ledger) see(now time.Time, serials []int) (slowest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range serials {
		if s < 0 || s >= len(l.events) || !l.events[s].seen.IsZero() {
			continue
		}
		e := &l.events[s]
		e.seen = now
		if !e.acked.IsZero() {
			slowest = max(slowest, now.Sub(e.acked))
		}
	}
	return slowest
}

// waiting returns how many events are acknowledged and have not been seen, and
// since when the first of them is.
func (l *ledger) waiting(over func(afterhours.Hour) bool) (n int, since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.events {
		e := &l.events[i]
		if e.acked.IsZero() || !e.seen.IsZero() || !over(e.hour) {
			continue
		}
		if n++; since.IsZero() || e.acked.Before(since) {
			since = e.acked
		}
	}
	return n, since
}

// counts returns how many records were sent and how many are acknowledged.
func (l *ledger) counts() (sent, acked int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent, l.acked
}
