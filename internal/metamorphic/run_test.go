package metamorphic

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/ingest"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
)

// group is whose marks are served to the end.
const group = "compactors"

// run is one way to get a world into a lake. All that must not matter is drawn.
type run struct {
	*site
	r     *rand.Rand
	world *world
	log   []string // what was done, for who reads a failure

	delivered delivered
	saved     map[afterhours.Hour][]string // older versions of partitions

	loseMarks bool // some of them
	bare      int  // pieces that are ingested before the columns are declared
	late      bool // so some are
}

func newRun(s *site, r *rand.Rand, w *world) *run {
	v := &run{
		site: s, r: r, world: w, delivered: delivered{rows: map[afterhours.Hour]int64{}}, saved: map[afterhours.Hour][]string{},
		loseMarks: r.IntN(4) == 0, bare: pick(r, 0, 0, 0, 1, 2),
	}
	v.late = v.bare > 0
	return v
}

func (v *run) did(format string, args ...any) { v.log = append(v.log, fmt.Sprintf(format, args...)) }

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// plain ingests the world as it is, in one piece, and compacts it once.
func (v *run) plain() error {
	if _, err := v.ingest(feed(v.world.records, -1, nil), ingest.Options{}); err != nil {
		return err
	}
	v.deliver(v.world.records)
	_, err := v.drain(v.compactor(v.config()), group, compact.Limits{})
	return err
}

// clocks are when a run begins, which decides on lanes: before the hours, when
// every hour has lanes of its own; in the midst of them; and long after, when
// stragglers share lanes.
var clocks = []time.Duration{-500 * time.Hour, 90 * time.Minute, 40 * 24 * time.Hour}

// any ingests and compacts in any way that must give the same.
func (v *run) any() error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(pick(v.r, 1, 2, 4)))
	began := pick(v.r, clocks...)
	v.clock.set(start.Time().Add(began))
	v.did("begins %s after the first event, loses marks %t, %d pieces without columns, on %d processors", began, v.loseMarks, v.bare, runtime.GOMAXPROCS(0))
	records := slices.Clone(v.world.records)
	if v.r.IntN(3) > 0 {
		v.r.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
		v.did("shuffled")
	}
	for n := v.r.IntN(3); n > 0; n-- {
		again := v.r.IntN(len(records))
		records = append(records, records[again:]...)
		v.did("the last %d records come again", len(records)-again)
	}
	for len(records) > 0 {
		n := 1 + v.r.IntN(len(records))
		if v.r.IntN(3) == 0 {
			n = len(records)
		}
		if err := v.piece(records[:n]); err != nil {
			return err
		}
		records = records[n:]
		v.bare--
		if err := v.meanwhile(); err != nil {
			return err
		}
	}
	return v.finish()
}

// piece ingests some records, by one process or two at once, and perhaps stops and
// does so again.
func (v *run) piece(records []record) error {
	if v.r.IntN(4) == 0 {
		if err := v.stopped(records); err != nil {
			return err
		}
	}
	halves := [][]record{records}
	if v.r.IntN(4) == 0 {
		n := v.r.IntN(len(records) + 1)
		halves = [][]record{records[:n], records[n:]}
	}
	errs := make([]error, len(halves))
	var writers sync.WaitGroup
	for i, half := range halves {
		o := v.options()
		v.did("ingest %d: segments of %d rows or %d bytes, %d calls, %d bytes in hand", len(half), o.SegmentRows, o.SegmentBytes, o.Calls, o.InHand)
		w := ingest.New(v.store, v.marks(), o)
		writers.Go(func() { _, errs[i] = ingest.Run(context.Background(), feed(half, -1, nil), mapping, w) })
	}
	writers.Wait()
	v.deliver(records)
	return errors.Join(errs...)
}

// stopped ingests a part of the records, how many rows of which is not known.
func (v *run) stopped(records []record) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	o := v.options()
	o.ShutdownGrace = pick(v.r, time.Nanosecond, time.Minute)
	at := v.r.IntN(len(records))
	sum, err := ingest.Run(ctx, feed(records, at, stop), mapping, ingest.New(v.store, v.marks(), o))
	v.did("ingest %d, stopped at %d with a grace of %s: %+v, %v", len(records), at, o.ShutdownGrace, sum, err)
	if err == nil {
		return errors.New("ingest was stopped and says that it was not")
	}
	v.delivered.atLeast = true
	return nil
}

func (v *run) options() ingest.Options {
	o := ingest.Options{
		Now: v.clock.Now, Log: quiet, Columns: mapping.Columns,
		SegmentRows: pick(v.r, int64(1), 7, 100, 50_000), SegmentBytes: pick(v.r, int64(1), 5_000, 32<<20),
		Calls: pick(v.r, 1, 2, 128), InHand: pick(v.r, int64(1), 5_000, 64<<20),
	}
	if v.bare > 0 {
		o.Columns = nil
	}
	return o
}

// deliver counts the raw rows that there will be of records that were kept.
func (v *run) deliver(records []record) {
	for _, r := range records {
		if r.event != nil {
			v.delivered.rows[r.event.Hour()]++
		}
	}
}

// marks is where marks go, unless they get lost: those of a process that died, or
// of a topic that was made again.
func (v *run) marks() ingest.Marks {
	if !v.loseMarks {
		return v.queue
	}
	return marks(func(ctx context.Context, hours ...afterhours.Hour) error {
		return v.queue.Mark(ctx, slices.DeleteFunc(slices.Clone(hours), func(h afterhours.Hour) bool { return h.Start%7 < 3 })...)
	})
}

// marks is a function as [ingest.Marks].
type marks func(ctx context.Context, hours ...afterhours.Hour) error

// Mark implements [ingest.Marks].
func (m marks) Mark(ctx context.Context, hours ...afterhours.Hour) error { return m(ctx, hours...) }

// compactorOf draws how a compactor works, how it reads, and how much it may hold.
func (v *run) compactorOf() *compact.Compactor {
	cfg := v.config()
	cfg.Workers = 1 + v.r.IntN(4)
	cfg.Giants, cfg.GiantBytes = 1, pick(v.r, int64(1), 2_000, 64<<20)
	l := tight{v.lake, pick(v.r, int64(1), 3_000, 64<<20)}
	s := paged{v.store, pick(v.r, 0, 0, 1, 3, 50)}
	v.did("compactor: %d workers, giants from %d bytes, %d bytes of memory, pages of %d rows", cfg.Workers, cfg.GiantBytes, l.memory, s.rows)
	c, err := compact.New(s, l, cfg)
	if err != nil {
		v.t.Fatal(err)
	}
	return c
}

// tight is a lake whose rewrites have little memory.
type tight struct {
	*lake.Lake
	memory int64
}

// Rewrite implements [compact.Lake].
func (l tight) Rewrite(b *lake.Base, o lake.RewriteOptions) (*lake.Rewrite, error) {
	o.Memory = l.memory
	return l.Lake.Rewrite(b, o)
}

// paged is a store that reads rows page by page, 0 for no pages: each page is a
// read of its own, from the first row that the ones before did not bring.
type paged struct {
	store.Store
	rows int
}

var errPage = errors.New("the page is full")

// ReadRows implements [store.Store].
func (p paged) ReadRows(ctx context.Context, h afterhours.Hour, l store.Lane, have afterhours.RowSet, visit func(store.Row) error) error {
	if p.rows == 0 {
		return p.Store.ReadRows(ctx, h, l, have, visit)
	}
	have = maps.Clone(have)
	if have == nil {
		have = afterhours.RowSet{}
	}
	have = have.Clone()
	for {
		page := afterhours.RowSet{}
		err := p.Store.ReadRows(ctx, h, l, have, func(r store.Row) error {
			switch {
			case have.Has(r.ID):
				return nil
			case page.Count() == int64(p.rows):
				return errPage
			}
			page.Add(r.ID)
			return visit(r)
		})
		have.AddAll(page)
		if err != errPage {
			return err
		}
	}
}

// step is something that may happen between pieces.
type step struct {
	name string
	do   func(v *run) error
	when when
}

// when is when a step may be taken.
type when int

const (
	always    when = iota
	unexpired      // else what has expired would be lost
	simulated      // only where the clock can be set
)

var steps = []step{
	{"drain", (*run).drainAll, always},
	{"drain", (*run).drainAll, always},
	{"drain a few hours", (*run).drainFew, always},
	{"two compactors at once", (*run).drainTwice, always},
	{"rewrite hours", (*run).rewriteSome, always},
	{"rebuild hours", (*run).rebuildSome, always},
	{"discard an hour", (*run).discardOne, unexpired},
	{"save the partitions", (*run).save, always},
	{"restore an hour", (*run).restoreOne, unexpired},
	{"sweep", (*run).sweep, always},
	{"restart", func(v *run) error { v.restart(); return nil }, always},
	{"an hour passes", func(v *run) error { v.clock.pass(time.Hour); return nil }, simulated},
	{"four days pass", func(v *run) error { v.clock.pass(4 * 24 * time.Hour); return nil }, simulated},
	{"raw rows expire", (*run).expire, simulated},
	{"notes outlive the index", (*run).noteLate, simulated},
}

// meanwhile takes a few steps in any order.
func (v *run) meanwhile() error {
	for range v.r.IntN(5) {
		s := pick(v.r, steps...)
		if s.when == unexpired && v.delivered.expired || s.when == simulated && v.clock.real {
			continue
		}
		v.did("%s", s.name)
		if err := s.do(v); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func (v *run) drainAll() error {
	_, err := v.drain(v.compactorOf(), group, compact.Limits{})
	return err
}

func (v *run) drainFew() error {
	_, err := v.drain(v.compactorOf(), group, compact.Limits{Hours: 1 + v.r.IntN(3)})
	return err
}

// drainTwice has two compactors serve the marks of two groups, which are the same.
func (v *run) drainTwice() error {
	groups := []string{group, "others"}
	errs := make([]error, len(groups))
	var both sync.WaitGroup
	for i, g := range groups {
		c := v.compactorOf()
		both.Go(func() { _, errs[i] = v.drain(c, g, compact.Limits{}) })
	}
	both.Wait()
	return errors.Join(errs...)
}

// some draws hours of the world, of which nothing may have come yet.
func (v *run) some() []afterhours.Hour {
	hours := slices.SortedFunc(maps.Keys(v.world.want), afterhours.Hour.Compare)
	v.r.Shuffle(len(hours), func(i, j int) { hours[i], hours[j] = hours[j], hours[i] })
	return hours[:1+v.r.IntN(len(hours))]
}

func (v *run) rewriteSome() error {
	c := v.compactorOf()
	for _, h := range v.some() {
		if out := c.Rewrite(context.Background(), h); out.Err != nil {
			return out.Err
		}
	}
	return nil
}

func (v *run) rebuildSome() error {
	_, err := v.compactorOf().Backfill(context.Background(), v.queue, v.some(), true)
	return err
}

func (v *run) discardOne() error {
	return v.compactorOf().Discard(context.Background(), v.some()[0]).Err
}

// save keeps a copy of every partition.
func (v *run) save() error {
	dir := v.t.TempDir()
	return v.visit(func(o lake.Object, file []byte) error {
		path := filepath.Join(dir, fmt.Sprint(len(v.saved), "-", len(v.saved[o.Hour])))
		v.saved[o.Hour] = append(v.saved[o.Hour], path)
		return os.WriteFile(path, file, 0o600)
	})
}

func (v *run) restoreOne() error {
	h := v.some()[0]
	if len(v.saved[h]) == 0 {
		return nil
	}
	return v.compactorOf().Restore(context.Background(), v.queue, h, pick(v.r, v.saved[h]...)).Err
}

func (v *run) sweep() error {
	_, err := v.compactorOf().Sweep(context.Background(), v.queue, v.r.IntN(2) == 0)
	return err
}

// expire lets the raw rows go that there are, once all of them are compacted; and
// perhaps the index after them.
func (v *run) expire() error {
	if err := errors.Join(v.sweep(), v.drainAll()); err != nil {
		return err
	}
	v.clock.pass(pick(v.r, rawTTL, 2*rawTTL) + 48*time.Hour)
	v.delivered.expired = true
	return nil
}

// noteLate has copies judged weeks after they came, so that their notes live on when
// rows and index are gone.
func (v *run) noteLate() error {
	if err := errors.Join(v.sweep(), v.drainAll()); err != nil {
		return err
	}
	again := v.world.records[:v.r.IntN(len(v.world.records))]
	if _, err := ingest.Run(context.Background(), feed(again, -1, nil), mapping, ingest.New(v.store, v.queue, v.options())); err != nil {
		return err
	}
	v.deliver(again)
	v.clock.pass(rawTTL - 5*24*time.Hour)
	if err := errors.Join(v.sweep(), v.drainAll()); err != nil {
		return err
	}
	v.clock.pass(rawTTL + 7*24*time.Hour)
	v.delivered.expired = true
	return nil
}

// finish serves what is left.
func (v *run) finish() error {
	if v.loseMarks {
		if err := v.sweep(); err != nil {
			return err
		}
	}
	if v.late {
		if err := v.declare(); err != nil {
			return err
		}
	}
	v.did("last drain")
	if err := v.drainAll(); err != nil {
		return err
	}
	// What was served stays served.
	sum, err := v.drain(v.compactorOf(), group, compact.Limits{})
	if err == nil && sum.Rewritten+sum.Unchanged > 0 {
		err = fmt.Errorf("a drain after the last one found something: %+v", sum)
	}
	return err
}

// declare gives the columns that were declared late to hours that nothing came for
// since, as an operator does.
func (v *run) declare() error {
	for h := range v.world.want {
		if err := v.store.DeclareColumns(context.Background(), h.Type, mapping.Columns); err != nil {
			return err
		}
	}
	hours := slices.Collect(maps.Keys(v.world.want))
	_, err := v.compactorOf().Backfill(context.Background(), v.queue, hours, true)
	return err
}

func (v *run) String() string { return strings.Join(v.log, "\n") }
