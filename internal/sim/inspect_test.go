package sim

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
)

// inspection knows what every partition must hold, and what is still owed.
type inspection struct {
	w        *world
	lake     *lake.Lake
	looking  *version // what the lake of the inspection sees
	parts    map[afterhours.Hour]*part
	waiting  []*record                // acknowledged, and not in their partition
	sweep    map[afterhours.Hour]bool // marks were lost: a sweep must find what is new
	tamper   map[afterhours.Hour]bool // somebody removed or replaced the object: its history may have holes
	wentBack map[afterhours.Hour]bool // and no newer version is there yet: nothing may expire
}

// part is the history of one hour's partition.
type part struct {
	now  *looked // what was published last
	gone *looked // what was there before somebody removed it
	kept *looked // what an operator restores, or has restored
	all  map[string]*looked
	told []store.Publication // every publish: what the feed must have in the end

	// stray is that somebody published who does not serve the hour's marks: an
	// operator, or a compactor that does not know yet that another serves them. If it
	// dies before it tells the board, only a sweep knows.
	stray bool
}

// looked is a version that was read in full.
type looked struct {
	v       *version
	m       *lake.Manifest
	content map[string]afterhours.Copies
	merged  afterhours.RowSet // every row that went into it, pruned ones included
}

func (s *inspection) init(w *world) {
	*s = inspection{w: w, parts: map[afterhours.Hour]*part{}, sweep: map[afterhours.Hour]bool{}, tamper: map[afterhours.Hour]bool{}, wentBack: map[afterhours.Hour]bool{}}
	s.lake = lake.New("sim://inspection", inspector{s}, lake.Options{TempDir: w.dir, Logger: silent})
}

// inspector shows a lake the version that is looked at.
type inspector struct{ s *inspection }

func (i inspector) Get(context.Context, string) (*lake.Stored, error) { return i.s.looking.open() }

var errReadOnly = errors.New("an inspection only looks")

func (i inspector) Stat(context.Context, string) (*lake.Stored, error)       { return nil, errReadOnly }
func (i inspector) Tail(context.Context, lake.Object, int64) ([]byte, error) { return nil, errReadOnly }
func (i inspector) Create() (*os.File, error)                                { return nil, errReadOnly }
func (i inspector) Put(context.Context, string, *os.File, string) (string, error) {
	return "", errReadOnly
}
func (i inspector) List(context.Context, func(lake.Object) error) error { return errReadOnly }

// published looks at a new version: is it whole, and is it what it should be?
func (s *inspection) published(key string, was, v *version) {
	h := hourOfKey(key)
	x, err := s.read(h, v)
	if err != nil {
		s.w.violate("version %s of %s is not whole: %v", v.name, h, err)
		return
	}
	p := s.parts[h]
	if p == nil {
		p = &part{all: map[string]*looked{}}
		s.parts[h] = p
	}
	var base *looked
	if was != nil {
		base = p.all[was.name]
	}
	last := x.m.History[len(x.m.History)-1]
	if p.gone != nil && last.Cause != "restore" {
		s.w.violate("version %s of %s: a partition that somebody removed was made anew", v.name, h)
		return
	}
	if p.gone != nil {
		p.now, p.gone = p.gone, nil
	}
	delete(s.wentBack, h)
	p.all[v.name] = x
	s.account(x, base, p)
	s.compare(h, x.content, x.merged, "version "+v.name)
	if last.Cause == "restore" {
		// What came since the older version is dropped, and marked after that.
		p.now = x
		s.sweep[h] = true
		s.unserve(h)
	}
	s.shrunk(h, p.now, x)
	p.now = x
	p.told = append(p.told, store.Publication{Hour: h, Lineage: x.m.Lineage, Generation: last.Generation, At: last.At, Cause: last.Cause, Added: last.Added, Duplicates: last.Duplicates})
	s.settle(h)
}

// read reads a version in full, in order.
func (s *inspection) read(h afterhours.Hour, v *version) (*looked, error) {
	s.looking = v
	b, err := s.lake.Base(context.Background(), h)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	// Its publisher has verified it. What is compared below is all that matters.
	if s.w.lake.made%4 == 0 {
		if err := b.Verify(); err != nil {
			return nil, err
		}
	}
	x := &looked{v: v, m: b.Manifest, content: map[string]afterhours.Copies{}}
	var last *afterhours.Copies
	err = b.Rows(func(c afterhours.Copies) error {
		if _, twice := x.content[c.ID]; twice {
			return fmt.Errorf("event %s is there twice", c.ID)
		}
		if last != nil && len(b.Manifest.Columns) == 0 && cmp.Or(cmp.Compare(last.Time, c.Time), strings.Compare(last.ID, c.ID)) >= 0 {
			return fmt.Errorf("event %s is out of order", c.ID)
		}
		x.content[c.ID], last = c, &c
		return nil
	})
	return x, err
}

// account finds every row that went into a version, and balances the books.
func (s *inspection) account(x, base *looked, p *part) {
	m := x.m
	x.merged = m.Merged.Clone()
	switch cause := m.History[len(m.History)-1].Cause; {
	case cause == "rebuild" || cause == "discard":
	case cause == "restore":
		x.merged.AddAll(p.kept.merged)
	case base != nil:
		x.merged.AddAll(base.merged)
	}
	if n := x.merged.Count(); m.Seen != n {
		s.w.violate("%s of %s: %d rows seen, but %d went into it", x.v.name, m.Hour, m.Seen, n)
	}
	if m.Seen != m.Rows+m.Duplicates+m.Erased || m.Rows != int64(len(x.content)) {
		s.w.violate("%s of %s: the books do not balance: %+v", x.v.name, m.Hour, m)
	}
	for seg, rows := range x.merged {
		for _, run := range rows {
			for n := run.First; n <= run.Last; n++ {
				id := afterhours.RowID{Segment: seg, Seq: n}
				if r := s.w.store.ever[id]; r != nil && !m.Merged.Has(id) && s.w.readable(r, s.w.now()) {
					s.w.violate("%s of %s: row %s:%d was pruned and can still be read", x.v.name, m.Hour, seg, n)
				}
			}
		}
	}
}

// fold is what a partition of these rows must hold: of the copies of an event the
// smallest by received time, payload and event time, and a conflict if payloads
// differ. It says so in its own words, lest it share a mistake.
func (s *inspection) fold(rows afterhours.RowSet) (map[string]afterhours.Copies, error) {
	want := map[string]afterhours.Copies{}
	for seg, runs := range rows {
		for _, run := range runs {
			for n := run.First; n <= run.Last; n++ {
				r := s.w.store.ever[afterhours.RowID{Segment: seg, Seq: n}]
				if r == nil {
					return nil, fmt.Errorf("row %s:%d was never written", seg, n)
				}
				c, ok := want[r.Event.ID]
				if !ok || before(r.Event, c.Event) {
					c.Conflict = ok && (c.Conflict || !bytes.Equal(c.Payload, r.Event.Payload))
					c.Event = r.Event
				} else {
					c.Conflict = c.Conflict || !bytes.Equal(c.Payload, r.Event.Payload)
				}
				want[r.Event.ID] = c
			}
		}
	}
	return want, nil
}

func before(a, b afterhours.Event) bool {
	return cmp.Or(cmp.Compare(a.Received, b.Received), bytes.Compare(a.Payload, b.Payload), cmp.Compare(a.Time, b.Time)) < 0
}

// compare compares the content of a partition with what rows should make of it.
func (s *inspection) compare(h afterhours.Hour, content map[string]afterhours.Copies, rows afterhours.RowSet, what string) {
	want, err := s.fold(rows)
	if err != nil {
		s.w.violate("%s of %s: %v", what, h, err)
		return
	}
	for id, c := range want {
		got, ok := content[id]
		switch {
		case !ok:
			s.w.violate("%s of %s: a row of event %s is merged, the event is not there", what, h, id)
		case !sameEvent(got.Event, c.Event) || got.Conflict != c.Conflict:
			s.w.violate("%s of %s: event %s is %+v, want %+v", what, h, id, got, c)
		}
	}
	for id := range content {
		if _, ok := want[id]; !ok {
			s.w.violate("%s of %s: event %s is there, but no row of it is merged", what, h, id)
		}
	}
}

// shrunk compares the IDs of a version with those of the one before.
func (s *inspection) shrunk(h afterhours.Hour, was, now *looked) {
	if was == nil {
		return
	}
	for id := range was.content {
		if _, ok := now.content[id]; !ok {
			s.w.violate("%s shrank: %s lacks event %s, which %s had", h, now.v.name, id, was.v.name)
		}
	}
}

// noted looks at notes: the rows they name must change nothing.
func (s *inspection) noted(h afterhours.Hour, lineage string) {
	p := s.parts[h]
	if p == nil || p.now == nil || p.now.m.Lineage != lineage {
		return
	}
	rows := p.now.merged.Clone()
	for n := range s.w.store.hour(h).notes[lineage] {
		rows[n.Segment] = rows[n.Segment].Add(n.Rows.First, n.Rows.Last)
	}
	s.compare(h, p.now.content, rows, "the notes")
}

// acked takes a record that was acknowledged.
func (s *inspection) acked(r *record) {
	if r.served || slices.Contains(s.waiting, r) {
		return
	}
	if r.served = s.holds(r); !r.served {
		s.waiting = append(s.waiting, r)
	}
}

// settle drops the records that their partition now holds.
func (s *inspection) settle(h afterhours.Hour) {
	s.waiting = slices.DeleteFunc(s.waiting, func(r *record) bool {
		r.served = r.hour == h && s.holds(r)
		return r.served
	})
}

// holds reports whether the partition has a record's event.
func (s *inspection) holds(r *record) bool {
	p := s.parts[r.hour]
	return p != nil && p.now != nil && p.now.holds(r)
}

// holds reports whether a version has a record's event: with its payload, or with
// another and the conflict flagged.
func (x *looked) holds(r *record) bool {
	if r.id != "" {
		c, ok := x.content[r.id]
		return ok && (c.Conflict || bytes.Equal(c.Payload, r.bytes))
	}
	for _, c := range x.content {
		if r.isEnvelope(c.Payload) {
			return true
		}
	}
	return false
}

// is reports whether a row is a copy of what a record must become.
func (r *record) is(x *stored) bool {
	if x.hour != r.hour {
		return false
	}
	if r.id != "" {
		return x.Event.ID == r.id && bytes.Equal(x.Event.Payload, r.bytes)
	}
	return r.isEnvelope(x.Event.Payload)
}

// check is the first promise: what is acknowledged is in the partition, or it can
// be read and a mark says so.
func (s *inspection) check() {
	for _, r := range s.waiting {
		if p := s.parts[r.hour]; p != nil && p.gone != nil {
			continue // what was in the object is nowhere else, perhaps
		}
		if !s.kept(r, s.w.now()) {
			s.w.violate("record %s (%s of %s) is acknowledged, but neither in its partition nor readable", r.position(), r.id, r.hour)
		} else if !s.sweep[r.hour] && !s.w.queue.marked(r.hour, group) {
			s.w.violate("record %s (%s of %s) is acknowledged and not in its partition, and its hour is not marked", r.position(), r.id, r.hour)
		}
	}
}

// kept reports whether a copy of a record can be read until the given instant.
func (s *inspection) kept(r *record, until afterhours.Micros) bool {
	if r.row != nil && s.w.readable(r.row, until) {
		return true
	}
	h := s.w.store.hours[r.hour]
	if h == nil {
		return false
	}
	// The copy that can be read longest: an older one may be of a writer that died
	// before it could acknowledge it.
	r.row = nil
	for _, lane := range slices.Sorted(maps.Keys(h.rows)) {
		for _, x := range h.rows[lane] {
			if r.is(x) && s.w.readable(x, until) && (r.row == nil || s.w.readableUntil(x) > s.w.readableUntil(r.row)) {
				r.row = x
			}
		}
	}
	return r.row != nil
}

// final is what must hold when everything has come to rest.
func (s *inspection) final() {
	for _, r := range s.waiting {
		s.w.violate("at rest: record %s (%s of %s) is not in its partition", r.position(), r.id, r.hour)
	}
	for _, log := range s.w.source.logs {
		for _, r := range log {
			if !r.acked || !s.holds(r) {
				s.w.violate("at rest: record %s (%s of %s): acknowledged %v, in its partition %v", r.position(), r.id, r.hour, r.acked, s.holds(r))
			}
		}
	}
	if s.w.queue.owed(group) {
		s.w.violate("at rest: marks are not done")
	}
	b := s.w.board(lakeURL)
	for h, p := range s.parts {
		if s.tamper[h] {
			continue
		}
		if why := p.untold(b, h); why != "" {
			s.w.violate("at rest: %s", why)
		}
	}
	if len(b.stuck) > 0 {
		s.w.violate("at rest: hours are stuck: %v", b.stuck)
	}
}

// untold says what the board does not know of a partition, "" if it knows all.
func (p *part) untold(b *board, h afterhours.Hour) string {
	for _, t := range p.told {
		if !hasTold(b.feed, t) {
			return fmt.Sprintf("the feed of %s lacks %+v", h, t)
		}
	}
	// Of two compactors the slower may have told the board last. Whoever rewrites
	// the hour next, or sweeps, tells it again.
	if k := b.partitions[h]; p.all[k.Version] == nil || k.Generation > p.now.m.Generation {
		return fmt.Sprintf("the board of %s says %+v, but the partition is %s, %+v", h, k, p.now.v.name, p.now.m)
	}
	return ""
}

// askSweeps has hours swept that nobody may tell the board of, or of which nobody
// may remove the record that they are stuck.
func (s *inspection) askSweeps() {
	for h, p := range s.parts {
		if p.stray && p.untold(s.w.board(lakeURL), h) != "" {
			p.stray, s.sweep[h] = false, true
		}
	}
	for h := range s.w.board(lakeURL).stuck {
		s.sweep[h] = true
	}
}

// hasTold reports whether the feed has a publish. A publish that is told of only
// after the next one, which began a new lineage, is told of under the new one.
func hasTold(feed map[store.Publication]bool, p store.Publication) bool {
	for t := range feed {
		t.Lineage = p.Lineage
		if t == p {
			return true
		}
	}
	return false
}
