package sim

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// storage is what the store holds.
type storage struct {
	hours map[afterhours.Hour]*hourRows
	ever  map[afterhours.RowID]*stored // every row that was ever written
	types map[string]map[string]afterhours.Column
	board map[string]*board
}

// hourRows are one hour's lanes, rows and notes.
type hourRows struct {
	lanes map[string]*indexRow
	rows  map[string][]*stored                        // by lane, in order of row
	notes map[string]map[store.Note]afterhours.Micros // by lineage, when they expire
}

// indexRow is a lane and when it was put.
type indexRow struct {
	lane    store.Lane
	stamp   [2]int64 // the writer's clock, and the number of the call
	expires afterhours.Micros
}

// stored is a row.
type stored struct {
	store.Row
	hour    afterhours.Hour
	lane    string
	by      *process
	expires afterhours.Micros
}

func (s *storage) init() {
	*s = storage{
		hours: map[afterhours.Hour]*hourRows{}, ever: map[afterhours.RowID]*stored{},
		types: map[string]map[string]afterhours.Column{}, board: map[string]*board{},
	}
}

func (s *storage) hour(h afterhours.Hour) *hourRows {
	x := s.hours[h]
	if x == nil {
		x = &hourRows{lanes: map[string]*indexRow{}, rows: map[string][]*stored{}, notes: map[string]map[store.Note]afterhours.Micros{}}
		s.hours[h] = x
	}
	return x
}

// storeView is the store as one process sees it.
type storeView struct{ p *process }

var _ store.Store = storeView{}

func micros(d time.Duration) afterhours.Micros { return afterhours.Micros(d.Microseconds()) }

func compareIDs(a, b afterhours.RowID) int {
	return cmp.Or(strings.Compare(string(a.Segment[:]), string(b.Segment[:])), cmp.Compare(a.Seq, b.Seq))
}

func (v storeView) TTL() time.Duration { return v.p.world.plan.ttl }

// Close is called by the suite of stores only.
func (v storeView) Close() error {
	v.p.world.mu.Lock()
	defer v.p.world.mu.Unlock()
	v.p.dead = true
	return nil
}

// PutLane writes with the caller's clock: what is written later wins, also if it
// arrives earlier.
func (v storeView) PutLane(ctx context.Context, h afterhours.Hour, l store.Lane) error {
	w := v.p.world
	w.mu.Lock()
	w.writes++
	stamp := [2]int64{int64(v.p.micros()), w.writes}
	w.mu.Unlock()
	kind := "index"
	if l.Closed {
		kind = "close"
	}
	return v.p.call(ctx, &op{kind: kind, key: v.p.world.name(h) + " " + short(l.Name), write: true, do: func() error {
		x := w.store.hour(h)
		row := x.lanes[l.Name]
		if row == nil {
			row = &indexRow{}
			x.lanes[l.Name] = row
		} else if row.expires > w.now() && slices.Compare(row.stamp[:], stamp[:]) > 0 {
			return nil
		}
		ttl := micros(w.plan.ttl)
		l.Until = afterhours.Micros(stamp[0]) + micros(store.Renewal) + ttl
		*row = indexRow{lane: l, stamp: stamp, expires: w.now() + 2*ttl}
		return nil
	}})
}

// short is the beginning of a lane's name, enough to tell lanes apart.
func short(lane string) string { return lane[:min(len(lane), 10)] }

func (v storeView) Append(ctx context.Context, h afterhours.Hour, lane string, wrote afterhours.Micros, rows []store.Row) error {
	w := v.p.world
	key, detail := w.name(h)+" "+short(lane), ""
	if !w.direct && len(rows) > 0 {
		key += fmt.Sprint(" ", rows[0].ID.Seq)
	}
	if w.trace.keep {
		for _, r := range rows {
			detail += fmt.Sprintf(" %s:%d=%s", short(r.ID.Segment.String()), r.ID.Seq, short(r.Event.ID))
		}
	}
	for i := range rows {
		if e := rows[i].Event; e.Type != h.Type || !h.Contains(e.Time) {
			return fmt.Errorf("row of hour %s appended to %s", e.Hour(), h)
		}
	}
	return v.p.call(ctx, &op{kind: "append", key: key, detail: detail, write: true, size: len(rows),
		do:   func() error { return w.append(v.p, h, lane, wrote, rows) },
		some: func(n func(int) int) { _ = w.append(v.p, h, lane, wrote, rows[:n(len(rows))]) },
	})
}

// append writes rows, or refuses all of them because of one that is poison.
func (w *world) append(p *process, h afterhours.Hour, lane string, wrote afterhours.Micros, rows []store.Row) error {
	for _, r := range rows {
		if isPoison(r.Event) {
			return fmt.Errorf("%w: %s is poison", store.ErrRefused, r.Event.ID)
		}
	}
	x := w.store.hour(h)
	for _, r := range rows {
		one := &stored{Row: r, hour: h, lane: lane, by: p, expires: wrote + micros(w.plan.ttl)}
		one.Event.Payload = slices.Clone(r.Event.Payload)
		if old := w.store.ever[r.ID]; old != nil && !w.direct {
			if old.hour != h || old.lane != lane || !sameEvent(old.Event, r.Event) {
				w.violate("row %s:%d was written twice, as %s of %s and as %s of %s", r.ID.Segment, r.ID.Seq, old.Event.ID, old.hour, r.Event.ID, h)
			}
			continue
		}
		w.store.ever[r.ID] = one
		at, found := slices.BinarySearchFunc(x.rows[lane], r.ID, func(a *stored, id afterhours.RowID) int { return compareIDs(a.ID, id) })
		if found {
			x.rows[lane][at] = one
		} else {
			x.rows[lane] = slices.Insert(x.rows[lane], at, one)
		}
	}
	return nil
}

func sameEvent(a, b afterhours.Event) bool {
	return a.ID == b.ID && a.Type == b.Type && a.Time == b.Time && a.Received == b.Received && string(a.Payload) == string(b.Payload)
}

// readable reports whether a row can be read until the given instant.
func (w *world) readable(r *stored, until afterhours.Micros) bool { return w.readableUntil(r) > until }

// readableUntil returns when a row, or the lane that it lies in, expires.
func (w *world) readableUntil(r *stored) afterhours.Micros {
	l := w.store.hour(r.hour).lanes[r.lane]
	if l == nil {
		return 0
	}
	return min(r.expires, l.expires)
}

func (v storeView) Lanes(ctx context.Context, h afterhours.Hour) ([]store.Lane, error) {
	var lanes []store.Lane
	err := v.p.call(ctx, &op{kind: "lanes", key: v.p.world.name(h), do: func() error {
		lanes = v.p.world.lanes(h)
		return nil
	}})
	return lanes, err
}

// lanes returns the index rows of an hour that have not expired.
func (w *world) lanes(h afterhours.Hour) (lanes []store.Lane) {
	x := w.store.hours[h]
	if x == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(x.lanes)) {
		if r := x.lanes[name]; r.expires > w.now() {
			lanes = append(lanes, r.lane)
		}
	}
	return lanes
}

// ReadRows reads a page at a time, so that rows may be written behind and before
// the cursor meanwhile.
func (v storeView) ReadRows(ctx context.Context, h afterhours.Hour, l store.Lane, have afterhours.RowSet, visit func(store.Row) error) error {
	w := v.p.world
	var at *afterhours.RowID
	for {
		var page []*stored
		err := v.p.call(ctx, &op{kind: "rows", key: v.p.world.name(h) + " " + short(l.Name), do: func() error {
			page = w.page(h, l.Name, at, have)
			return nil
		}})
		if err != nil {
			return err
		}
		for _, r := range page {
			row := r.Row
			row.Event.Payload = slices.Clone(r.Event.Payload)
			if err := visit(row); err != nil {
				return err
			}
			at = &r.ID
		}
		if len(page) < w.plan.page {
			return nil
		}
	}
}

// page returns the readable rows after a place in a lane.
func (w *world) page(h afterhours.Hour, lane string, after *afterhours.RowID, have afterhours.RowSet) (page []*stored) {
	x := w.store.hours[h]
	if x == nil {
		return nil
	}
	rows := x.rows[lane]
	if after != nil {
		at, found := slices.BinarySearchFunc(rows, *after, func(a *stored, id afterhours.RowID) int { return compareIDs(a.ID, id) })
		if found {
			at++
		}
		rows = rows[at:]
	}
	for _, r := range rows {
		if len(page) == w.plan.page {
			break
		}
		if r.expires > w.now() && !have.Has(r.ID) {
			page = append(page, r)
		}
	}
	return page
}

func (v storeView) Hours(ctx context.Context, visit func(afterhours.Hour) error) error {
	return v.Index(ctx, func(h afterhours.Hour, _ []store.Lane) error { return visit(h) })
}

func (v storeView) Index(ctx context.Context, visit func(afterhours.Hour, []store.Lane) error) error {
	w := v.p.world
	var at *afterhours.Hour
	for {
		var next *afterhours.Hour
		var lanes []store.Lane
		err := v.p.call(ctx, &op{kind: "index-scan", do: func() error {
			for _, h := range slices.SortedFunc(maps.Keys(w.store.hours), afterhours.Hour.Compare) {
				if at != nil && h.Compare(*at) <= 0 {
					continue
				}
				if lanes = w.lanes(h); len(lanes) > 0 {
					next = &h
					break
				}
			}
			return nil
		}})
		if err != nil || next == nil {
			return err
		}
		if err := visit(*next, lanes); err != nil {
			return err
		}
		at = next
	}
}

func (v storeView) PutNotes(ctx context.Context, h afterhours.Hour, lineage string, notes []store.Note) error {
	w := v.p.world
	return v.p.call(ctx, &op{kind: "note", key: v.p.world.name(h), write: true, do: func() error {
		x := w.store.hour(h)
		if x.notes[lineage] == nil {
			x.notes[lineage] = map[store.Note]afterhours.Micros{}
		}
		for _, n := range notes {
			x.notes[lineage][n] = w.now() + 2*micros(w.plan.ttl)
		}
		w.stats.count("notes", 1)
		w.seen.noted(h, lineage)
		return nil
	}})
}

func (v storeView) Notes(ctx context.Context, h afterhours.Hour, lineage string) ([]store.Note, error) {
	var notes []store.Note
	err := v.p.call(ctx, &op{kind: "notes", key: v.p.world.name(h), do: func() error {
		notes = v.p.world.notes(h, lineage)
		return nil
	}})
	return notes, err
}

func (w *world) notes(h afterhours.Hour, lineage string) (notes []store.Note) {
	x := w.store.hours[h]
	if x == nil {
		return nil
	}
	for n, expires := range x.notes[lineage] {
		if expires > w.now() {
			notes = append(notes, n)
		}
	}
	slices.SortFunc(notes, func(a, b store.Note) int {
		return cmp.Or(strings.Compare(a.Lane, b.Lane), strings.Compare(string(a.Segment[:]), string(b.Segment[:])),
			cmp.Compare(a.Rows.First, b.Rows.First), cmp.Compare(a.Rows.Last, b.Rows.Last))
	})
	return notes
}

func (v storeView) DeclareType(ctx context.Context, eventType string) error {
	return v.DeclareColumns(ctx, eventType, nil)
}

func (v storeView) DeclareColumns(ctx context.Context, eventType string, cols []afterhours.Column) error {
	w := v.p.world
	return v.p.call(ctx, &op{kind: "declare", key: eventType, write: true, do: func() error {
		known := w.store.types[eventType]
		for _, c := range cols {
			if old, ok := known[c.Name]; ok && old != c {
				return fmt.Errorf("%w: %s is %s", store.ErrColumnConflict, c, old)
			}
		}
		if known == nil {
			known = map[string]afterhours.Column{}
			w.store.types[eventType] = known
		}
		for _, c := range cols {
			known[c.Name] = c
		}
		return nil
	}})
}

func (v storeView) Types(ctx context.Context, visit func(string) error) error {
	var types []string
	err := v.p.call(ctx, &op{kind: "types", do: func() error {
		types = slices.Sorted(maps.Keys(v.p.world.store.types))
		return nil
	}})
	for _, t := range types {
		if err == nil {
			err = visit(t)
		}
	}
	return err
}

func (v storeView) Columns(ctx context.Context, eventType string) ([]afterhours.Column, error) {
	var cols []afterhours.Column
	err := v.p.call(ctx, &op{kind: "columns", key: eventType, do: func() error {
		known := v.p.world.store.types[eventType]
		for _, name := range slices.Sorted(maps.Keys(known)) {
			cols = append(cols, known[name])
		}
		return nil
	}})
	return cols, err
}
