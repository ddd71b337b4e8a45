package sim

import (
	"maps"
	"slices"
	"strings"

	"github.com/afterhours/afterhours"
)

// Somebody removes an object, or puts an older version in its place. Neither may
// cost a row that can still be had: a compactor that knows that there was more
// stops at an object that is gone, and merges again into one that went back.

// tampering is what somebody may do to objects: only to those that the board
// describes, and that nobody is about to replace.
func (a *agenda) tampering() {
	for _, h := range slices.SortedFunc(maps.Keys(a.seen.parts), afterhours.Hour.Compare) {
		p := a.seen.parts[h]
		if p.now == nil || a.seen.tamper[h] || !a.described(h, p.now) || a.busy(h) {
			continue
		}
		older := a.older(h, p)
		for _, old := range older {
			a.add("object went back", func() { a.goBack(h, p, old) }, "the object of %s goes back to %s", h, old.v.name)
		}
		if !a.plan.expiry || len(older) == 0 { // the other is rarer
			a.add("object removed", func() { a.remove(h, p) }, "the object of %s is removed", h)
		}
	}
}

// described reports whether the board knows the newest version.
func (w *world) described(h afterhours.Hour, x *looked) bool {
	k := w.board(lakeURL).partitions[h]
	return k.Version == x.v.name && k.Generation == x.m.Generation
}

// busy reports whether a call about the hour is under way.
func (w *world) busy(h afterhours.Hour) bool {
	key := keyOf(h)
	for _, o := range w.pending {
		if o.kind == "columns" && o.key == h.Type {
			return true // somebody rewrites an hour of the type
		}
		if o.kind != "append" && o.kind != "index" && o.kind != "close" && (strings.Contains(o.key, w.names[h]) || o.key == key) {
			return true
		}
	}
	for _, l := range w.late {
		if strings.Contains(l.name, key) || strings.Contains(l.name, w.names[h]) {
			return true
		}
	}
	return false
}

// keyOf is the key of an hour's object. The simulated types need no escaping.
func keyOf(h afterhours.Hour) string {
	day, hour, _ := strings.Cut(h.Span(), "T")
	return "event_type=" + h.Type + "/dt=" + day + "/hour=" + hour + "/events.parquet"
}

// remove removes an object.
func (d *decision) remove(h afterhours.Hour, p *part) {
	d.lake.objects[keyOf(h)].now = nil
	d.seen.tamper[h] = true
	p.gone, p.kept, p.now = p.now, p.now, nil
}

// older returns the versions that may be put in the place of the newest: those
// after which everything that was acknowledged can still be had.
func (d *decision) older(h afterhours.Hour, p *part) (all []*looked) {
	for _, x := range slices.Collect(maps.Values(p.all)) {
		if x.m.Generation < p.now.m.Generation && d.recoverable(h, x) {
			all = append(all, x)
		}
	}
	slices.SortFunc(all, func(a, b *looked) int { return strings.Compare(a.v.name, b.v.name) })
	return all
}

// recoverable reports whether every acknowledged record of an hour is in a version,
// or can be read for half a day.
func (w *world) recoverable(h afterhours.Hour, x *looked) bool {
	until := w.now() + afterhours.Micros(12*3600e6)
	for _, log := range w.source.logs {
		for _, r := range log {
			if r.hour == h && r.acked && !x.holds(r) && !w.seen.kept(r, until) {
				return false
			}
		}
	}
	return true
}

// goBack puts an older version in the place of the newest, as a version of its own.
func (d *decision) goBack(h afterhours.Hour, p *part, old *looked) {
	o := d.lake.objects[keyOf(h)]
	d.lake.made++
	v := &version{name: versionName(d.lake.made), file: old.v.file, size: old.v.size}
	o.all, o.now = append(o.all, v), v
	back := *old
	back.v = v
	p.all[v.name], p.now = &back, &back
	d.seen.tamper[h], d.seen.sweep[h] = true, true
	d.seen.wentBack[h] = true
	d.seen.unserve(h)
}

// unserve takes the records of an hour for not served that its partition has no
// more.
func (s *inspection) unserve(h afterhours.Hour) {
	for _, log := range s.w.source.logs {
		for _, r := range log {
			if r.hour == h && r.acked {
				r.served = false
				s.acked(r)
			}
		}
	}
}
