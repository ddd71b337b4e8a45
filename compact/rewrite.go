package compact

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
)

// conflictPause bounds the pause before a lost publish starts again.
const conflictPause = 200 * time.Millisecond

// ErrVanished is wrapped when an hour has no partition although one was
// published. To write a new one could replace all its rows by one.
var ErrVanished = errors.New("the partition has vanished")

// errGiant says that an hour is too large for its class of workers.
var errGiant = errors.New("the hour is a giant")

// Rewrite brings the partition of one hour up to date. It is safe to call for
// the same hour in several processes at once: of two publishes the later one
// starts again from what the earlier one left.
func (c *Compactor) Rewrite(ctx context.Context, h afterhours.Hour) Outcome {
	return c.finish(c.rewriteIn(ctx, h, anyClass, stay{}))
}

// rewriteIn is Rewrite for one class of workers, before anybody is told. An hour
// that does not belong to the class is errGiant; one that may wait, and is not worth
// it yet, is [NotYet].
func (c *Compactor) rewriteIn(ctx context.Context, h afterhours.Hour, of class, s stay) Outcome {
	return c.untilPublished(ctx, h, func() (Outcome, error) { return c.serveRequests(ctx, h, of, s) })
}

// untilPublished repeats an attempt that lost its publish to another.
func (c *Compactor) untilPublished(ctx context.Context, h afterhours.Hour, attempt func() (Outcome, error)) Outcome {
	start := time.Now()
	var out Outcome
	var err error
	for lost := 0; ; lost++ {
		out, err = attempt()
		out.Hour, out.Conflicts = h, out.Conflicts+lost
		if !errors.Is(err, lake.ErrConflict) {
			break
		}
		// Somebody published since the base was read, or our own publish got
		// through and its answer did not. Only the base can tell: begin there.
		if err = pause(ctx, time.Duration(rand.Int64N(int64(conflictPause)))); err != nil {
			break
		}
	}
	if err != nil {
		out.Err = fmt.Errorf("rewrite hour %s: %w", h, err)
	}
	out.Elapsed = time.Since(start)
	return out
}

// serveRequests is one rewrite in the way that was asked for. If it stops
// anywhere before the publish, nothing has changed; if it stops after, the next
// one finds nothing new. What was asked for does not wait.
func (c *Compactor) serveRequests(ctx context.Context, h afterhours.Hour, of class, s stay) (Outcome, error) {
	requests, err := c.board.Requests(ctx, h)
	if err != nil {
		return Outcome{}, err
	}
	if len(requests) > 0 {
		s = stay{}
	}
	m := merge
	if slices.ContainsFunc(requests, func(r store.Request) bool { return r.Rebuild }) {
		m = rebuild
	}
	out, err := c.attempt(ctx, h, m, of, s)
	if errors.Is(err, lake.ErrNotCovered) {
		// Some raw rows have expired: what only the partition still has must be
		// kept, so this is a merge after all.
		c.cfg.Logger.Warn("raw rows do not cover the partition, merging instead of rebuilding", "hour", h.String())
		out, err = c.attempt(ctx, h, refresh, of, stay{})
	}
	if err != nil {
		return out, err
	}
	for _, r := range requests {
		if err := c.board.DeleteRequest(ctx, r); err != nil {
			return out, err
		}
	}
	return out, nil
}

// mode is what a rewrite starts from.
type mode string

const (
	merge   mode = "merge"   // the base and what is new
	refresh mode = "refresh" // the same, also when only the declared columns are new
	rebuild mode = "rebuild" // all raw rows, without the base
	discard mode = "discard" // the same, also when they do not cover the base
	restore mode = "restore" // the base, which is an older partition
)

// whole reports whether all raw rows are read, whatever the base has.
func (m mode) whole() bool { return m == rebuild || m == discard }

// attempt publishes the hour's partition anew, unless that would change nothing, or
// is not worth it yet.
func (c *Compactor) attempt(ctx context.Context, h afterhours.Hour, m mode, of class, s stay) (Outcome, error) {
	// The board is read before the base: a generation it knows was published by
	// then, so a base without it has gone back or vanished.
	known, _, err := c.board.Partition(ctx, h)
	if err != nil {
		return Outcome{}, err
	}
	if err := c.weigh(ctx, h, known, s); err != nil {
		return Outcome{}, err
	}
	if of == smallClass && known.Bytes > c.cfg.GiantBytes {
		return Outcome{}, errGiant
	}
	conflicts := 0
	if m == merge && known.Generation == 0 {
		// It has hardly ever a partition that the board does not know of. If it has
		// one, the publish fails and nothing has happened.
		r := &job{Compactor: c, hour: h, mode: m, class: of, known: known, base: c.lake.FirstBase(h), first: true}
		out, err := r.run(ctx)
		switch {
		case errors.Is(err, lake.ErrConflict):
			conflicts++
		case !errors.Is(err, errFirst):
			return out, err
		}
	}
	base, err := c.base(ctx, h, m)
	if err != nil {
		return Outcome{}, err
	}
	defer base.Close()
	r := &job{Compactor: c, hour: h, mode: m, class: of, known: known, base: base}
	out, err := r.run(ctx)
	out.Conflicts += conflicts
	return out, err
}

// errFirst says that an hour has no rows for a first publish, and so perhaps has had
// one.
var errFirst = errors.New("nothing to publish first")

// base opens what is to be replaced.
func (c *Compactor) base(ctx context.Context, h afterhours.Hour, m mode) (*lake.Base, error) {
	b, err := c.lake.Base(ctx, h)
	if m == discard && errors.Is(err, lake.ErrRefused) {
		return c.lake.Unread(ctx, h)
	}
	return b, err
}

// job is one attempt at an hour.
type job struct {
	*Compactor
	hour  afterhours.Hour
	mode  mode
	class class
	known store.Partition // by the board; zero if it knows nothing
	base  *lake.Base
	first bool // the base was not read, and is said not to be there

	marker Marker // of a restoration

	settled afterhours.Day // shared lanes before this day have all the rows they will ever have
	lanes   []store.Lane
	listed  map[string]bool // names of lanes
	columns []afterhours.Column
	noted   []lake.NotedRows              // judged to be copies, not yet in the manifest
	have    afterhours.RowSet             // merged or noted: not read again
	laneOf  map[afterhours.Segment]string // of the rows that were new
}

// run reads what is new and publishes it.
func (r *job) run(ctx context.Context) (Outcome, error) {
	if r.base.Manifest == nil && r.known.Generation > 0 && r.mode != discard {
		return Outcome{}, r.vanished()
	}
	if r.wentBack() {
		r.cfg.Logger.Error("somebody has put an older partition back; what raw rows still tell is merged into it, what they do not is gone",
			"hour", r.hour.String(), "generation", r.base.Manifest.Generation, "rows", r.base.Manifest.Rows,
			"published", r.known.Generation, "rows_published", r.known.Rows)
	}
	if err := r.readIndex(ctx); err != nil {
		return Outcome{}, err
	}
	var lanes []store.Lane
	if r.mode != restore {
		lanes = r.toRead()
	}
	if r.class == smallClass && bytesOf(lanes) > r.cfg.GiantBytes {
		return Outcome{}, errGiant
	}
	memory, release, err := r.memory[r.class].reserve(ctx, lanes, r.moved())
	if err != nil {
		return Outcome{}, err
	}
	defer release()
	rw, err := r.lake.Rewrite(r.base, r.options(memory))
	if err != nil {
		return Outcome{}, err
	}
	defer rw.Close()
	if err := r.readNew(ctx, rw, lanes); err != nil {
		return Outcome{}, err
	}
	switch {
	case rw.Added() > 0, r.force(), r.mode == refresh && r.base.Manifest != nil:
	case r.mode == rebuild && r.base.Manifest != nil:
		return Outcome{}, lake.ErrNotCovered
	case r.first:
		return Outcome{}, errFirst
	default:
		return r.unchanged(ctx, lake.Result{Manifest: r.base.Manifest})
	}
	res, err := rw.Publish(ctx)
	if err != nil {
		return Outcome{}, err
	}
	if res.Unchanged {
		return r.note(ctx, rw, res)
	}
	if r.mode == restore {
		if err := r.marker.Mark(ctx, r.hour); err != nil {
			return outcome(res), fmt.Errorf("mark restored hour: %w", err)
		}
	}
	return outcome(res), r.tell(ctx, r.known, notice{res.Manifest, res.Version, res.Bytes, res.ManifestSize, nil})
}

// moved returns the size of the base if all its rows must be sorted anew, since a
// column has been declared.
func (r *job) moved() int64 {
	if m := r.base.Manifest; m != nil && len(m.Columns) != len(r.columns) {
		return r.base.Size()
	}
	return 0
}

// vanished says what is missing.
func (r *job) vanished() error {
	return fmt.Errorf("%w: generation %d with %d rows was published at %s", ErrVanished, r.known.Generation, r.known.Rows, r.known.Published)
}

// wentBack reports whether the object is an older one than was published: somebody
// has put it there. Notes that were made since do not hold for it.
func (r *job) wentBack() bool {
	return r.base.Manifest != nil && r.base.Manifest.Generation < r.known.Generation
}

// force reports whether to publish although no row would change.
func (r *job) force() bool {
	return r.mode == restore || r.mode == discard || r.wentBack() || len(r.noted) > maxNoted
}

// maxNoted is how many runs of noted rows are folded into the manifest by a
// publish of their own.
const maxNoted = 1000

// readIndex reads what is known of the hour beside the base, after the base:
// whatever the base's writer saw is visible here too.
func (r *job) readIndex(ctx context.Context) error {
	r.settled = afterhours.DayOf(r.now()) - store.SettledAfter
	var notes []store.Note
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { r.lanes, err = r.store.Lanes(ctx, r.hour); return err })
	g.Go(func() (err error) { r.columns, err = r.store.Columns(ctx, r.hour.Type); return err })
	if m := r.base.Manifest; m != nil && !r.mode.whole() && r.mode != restore && !r.wentBack() {
		g.Go(func() (err error) { notes, err = r.store.Notes(ctx, r.hour, m.Lineage); return err })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	r.listed = map[string]bool{}
	for _, l := range r.lanes {
		r.listed[l.Name] = true
	}
	r.take(notes)
	return nil
}

// listedOnly returns the notes of lanes that the index lists. What it does not
// list any more may have been pruned from the manifest, and must not be counted
// again.
func listedOnly(notes []store.Note, lanes []store.Lane) []store.Note {
	return slices.DeleteFunc(notes, func(n store.Note) bool {
		return !slices.ContainsFunc(lanes, func(l store.Lane) bool { return l.Name == n.Lane })
	})
}

// take takes the notes, and with the base's rows they are what is not read again.
func (r *job) take(notes []store.Note) {
	if r.base.Manifest == nil || r.mode.whole() {
		return
	}
	r.have = r.base.Manifest.Merged
	if len(notes) == 0 {
		return
	}
	r.have = r.have.Clone()
	for _, n := range listedOnly(notes, r.lanes) {
		l := store.Lane{Name: n.Lane}
		r.noted = append(r.noted, lake.NotedRows{Segment: n.Segment, Rows: n.Rows, Origin: origin(l, r.now())})
		r.have[n.Segment] = r.have[n.Segment].Add(n.Rows.First, n.Rows.Last)
	}
}

// origin says where rows of a lane lie that were received at the given time.
func origin(l store.Lane, received afterhours.Micros) afterhours.Origin {
	if day, shared := l.Shared(); shared {
		return afterhours.Origin{Day: day, Shared: true}
	}
	return afterhours.Origin{Day: afterhours.DayOf(received)}
}

func (r *job) options(memory int64) lake.RewriteOptions {
	return lake.RewriteOptions{
		Columns:    r.columns,
		Memory:     memory,
		Cause:      string(r.mode),
		Rebuild:    r.mode.whole(),
		Discard:    r.mode == discard,
		Force:      r.force(),
		NewLineage: r.mode == restore || r.wentBack(),
		After:      r.known.Generation,
		Noted:      r.noted,
		Settled:    r.settledByNow(),
		Prune:      r.prunable,
	}
}

// settledByNow returns the watermark to record: only who reads lanes may move it.
func (r *job) settledByNow() afterhours.Day {
	if r.mode == restore {
		return r.base.Manifest.Settled
	}
	return r.settled
}

// prunable reports whether a segment may leave the manifest: its lane is not
// listed, in an index that was read after the base, and its rows have expired.
// Either alone is not enough: rows may outlive one look at the index, and expired
// ones may still be listed.
func (r *job) prunable(s afterhours.Segment, o afterhours.Origin) bool {
	name := store.OwnLane(s).Name
	if o.Shared {
		name = store.SharedLane(o.Day).Name
	}
	ttl := afterhours.Micros(r.store.TTL().Microseconds())
	return !r.listed[name] && o.Day.End()+ttl <= r.now()
}

// unchanged ends a rewrite that had nothing to publish. The board is brought up
// to date all the same: a crash after the last publish may have left it behind.
func (r *job) unchanged(ctx context.Context, res lake.Result) (Outcome, error) {
	out := Outcome{Unchanged: true, Read: res.Added, Duplicates: res.Duplicates}
	m := r.base.Manifest
	if m == nil {
		return out, nil
	}
	out.Before, out.Rows, out.Late, out.Bytes = m.Rows, m.Rows, m.Late, r.base.Size()
	return out, r.tell(ctx, r.known, notice{m, r.base.Version(), r.base.Size(), r.base.ManifestSize(), r.have})
}

// note records that the rows added are mere copies of published events. Notes are
// valid in every later partition of the lineage, since rows never leave it. They
// are not in an earlier one: so that it is known for one if it comes back, the
// board is told of the present one first.
func (r *job) note(ctx context.Context, rw *lake.Rewrite, res lake.Result) (Outcome, error) {
	if r.known.Generation < r.base.Manifest.Generation {
		if _, err := r.unchanged(ctx, res); err != nil {
			return Outcome{}, err
		}
	}
	added := rw.AddedRows()
	var notes []store.Note
	for _, s := range added.Segments() {
		for _, run := range added[s] {
			notes = append(notes, store.Note{Lane: r.laneOf[s], Segment: s, Rows: run})
		}
	}
	if err := r.store.PutNotes(ctx, r.hour, r.base.Manifest.Lineage, notes); err != nil {
		return Outcome{}, err
	}
	r.have = r.have.Clone()
	r.have.AddAll(added)
	return r.unchanged(ctx, res)
}

func outcome(r lake.Result) Outcome {
	return Outcome{
		Before: r.RowsBefore, Rows: r.Manifest.Rows, Added: r.Manifest.Rows - r.RowsBefore, Late: r.Manifest.Late,
		Read: r.Added, Duplicates: r.Duplicates, Bytes: r.Bytes,
	}
}

// finish logs one line for a rewrite that ended, and tells the observer.
func (c *Compactor) finish(o Outcome) Outcome {
	log := c.cfg.Logger.With("hour", o.Hour.String())
	switch {
	case errors.Is(o.Err, context.Canceled):
		log.Info("rewrite interrupted")
	case errors.As(o.Err, new(NotYet)):
		log.Debug("not worth a rewrite yet", "why", o.Err)
	case o.Err != nil:
		log.Error("rewrite failed", "err", o.Err)
	case o.Unchanged:
		log.Debug("nothing new", "rows", o.Rows, "duplicates", o.Duplicates)
	default:
		log.Info("rewritten", "rows", o.Rows, "added", o.Added, "duplicates", o.Duplicates,
			"bytes", o.Bytes, "conflicts", o.Conflicts, "elapsed", o.Elapsed.Round(time.Millisecond))
	}
	if c.cfg.Finished != nil {
		c.cfg.Finished(o)
	}
	return o
}

// pause waits, or returns the context's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
