package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/ingest"
)

// topic is the source: logs of records, read by ingests that form a group.
type topic struct {
	logs    [][]*record
	floors  []int64   // committed: every record below is acknowledged
	owners  []*reader // by log
	readers []*reader // in order of joining
}

// record is one record of the source, and what must become of it.
type record struct {
	log, offset int
	arrives     int // the step from which on it can be read
	bytes       []byte
	at          time.Time
	hour        afterhours.Hour // of the event or of the quarantine event
	id          string          // of the event; "" for a record that is none
	reason      string          // what the reason of the quarantine says

	acked  bool    // to somebody, at some time
	served bool    // acked, and in the partition: stays so
	row    *stored // a copy that can be read, if one was found
}

func (r *record) position() string { return fmt.Sprintf("%d@%d", r.log, r.offset) }

func (t *topic) init(p plan) {
	t.logs = make([][]*record, p.sources)
	t.floors, t.owners = make([]int64, p.sources), make([]*reader, p.sources)
	for i, r := range p.records {
		c := *r
		c.log = i % p.sources
		c.offset = len(t.logs[c.log])
		t.logs[c.log] = append(t.logs[c.log], &c)
	}
}

// reader is one ingest as the group of the source knows it.
type reader struct {
	p      *process
	logs   map[int]*progress
	inHand map[*record]afterhours.Micros // when it was handed out
	gone   bool
}

// progress is how far a reader has come in a log that it owns.
type progress struct {
	position int64          // of the next record
	acked    map[int64]bool // above the floor
}

var _ ingest.Source = (*reader)(nil)

// Run hands records on until ctx ends. Who reads a log is up to the group.
func (s *reader) Run(ctx context.Context, put ingest.Put) error {
	w := s.p.world
	w.mu.Lock()
	w.source.readers = append(w.source.readers, s)
	w.source.balance()
	w.mu.Unlock()
	for {
		var r *record
		var in *progress
		err := s.p.call(ctx, &op{kind: "fetch",
			ready: func() bool { _, r := s.next(); return r != nil },
			do: func() error {
				in, r = s.next()
				in.position++
				s.inHand[r] = w.now()
				return nil
			}})
		if err != nil {
			w.mu.Lock()
			delete(s.inHand, r) // it was on its way
			w.mu.Unlock()
			return err
		}
		rec := ingest.Record{Bytes: slices.Clone(r.bytes), Source: "topic", Position: r.position(), Time: r.at}
		if err := put(ctx, rec, func() { s.ack(in, r) }); err != nil {
			return err
		}
	}
}

// next returns the next record to hand out, of the lowest log that has one.
func (s *reader) next() (*progress, *record) {
	t := &s.p.world.source
	for log := range t.logs {
		in := s.logs[log]
		if in == nil || in.position >= int64(len(t.logs[log])) {
			continue
		}
		if r := t.logs[log][in.position]; r.arrives <= s.p.world.step {
			return in, r
		}
	}
	return nil, nil
}

// ack is the promise: from now on the record must not be lost.
func (s *reader) ack(in *progress, r *record) {
	w := s.p.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.p.dead {
		return
	}
	w.acks = append(w.acks, s.p.String()+" ack "+r.position())
	if !r.acked {
		w.stats.count("records acknowledged", 1)
		if r.id == "" {
			w.stats.count("records quarantined", 1)
		}
	}
	r.acked = true
	in.acked[int64(r.offset)] = true
	delete(s.inHand, r)
	w.seen.acked(r)
}

// tellAcks tells of the acknowledgements of one step, which come in any order.
func (w *world) tellAcks() {
	slices.Sort(w.acks)
	for _, a := range w.acks {
		w.trace.addf("%s", a)
	}
	w.acks = w.acks[:0]
}

// floor is what may be committed of a log.
func (s *reader) floor(log int) int64 {
	floor := s.p.world.source.floors[log]
	for s.logs[log].acked[floor] {
		floor++
	}
	return floor
}

// balance gives every log an owner, who starts at what is committed.
func (t *topic) balance() {
	for log := range t.owners {
		var owner *reader
		if n := len(t.readers); n > 0 {
			owner = t.readers[log%n]
		}
		t.give(log, owner)
	}
}

func (t *topic) give(log int, to *reader) {
	old := t.owners[log]
	if old == to {
		return
	}
	if old != nil {
		if !old.p.dead {
			t.floors[log] = old.floor(log)
		}
		delete(old.logs, log)
	}
	t.owners[log] = to
	if to != nil {
		to.logs[log] = &progress{position: t.floors[log], acked: map[int64]bool{}}
	}
}

// leave takes a reader out of the group.
func (t *topic) leave(s *reader) {
	if s.gone {
		return
	}
	s.gone = true
	t.readers = slices.DeleteFunc(t.readers, func(x *reader) bool { return x == s })
	t.balance()
}

// finished reports whether every record is acknowledged and committed.
func (t *topic) finished() bool {
	for log, records := range t.logs {
		if t.floors[log] < int64(len(records)) {
			return false
		}
	}
	return true
}
