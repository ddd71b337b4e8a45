package ingest

import (
	"fmt"
	"sync/atomic"
	"time"
)

// failAfter is for how long a call may fail every time before it is a problem.
const failAfter = time.Minute

// Health is how a [Writer] fares.
type Health struct {
	Problems []Problem // what is wrong; empty if it is healthy
	InHand   int64     // records taken and not acknowledged
	Progress time.Time // when a record was last acknowledged, or there was last none in hand
}

// Problem is one thing that is wrong, and what to do about it.
type Problem struct {
	Check  string // what was looked at, in one word
	Reason string
	Remedy string
}

// Health returns how the writer fares: it is red when records are in hand and none
// was acknowledged for stallAfter, and when a kind of call fails for a minute
// without a single success, whether or not the error can go away.
func (w *Writer) Health(stallAfter time.Duration) Health {
	h := Health{InHand: max(0, w.counts.inHand.Load()), Progress: w.progress()}
	if h.InHand == 0 {
		h.Progress = time.Now()
	}
	if idle := time.Since(h.Progress); idle > stallAfter {
		h.Problems = append(h.Problems, Problem{
			Check:  "progress",
			Reason: fmt.Sprintf("%d records are in hand and none was acknowledged for %s", h.InHand, idle.Round(time.Second)),
			Remedy: "the store and the queue of marks must take writes; the log says which call fails",
		})
	}
	for _, c := range w.calls.all() {
		if f := c.failing.Load(); f != nil && time.Since(f.since) > failAfter {
			h.Problems = append(h.Problems, Problem{
				Check:  c.check,
				Reason: fmt.Sprintf("to %s has failed for %s: %v", c.what, time.Since(f.since).Round(time.Second), f.err),
				Remedy: "mend what the error names; nothing that it concerns is acknowledged meanwhile, and nothing is lost",
			})
		}
	}
	return h
}

// failure is what a kind of call fails with since it last succeeded.
type failure struct {
	since time.Time
	err   error
}

// fails records an error.
func (c *call) fails(err error) {
	f := &failure{since: time.Now(), err: err}
	if before := c.failing.Load(); before != nil {
		f.since = before.since
	}
	c.failing.Store(f)
}

// works records a success.
func (c *call) works() {
	if c.failing.Load() != nil {
		c.failing.Store(nil)
	}
}

// all returns the calls that acknowledgements wait for, which are repeated until they
// work.
func (c *calls) all() []*call {
	return []*call{&c.append, &c.index, &c.types, &c.declare, &c.mark}
}

// pulse is when there was last a sign of life, in nanoseconds of Unix time.
type pulse struct{ at atomic.Int64 }

func (p *pulse) beat() { p.at.Store(time.Now().UnixNano()) }

// progress returns when a record was last acknowledged, or came when none was in
// hand.
func (w *Writer) progress() time.Time { return time.Unix(0, w.counts.pulse.at.Load()) }
