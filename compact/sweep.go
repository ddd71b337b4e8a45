package compact

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
)

const (
	// sweepRetry is the pause after a sweep that failed, and before the first one
	// of a compactor that finds it overdue.
	sweepRetry = 10 * time.Minute
	sweepFirst = time.Minute

	// looksAtOnce is how many hours a sweep looks into at the same time.
	looksAtOnce = 16
)

// Swept is what a sweep did.
type Swept struct {
	Hours      int64 `json:"hours"`       // with index rows
	Partitions int64 `json:"partitions"`  // in the lake
	Complete   int64 `json:"complete"`    // hours that nothing had to be read for
	Looked     int64 `json:"looked_into"` // the other hours
	Footers    int64 `json:"footers"`     // read
	Lanes      int64 `json:"lanes"`       // read, of the hours looked into
	Rows       int64 `json:"rows"`        // read in them
	Marked     int64 `json:"hours_marked"`
}

// Sweep finds what marks did not tell, because they were lost with the queue or
// by an operator: it looks at every hour that has index rows, whatever its age,
// and marks those with rows that their partition does not have. What the board lacks
// of partitions it is told, also of those whose index rows have expired. The record
// of a stuck hour is removed if the hour has a partition and lacks nothing.
//
// It is cheap. One listing of the lake says which objects are those that the
// board describes; of these, the index alone tells that every closed lane is
// merged. What is left is read: lanes that were never closed, and the shared
// lanes that got rows since two days before the last sweep; all of them if full.
func (c *Compactor) Sweep(ctx context.Context, q Marker, full bool) (Swept, error) {
	began := c.now()
	last, err := c.board.Swept(ctx)
	if err != nil {
		return Swept{}, fmt.Errorf("sweep: %w", err)
	}
	s := &sweep{Compactor: c, marker: q, seed: maphash.MakeSeed(), done: map[uint64]struct{}{}, objects: map[afterhours.Hour]lake.Object{}}
	if last > 0 && !full {
		s.since = afterhours.DayOf(last) - store.SettledAfter
		s.recent = true
	}
	if err := s.run(ctx); err != nil {
		return s.sum, fmt.Errorf("sweep: %w", err)
	}
	if err := c.endSweep(ctx, last, began); err != nil {
		return s.sum, fmt.Errorf("sweep: %w", err)
	}
	return s.sum, nil
}

// endSweep records a sweep, unless marks were distrusted since it read when the last
// one was: its own may be among those that are gone.
func (c *Compactor) endSweep(ctx context.Context, last, began afterhours.Micros) error {
	now, err := c.board.Swept(ctx)
	if err != nil || now < 0 && now != last {
		return err
	}
	return c.board.PutSwept(ctx, began)
}

// distrustMarks has every hour swept in full, soon: marks may be gone that the
// group was never handed, also such as the last sweep made. So the last sweep is
// forgotten. What stands in its place is no instant of a sweep, and differs each
// time, for a sweep that is under way.
func (c *Compactor) distrustMarks(ctx context.Context) error {
	last, err := c.board.Swept(ctx)
	if err != nil {
		return err
	}
	if err := c.board.PutSwept(ctx, min(-c.now(), last-1)); err != nil {
		return err
	}
	if last > 0 { // else it is a queue's first reader
		c.cfg.Logger.Warn("marks may be gone from the queue; every hour is to be swept, by a daemon soon, or by compactor sweep")
	}
	select {
	case c.distrusted <- struct{}{}:
	default:
	}
	return nil
}

// sweep is a sweep at work.
type sweep struct {
	*Compactor
	marker Marker
	since  afterhours.Day // shared lanes before it were swept before
	recent bool           // since holds

	seed    maphash.Seed
	objects map[afterhours.Hour]lake.Object
	known   map[afterhours.Hour]bool // to the board: whether it describes the object that is there
	done    map[uint64]struct{}      // hashes of what the board says is settled
	sum     Swept

	mu    sync.Mutex
	stuck map[afterhours.Hour]bool // recorded as such, and nothing was found so far
}

// fact is what one entry of done says: every row of the hour's segment, n in
// all, is merged or noted. Facts are kept as 64-bit hashes under a seed of this
// sweep: a lane that is taken for another has a chance of one in 10^12 among
// 20 million, and none in the next sweep.
type fact struct {
	hour    afterhours.Hour
	segment afterhours.Segment
	n       int64
}

func (s *sweep) run(ctx context.Context) error {
	if err := s.readStuck(ctx); err != nil {
		return err
	}
	err := s.lake.Hours(ctx, func(o lake.Object) error { s.objects[o.Hour] = o; return nil })
	if err != nil {
		return err
	}
	s.sum.Partitions = int64(len(s.objects))
	if err := s.readBoard(ctx); err != nil {
		return err
	}
	strange := map[afterhours.Hour]bool{} // not known to the board, and not come to yet
	for h := range s.objects {
		if !s.known[h] {
			strange[h] = true
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(looksAtOnce)
	err = s.store.Index(gctx, func(h afterhours.Hour, lanes []store.Lane) error {
		s.sum.Hours++
		open := s.open(h, lanes)
		look := len(open) > 0 || strange[h]
		delete(strange, h)
		if !look {
			s.sum.Complete++
			return nil
		}
		s.sum.Looked++
		g.Go(func() error { return s.look(gctx, h, lanes, open) })
		return nil
	})
	if err == nil {
		for h := range strange {
			g.Go(func() error { return s.look(gctx, h, nil, nil) })
		}
	}
	if err := errors.Join(err, g.Wait()); err != nil {
		return err
	}
	return s.clearStuck(ctx)
}

// readStuck remembers which hours are recorded as stuck.
func (s *sweep) readStuck(ctx context.Context) error {
	hours, err := s.board.StuckHours(ctx)
	if err != nil {
		return err
	}
	s.stuck = map[afterhours.Hour]bool{}
	for _, k := range hours {
		s.stuck[k.Hour] = true
	}
	return nil
}

// clearStuck removes the records of stuck hours that have a partition and lack
// nothing: who recorded them has died, and another compactor has served the hour,
// which did not know of the record. If whoever did lives, and the hour is stuck, it
// records it again when it tries it again.
func (s *sweep) clearStuck(ctx context.Context) error {
	for h := range s.stuck {
		if _, there := s.objects[h]; !there {
			continue
		}
		if err := s.board.ClearStuck(ctx, h); err != nil {
			return fmt.Errorf("clear stuck hour %s: %w", h, err)
		}
		s.cfg.Logger.Info("an hour that was stuck works again", "hour", h.String())
	}
	return nil
}

// readBoard remembers what is settled, for the partitions that are still those
// that the board describes.
func (s *sweep) readBoard(ctx context.Context) error {
	s.known = map[afterhours.Hour]bool{}
	return s.board.Settled(ctx, func(p store.Partition) error {
		o, there := s.objects[p.Hour]
		s.known[p.Hour] = there && o.Version == p.Version
		if !s.known[p.Hour] {
			return nil
		}
		for segment, rows := range p.Settled {
			s.done[maphash.Comparable(s.seed, fact{p.Hour, segment, rows.Count()})] = struct{}{}
		}
		return nil
	})
}

// open returns the lanes that may have rows which the partition does not. What the
// last sweep saw is believed only of the same object: another may have been put in
// its place since, or it may have been removed.
func (s *sweep) open(h afterhours.Hour, lanes []store.Lane) []store.Lane {
	var open []store.Lane
	for _, l := range lanes {
		if s.expired(l) {
			continue
		}
		segment, own := l.Own()
		if _, done := s.done[maphash.Comparable(s.seed, fact{h, segment, l.Rows})]; own && l.Closed && done {
			continue
		}
		if day, shared := l.Shared(); shared && s.recent && day < s.since && s.sameObject(h) {
			continue
		}
		open = append(open, l)
	}
	return open
}

// sameObject reports whether the lake shows of an hour what the board describes:
// that object, or nothing, of which it says nothing.
func (s *sweep) sameObject(h afterhours.Hour) bool {
	described, known := s.known[h]
	_, there := s.objects[h]
	return described || !known && !there
}

// errWentBack says that an object is older than one that the board knows: whoever
// rewrites the hour deals with it.
var errWentBack = errors.New("an older partition was put back")

// look reads the open ones of an hour's lanes and marks the hour if there is
// anything new in them, or if its partition needs somebody's attention.
func (s *sweep) look(ctx context.Context, h afterhours.Hour, lanes, open []store.Lane) error {
	have, repair, err := s.settled(ctx, h, lanes)
	if errors.Is(err, lake.ErrConflict) {
		return nil // published since the listing: it was marked
	}
	found := isStuck(err) || errors.Is(err, errWentBack)
	if err != nil && !found {
		return fmt.Errorf("look into %s: %w", h, err)
	}
	for _, l := range open {
		if found || complete(l, have) {
			continue
		}
		if found, err = s.newIn(ctx, h, l, have); err != nil {
			return fmt.Errorf("look into %s: %w", h, err)
		}
	}
	if !found {
		return repair()
	}
	s.mu.Lock()
	delete(s.stuck, h)
	s.mu.Unlock()
	if err := s.marker.Mark(ctx, h); err != nil {
		return fmt.Errorf("mark %s: %w", h, err)
	}
	s.cfg.Logger.Info("sweep found an hour without a mark", "hour", h.String())
	atomic.AddInt64(&s.sum.Marked, 1)
	return nil
}

// settled returns the rows that are merged or noted, from the partition's footer,
// and what brings the board up to date with it. That is for the end, if nothing was
// found: of an object that the board describes, the next sweep reads less.
func (s *sweep) settled(ctx context.Context, h afterhours.Hour, lanes []store.Lane) (_ afterhours.RowSet, repair func() error, _ error) {
	nothing := func() error { return nil }
	o, there := s.objects[h]
	if !there {
		if _, known := s.known[h]; known {
			return nil, nothing, ErrVanished
		}
		return nil, nothing, nil
	}
	known, _, err := s.board.Partition(ctx, h)
	if err != nil {
		return nil, nothing, err
	}
	if known.Version == o.Version {
		return known.Settled, nothing, nil
	}
	m, err := s.lake.Manifest(ctx, o)
	if err != nil {
		return nil, nothing, err
	}
	atomic.AddInt64(&s.sum.Footers, 1)
	if m.Generation < known.Generation {
		return nil, nothing, errWentBack
	}
	notes, err := s.store.Notes(ctx, h, m.Lineage)
	if err != nil {
		return nil, nothing, err
	}
	have := m.Merged.Clone()
	for _, n := range listedOnly(notes, lanes) {
		have[n.Segment] = have[n.Segment].Add(n.Rows.First, n.Rows.Last)
	}
	repair = func() error { return s.tell(ctx, known, notice{m, o.Version, o.Size, 0, have}) }
	return have, repair, nil
}

// errFound ends the reading of a lane.
var errFound = errors.New("found")

// newIn reports whether a lane has a row outside the set.
func (s *sweep) newIn(ctx context.Context, h afterhours.Hour, l store.Lane, have afterhours.RowSet) (bool, error) {
	atomic.AddInt64(&s.sum.Lanes, 1)
	err := s.store.ReadRows(ctx, h, l, have, func(r store.Row) error {
		atomic.AddInt64(&s.sum.Rows, 1)
		if have.Has(r.ID) {
			return nil
		}
		return errFound
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

// sweepAgain sweeps whenever the last sweep, by whichever compactor, is long
// enough ago, until ctx ends.
func (c *Compactor) sweepAgain(ctx context.Context, q Marker) {
	if c.cfg.SweepEvery == 0 {
		return
	}
	wait := sweepFirst
	for {
		if c.rest(ctx, wait) != nil {
			return
		}
		var err error
		if wait, err = c.sweepIfDue(ctx, q); err != nil && ctx.Err() == nil {
			c.cfg.Logger.Error("sweep failed, will be tried again", "err", err)
			wait = sweepRetry
		}
	}
}

// rest waits before a sweep, less if marks are distrusted meanwhile. Compactors that
// wake together should not all sweep.
func (c *Compactor) rest(ctx context.Context, wait time.Duration) error {
	long := func(d time.Duration) time.Duration { return d + rand.N(d/4+1) }
	t := time.NewTimer(long(wait))
	defer t.Stop()
	for {
		select {
		case <-t.C:
			return nil
		case <-c.distrusted:
			t.Reset(long(sweepFirst))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sweepIfDue sweeps if it is time, and returns how long it is until the next.
func (c *Compactor) sweepIfDue(ctx context.Context, q Marker) (time.Duration, error) {
	last, err := c.board.Swept(ctx)
	if err != nil {
		return 0, err
	}
	if wait := last.Time().Add(c.cfg.SweepEvery).Sub(c.cfg.Now()); wait > 0 {
		return wait, nil
	}
	start := time.Now()
	sum, err := c.Sweep(ctx, q, false)
	if err != nil {
		return 0, err
	}
	c.cfg.Logger.Info("swept", "hours", sum.Hours, "complete", sum.Complete, "lanes_read", sum.Lanes, "rows_read", sum.Rows,
		"hours_marked", sum.Marked, "elapsed", time.Since(start).Round(time.Millisecond))
	return c.cfg.SweepEvery, nil
}
