package compact

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
)

// lanesAtOnce is how many lanes of one hour are read at the same time.
const lanesAtOnce = 4

// conflictPause bounds the pause before a lost publish starts again.
const conflictPause = 200 * time.Millisecond

// Rewrite brings the partition of one hour up to date. It is safe to call for
// the same hour in several processes at once: of two publishes the later one
// starts again from what the earlier one left.
func (c *Compactor) Rewrite(ctx context.Context, h afterhours.Hour) Outcome {
	start := time.Now()
	var out Outcome
	var err error
	for lost := 0; ; lost++ {
		out, err = c.attempt(ctx, h)
		out.Hour, out.Conflicts = h, lost
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
	c.report(out)
	return out
}

// attempt is one rewrite, from reading the base to the conditional publish. If
// it stops anywhere before the publish, nothing has changed; if it stops after,
// the next attempt finds nothing new.
func (c *Compactor) attempt(ctx context.Context, h afterhours.Hour) (Outcome, error) {
	requests, err := c.store.Requests(ctx, h)
	if err != nil {
		return Outcome{}, err
	}
	rebuild := slices.ContainsFunc(requests, func(r store.Request) bool { return r.Rebuild })
	m := merge
	if rebuild {
		m = rebuildWhole
	}
	out, err := c.replace(ctx, h, m)
	if errors.Is(err, lake.ErrNotCovered) {
		// Some raw rows have expired: what only the partition still has must be
		// kept, so this is a merge after all.
		c.cfg.Logger.Warn("raw rows do not cover the partition, merging instead of rebuilding", "hour", h.String())
		out, err = c.replace(ctx, h, refresh)
	}
	if err != nil {
		return out, err
	}
	for _, r := range requests {
		if err := c.store.DeleteRequest(ctx, r); err != nil {
			return out, err
		}
	}
	return out, nil
}

// mode is what a rewrite starts from.
type mode string

const (
	merge        mode = "merge"   // the base and what is new
	refresh      mode = "refresh" // the same, also when only the declared columns are new
	rebuildWhole mode = "rebuild" // all raw rows, without the base
)

// replace publishes the hour's partition anew.
func (c *Compactor) replace(ctx context.Context, h afterhours.Hour, m mode) (Outcome, error) {
	base, err := c.lake.Base(ctx, h)
	if err != nil {
		return Outcome{}, err
	}
	defer base.Close()
	// The index and the columns are read after the base: whatever the base's
	// writer saw is visible here too.
	lanes, err := c.store.Lanes(ctx, h)
	if err != nil {
		return Outcome{}, err
	}
	cols, err := c.store.Columns(ctx, h.Type)
	if err != nil {
		return Outcome{}, err
	}
	rw, err := c.lake.Rewrite(base, lake.RewriteOptions{
		Columns: cols, Memory: c.cfg.Memory / int64(c.cfg.Workers), Rebuild: m == rebuildWhole, Cause: string(m),
	})
	if err != nil {
		return Outcome{}, err
	}
	defer rw.Close()

	var have afterhours.RowSet
	if base.Manifest != nil && m != rebuildWhole {
		have = base.Manifest.Merged
	}
	if err := c.readNew(ctx, h, lanes, have, rw); err != nil {
		return Outcome{}, err
	}
	if rw.Added() == 0 {
		switch {
		case m == rebuildWhole:
			return Outcome{}, lake.ErrNotCovered
		case m == merge || base.Manifest == nil || slices.Equal(base.Manifest.Columns, cols):
			return c.unchanged(ctx, base)
		}
	}
	res, err := rw.Publish(ctx)
	if err != nil {
		return Outcome{}, err
	}
	return outcome(res), c.store.PutPartition(ctx, record(h, res.Manifest, res.Bytes))
}

// readNew adds every readable row outside the set to the rewrite, holes
// included. A row is recorded as merged only because it was added here.
func (c *Compactor) readNew(ctx context.Context, h afterhours.Hour, lanes []store.Lane, have afterhours.RowSet, rw *lake.Rewrite) error {
	var mu sync.Mutex // Add takes one row at a time
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lanesAtOnce)
	for _, l := range lanes {
		if complete(l, have) {
			continue
		}
		g.Go(func() error {
			return c.store.ReadRows(ctx, h, l, have, func(r store.Row) error {
				if have.Has(r.ID) {
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				return rw.Add(r.ID, r.Event)
			})
		})
	}
	return g.Wait()
}

// complete reports whether the set holds every row a closed lane will ever have,
// so that it need not be read again.
func complete(l store.Lane, have afterhours.RowSet) bool {
	seg, own := l.Own()
	return own && l.Closed && have[seg].Count() == l.Rows
}

// unchanged ends a rewrite that found nothing new. The board is written all the
// same: a crash after the last publish may have left it behind.
func (c *Compactor) unchanged(ctx context.Context, b *lake.Base) (Outcome, error) {
	out := Outcome{Unchanged: true}
	if b.Manifest == nil {
		return out, nil
	}
	out.Before, out.Rows, out.Late, out.Bytes = b.Manifest.Rows, b.Manifest.Rows, b.Manifest.Late, b.Size()
	return out, c.store.PutPartition(ctx, record(b.Hour, b.Manifest, b.Size()))
}

func outcome(r lake.Result) Outcome {
	return Outcome{
		Before: r.RowsBefore, Rows: r.Manifest.Rows, Added: r.Manifest.Rows - r.RowsBefore, Late: r.Manifest.Late,
		Read: r.Added, Duplicates: r.Duplicates, Bytes: r.Bytes,
	}
}

// record is what the board shows of a partition.
func record(h afterhours.Hour, m *lake.Manifest, size int64) store.Partition {
	p := store.Partition{
		Hour: h, Lineage: m.Lineage, Generation: m.Generation,
		Rows: m.Rows, Seen: m.Seen, Duplicates: m.Duplicates, Conflicts: m.Conflicts, Late: m.Late, Bytes: size,
	}
	if n := len(m.History); n > 0 {
		p.Published = m.History[n-1].At
	}
	return p
}

// report logs one line for a rewrite that ended and tells the observer.
func (c *Compactor) report(o Outcome) {
	log := c.cfg.Logger.With("hour", o.Hour.String())
	switch {
	case errors.Is(o.Err, context.Canceled):
		log.Info("rewrite interrupted")
	case o.Err != nil:
		log.Error("rewrite failed", "err", o.Err)
	case o.Unchanged:
		log.Debug("nothing new", "rows", o.Rows)
	default:
		log.Info("rewritten", "rows", o.Rows, "added", o.Added, "duplicates", o.Duplicates,
			"bytes", o.Bytes, "conflicts", o.Conflicts, "elapsed", o.Elapsed.Round(time.Millisecond))
	}
	if c.cfg.Finished != nil {
		c.cfg.Finished(o)
	}
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
