package lake

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/afterhours/afterhours"
)

// defaultMemory is a rewrite's budget if none is given.
const defaultMemory = 128 << 20

// RewriteOptions are what a rewrite needs besides the base and the rows.
type RewriteOptions struct {
	Columns []afterhours.Column // declared for the event type: the base's, and perhaps more
	Memory  int64               // budget for rows in bytes; 128 MiB if 0
	Cause   string              // for the history

	// Rebuild takes no rows of the base: all are added again, under a new lineage.
	// What was erased stays erased.
	Rebuild bool

	// Discard lets a rebuild give up what only the base has, which need not even
	// be readable. It means nothing without Rebuild.
	Discard bool

	// Force publishes even if no row would change.
	Force bool

	// NewLineage begins a new lineage although the base's rows and ranges are
	// kept: for a partition that does not follow from what was published last.
	NewLineage bool

	// After is a generation known to have been published. The new one is larger.
	After int64

	// Noted are rows judged to be mere copies earlier, under the base's lineage.
	// They count as merged, and so are recorded by the next publish. They mean
	// nothing, and must be added again, if there is no base or its lineage ends.
	Noted []NotedRows

	// Prune reports whether the manifest may forget the ranges of a segment of the
	// base, because its rows can never be read again. It is not asked about
	// segments of which rows are added or noted. Nil forgets none.
	Prune func(afterhours.Segment, afterhours.Origin) bool

	// Settled is the first day whose shared lane may still get rows: those before
	// were read to their end, or are in the base. An earlier day than the base's
	// does not count.
	Settled afterhours.Day

	// Erase are IDs of events whose rows are dropped now and for ever.
	Erase []string
}

// NotedRows are rows of one segment.
type NotedRows struct {
	Segment afterhours.Segment
	Rows    afterhours.Range
	Origin  afterhours.Origin
}

// Rewrite makes an hour's next partition. Several goroutines may add rows at once;
// all else is for one goroutine, after that.
type Rewrite struct {
	lake   *Lake
	base   *Base
	opt    RewriteOptions
	layout *layout

	mu      sync.Mutex // of what several goroutines change: those that add, later those that take or make blocks
	added   afterhours.RowSet
	noted   afterhours.RowSet
	origins map[afterhours.Segment]afterhours.Origin // of rows added or noted
	ids     idSet                                    // of the rows added
	rows    *sorter                                  // rows added, in the order of the partition
	sorters []*sorter                                // all
	sum     content                                  // of these

	hash        hasher
	key         []byte
	body        []byte
	files       []*os.File
	unpublished string // name of the one that may have one
	trail       *trail // of the new partition's file
}

// Rewrite begins to rewrite the partition that b is. It is [ErrRefused] if the
// base has a column that is not declared, or is declared otherwise, and
// [ErrNotCovered] if a rebuild could never cover it, or if the base was not read
// and is not discarded. The base must stay open.
func (l *Lake) Rewrite(b *Base, o RewriteOptions) (*Rewrite, error) {
	r, err := l.newRewrite(b, o)
	if err != nil {
		return nil, fmt.Errorf("rewrite partition %s: %w", b.Hour, err)
	}
	return r, nil
}

func (l *Lake) newRewrite(b *Base, o RewriteOptions) (*Rewrite, error) {
	o.Columns = slices.SortedFunc(slices.Values(o.Columns), func(a, b afterhours.Column) int {
		return strings.Compare(a.Name, b.Name)
	})
	if err := validateColumns(o.Columns); err != nil {
		return nil, err
	}
	if o.Memory <= 0 {
		o.Memory = defaultMemory
	}
	o.Discard = o.Discard && o.Rebuild
	o.NewLineage = o.NewLineage || b.restored != nil
	if err := b.admits(o); err != nil {
		return nil, err
	}
	layout, err := layoutOf(o.Columns)
	if err != nil {
		return nil, err
	}
	r := &Rewrite{
		lake: l, base: b, opt: o, layout: layout,
		added: afterhours.RowSet{}, noted: afterhours.RowSet{}, origins: map[afterhours.Segment]afterhours.Origin{},
	}
	r.rows = r.sorter()
	return r, r.note()
}

// sorterShare is which part of the budget a sorter has. There are three at most; the
// rest is for the IDs of the rows and for the blocks that are made.
const sorterShare = 8

// sorter returns a sorter for some of the rows.
func (r *Rewrite) sorter() *sorter {
	s := &sorter{limit: r.opt.Memory / sorterShare, create: r.temp}
	r.sorters = append(r.sorters, s)
	return s
}

// admits reports why the base cannot be rewritten in this way.
func (b *Base) admits(o RewriteOptions) error {
	m := b.Manifest
	switch {
	case o.Discard || m == nil && b.object == nil:
		return nil
	case m == nil:
		return fmt.Errorf("%w: its content was not read, so only a rebuild that discards it can replace it", ErrNotCovered)
	case o.Rebuild && !coverable(m):
		return fmt.Errorf("%w: some of its rows cannot be read again", ErrNotCovered)
	}
	for _, c := range m.Columns {
		if !slices.Contains(o.Columns, c) {
			return fmt.Errorf("%w: its column %s is not declared like this; declared are %v", ErrRefused, c, o.Columns)
		}
	}
	return nil
}

// coverable reports whether a set of rows can show that it is all that m was
// made of.
func coverable(m *Manifest) bool {
	return m.Pruned == 0 && m.Erased == 0 && m.Seen == m.Merged.Count()
}

// inherited returns the manifest whose rows and ranges the new partition keeps,
// nil if there is none.
func (r *Rewrite) inherited() *Manifest {
	if r.opt.Rebuild {
		return nil
	}
	return r.base.Manifest
}

// note takes the rows noted. Notes are true of one lineage only: in another, the
// event that a row was a copy of may be missing.
func (r *Rewrite) note() error {
	if r.inherited() == nil || r.opt.NewLineage {
		return nil
	}
	for _, n := range r.opt.Noted {
		if n.Rows.First > n.Rows.Last {
			return fmt.Errorf("noted rows %d-%d of segment %s: out of order", n.Rows.First, n.Rows.Last, n.Segment)
		}
		if err := r.place(n.Segment, n.Origin); err != nil {
			return fmt.Errorf("noted rows: %w", err)
		}
		r.noted[n.Segment] = r.noted[n.Segment].Add(n.Rows.First, n.Rows.Last)
	}
	return nil
}

// place records where rows of a segment lie.
func (r *Rewrite) place(seg afterhours.Segment, o afterhours.Origin) error {
	known, ok := r.origins[seg]
	if m := r.inherited(); !ok && m != nil {
		known, ok = m.Origins[seg]
	}
	if !ok {
		known = o
	}
	if known.Shared != o.Shared || known.Shared && known.Day != o.Day {
		return fmt.Errorf("segment %s cannot lie in two lanes: %+v and %+v", seg, known, o)
	}
	known.Day = max(known.Day, o.Day)
	r.origins[seg] = known
	return nil
}

// Add takes a raw row that was read, and where it lies: for a segment of its own
// the day on which the row was received will do. The manifest will record exactly
// the rows added, besides the base's and the noted ones, as merged. A row that is
// merged or noted already changes nothing. An event that is invalid or of another
// hour is an error: it must not be published here. Several goroutines may add rows at
// once.
func (r *Rewrite) Add(id afterhours.RowID, o afterhours.Origin, e afterhours.Event) error {
	if err := r.addRow(id, o, e); err != nil {
		return fmt.Errorf("add event %q to partition %s: %w", e.ID, r.base.Hour, err)
	}
	return nil
}

func (r *Rewrite) addRow(id afterhours.RowID, o afterhours.Origin, e afterhours.Event) error {
	if err := e.Validate(); err != nil {
		return err
	}
	if e.Type != r.base.Hour.Type || !r.base.Hour.Contains(e.Time) {
		return fmt.Errorf("it is of hour %s", e.Hour())
	}
	if m := r.inherited(); m != nil && m.Merged.Has(id) || r.noted.Has(id) {
		return nil
	}
	// Most of the work is done before the lock is taken.
	a := adders.Get().(*adder)
	defer a.release()
	a.rec = record{id: []byte(e.ID), time: e.Time, received: e.Received, payload: e.Payload, cells: a.rec.cells}
	r.layout.extract(&a.rec)
	a.encode(r.layout)
	row, hash := a.hash.row(&a.rec), hashID(a.rec.id)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.added.Has(id) {
		return nil
	}
	if err := r.place(id.Segment, o); err != nil {
		return err
	}
	if err := r.rows.add(a.key, a.body); err != nil {
		return err
	}
	r.sum = r.sum.add(row)
	r.ids.add(hash)
	r.added.Add(id)
	return nil
}

// adder has a row made ready for a sorter. It is for one goroutine at a time.
type adder struct {
	rec  record
	key  []byte
	body []byte
	hash hasher
}

var adders = sync.Pool{New: func() any { return &adder{} }}

func (a *adder) release() {
	a.rec = record{cells: a.rec.cells[:0]}
	adders.Put(a)
}

// encode makes the key and the body of the record, of which all cells are set.
func (a *adder) encode(l *layout) {
	a.key = l.appendKey(a.key[:0], &a.rec)
	a.body = appendBody(a.body[:0], &a.rec, hasCells)
}

// sortRow adds a row, of which all cells are set, to a sorter by the order of the
// partition.
func (r *Rewrite) sortRow(s *sorter, rec *record) error {
	r.key = r.layout.appendKey(r.key[:0], rec)
	r.body = appendBody(r.body[:0], rec, hasCells)
	return s.add(r.key, r.body)
}

// Added returns how many rows were added.
func (r *Rewrite) Added() int64 { return r.added.Count() }

// AddedRows returns the rows added, those merged or noted before left out.
func (r *Rewrite) AddedRows() afterhours.RowSet { return r.added.Clone() }

// temp returns a temporary file that Close gives back.
func (r *Rewrite) temp() (*os.File, error) {
	f, err := temp(r.lake.opt.TempDir)
	if err == nil {
		r.files = append(r.files, f)
	}
	return f, err
}

// Close removes the temporary files. It is always called, also after Publish.
func (r *Rewrite) Close() error {
	var errs []error
	for _, s := range r.sorters {
		s.close()
	}
	if r.trail != nil {
		_ = r.trail.wait() // what it found Publish has returned, unless something else was wrong
	}
	for _, f := range r.files {
		errs = append(errs, f.Close())
	}
	// Published, it has another name by now; others never had one.
	if r.unpublished != "" {
		if err := os.Remove(r.unpublished); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	r.files, r.unpublished = nil, ""
	return errors.Join(errs...)
}
