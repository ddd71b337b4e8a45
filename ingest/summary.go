package ingest

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/afterhours/afterhours"
)

// Summary says what was done. All but Read count what is acknowledged, so that
// Read = Written + Quarantined once everything is.
type Summary struct {
	Read        int64 // records taken
	Written     int64 // events kept
	Quarantined int64 // records kept in quarantine
	Late        int64 // of the events kept, those received after their hour had ended
	Bytes       int64 // payload bytes kept
	Hours       int64 // hours marked; beyond a million a lower bound
	Marks       int64 // marks made
}

// maxHours bounds the memory that counting distinct hours takes.
const maxHours = 1 << 20

// counts are the running counts of a Writer.
type counts struct {
	read, written, quarantined, late, bytes, marks atomic.Int64

	inHand atomic.Int64
	pulse  pulse

	mu    sync.Mutex
	hours map[uint64]struct{} // hashes of the hours marked
}

func (c *counts) marked(seed maphash.Seed, hours []afterhours.Hour) {
	c.marks.Add(int64(len(hours)))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hours == nil {
		c.hours = map[uint64]struct{}{}
	}
	for _, h := range hours {
		if len(c.hours) < maxHours {
			c.hours[maphash.Comparable(seed, h)] = struct{}{}
		}
	}
}

func (c *counts) summary() Summary {
	c.mu.Lock()
	hours := len(c.hours)
	c.mu.Unlock()
	return Summary{
		Written:     c.written.Load(),
		Quarantined: c.quarantined.Load(),
		Late:        c.late.Load(),
		Bytes:       c.bytes.Load(),
		Marks:       c.marks.Load(),
		Hours:       int64(hours),
		Read:        c.read.Load(), // last, so that it is never behind the others
	}
}
