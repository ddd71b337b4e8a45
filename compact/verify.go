package compact

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
)

// Verified is what a recount of one hour found.
type Verified struct {
	Hour       afterhours.Hour
	Rows       int64  // rows of the partition
	Seen       int64  // raw rows merged or noted, expired ones included
	Duplicates int64  // of these, dropped as copies or noted as such
	Erased     int64  // of these, dropped because their event was erased
	Conflicts  int64  // IDs that came with differing payloads
	Raw        int64  // raw rows that are still readable
	Missing    int64  // of these, not merged yet: the hour was marked
	Lost       int64  // of these, merged according to the manifest, but their ID is not in the partition
	Problem    string // why the partition cannot be trusted; empty when the books balance
}

// Verification adds the recounts up.
type Verification struct {
	Hours      int64 `json:"hours"`
	Rows       int64 `json:"rows"`
	Seen       int64 `json:"rows_seen"`
	Duplicates int64 `json:"duplicates"`
	Erased     int64 `json:"erased"`
	Conflicts  int64 `json:"conflicts"`
	Raw        int64 `json:"raw_rows"`
	Missing    int64 `json:"raw_rows_missing"`
	Behind     int64 `json:"hours_behind"`
	Broken     int64 `json:"hours_broken"`
}

// Verify recounts every hour that has raw rows or a partition: it decodes the
// partition in full, reads all raw rows, and compares both with the manifest.
// Hours with rows that are not merged yet are marked. visit is called for every
// hour, one at a time, in no particular order.
//
// A partition's event IDs are held in memory as 64-bit hashes, about 16 bytes a
// row.
func (c *Compactor) Verify(ctx context.Context, q Marker, visit func(Verified) error) (Verification, error) {
	hours, err := c.allHours(ctx)
	if err != nil {
		return Verification{}, err
	}
	var sum Verification
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.cfg.Workers)
	for _, h := range hours {
		g.Go(func() error {
			v, err := c.recount(gctx, h)
			if err != nil {
				return fmt.Errorf("verify hour %s: %w", h, err)
			}
			if v.Missing > 0 {
				if err := q.Mark(gctx, h); err != nil {
					return fmt.Errorf("mark hour %s: %w", h, err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			sum.add(v)
			return visit(v)
		})
	}
	return sum, g.Wait()
}

// allHours returns every hour with raw rows or a partition, in order.
func (c *Compactor) allHours(ctx context.Context) ([]afterhours.Hour, error) {
	var hours []afterhours.Hour
	err := c.store.Hours(ctx, func(h afterhours.Hour) error {
		hours = append(hours, h)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list hours of the store: %w", err)
	}
	err = c.lake.Hours(ctx, func(o lake.Object) error {
		hours = append(hours, o.Hour)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list hours of the lake: %w", err)
	}
	slices.SortFunc(hours, afterhours.Hour.Compare)
	return slices.Compact(hours), nil
}

// recount recounts one hour, and again if it was published meanwhile.
func (c *Compactor) recount(ctx context.Context, h afterhours.Hour) (Verified, error) {
	for {
		v, err := c.verifyHour(ctx, h)
		if !errors.Is(err, lake.ErrConflict) {
			return v, err
		}
		if err := pause(ctx, time.Duration(rand.Int64N(int64(conflictPause)))); err != nil {
			return v, err
		}
	}
}

// verifyHour recounts one hour from one version of its partition. The base is read before the raw rows, so a row
// that its manifest names was there to be merged.
func (c *Compactor) verifyHour(ctx context.Context, h afterhours.Hour) (Verified, error) {
	v := Verified{Hour: h}
	known, _, err := c.board.Partition(ctx, h)
	if err != nil {
		return v, err
	}
	base, err := c.lake.Base(ctx, h)
	if errors.Is(err, lake.ErrRefused) {
		v.Problem = err.Error()
		return v, nil
	}
	if err != nil {
		return v, err
	}
	defer base.Close()
	ids := idSet{seed: maphash.MakeSeed(), has: map[uint64]struct{}{}}
	r := &job{Compactor: c, hour: h, mode: merge, known: known, base: base}
	if base.Manifest == nil && known.Generation > 0 {
		v.Problem = r.vanished().Error()
	}
	if err := r.readIndex(ctx); err != nil {
		return v, err
	}
	if m := base.Manifest; m != nil {
		v.Rows, v.Seen, v.Duplicates, v.Erased, v.Conflicts = m.Rows, m.Seen, m.Duplicates, m.Erased, m.Conflicts
		noted := r.have.Count() - m.Merged.Count()
		v.Seen, v.Duplicates = v.Seen+noted, v.Duplicates+noted
		err := base.Verify()
		if errors.Is(err, lake.ErrRefused) {
			v.Problem = err.Error()
			return v, nil
		}
		if err == nil {
			err = base.IDs(func(id string) error { ids.add(id); return nil })
		}
		if err != nil {
			return v, err
		}
	}
	erased := v.Erased > 0
	err = c.readAll(ctx, h, r.lanes, func(row store.Row) {
		v.Raw++
		switch {
		case !r.have.Has(row.ID):
			v.Missing++
		case !erased && !ids.contains(row.Event.ID):
			v.Lost++
		}
	})
	if v.Lost > 0 {
		v.Problem = fmt.Sprintf("%d merged events are not in the partition", v.Lost)
	}
	return v, err
}

// readAll visits every readable raw row of an hour.
func (c *Compactor) readAll(ctx context.Context, h afterhours.Hour, lanes []store.Lane, visit func(store.Row)) error {
	for _, l := range lanes {
		err := c.store.ReadRows(ctx, h, l, nil, func(r store.Row) error { visit(r); return nil })
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Verification) add(v Verified) {
	s.Hours++
	s.Rows += v.Rows
	s.Seen += v.Seen
	s.Duplicates += v.Duplicates
	s.Erased += v.Erased
	s.Conflicts += v.Conflicts
	s.Raw += v.Raw
	s.Missing += v.Missing
	if v.Missing > 0 {
		s.Behind++
	}
	if v.Problem != "" {
		s.Broken++
	}
}

// idSet is a set of event IDs by hash. At 20 million rows the chance that it
// hides one lost event is one in 10^12.
type idSet struct {
	seed maphash.Seed
	has  map[uint64]struct{}
}

func (s idSet) add(id string) { s.has[maphash.String(s.seed, id)] = struct{}{} }
func (s idSet) contains(id string) bool {
	_, ok := s.has[maphash.String(s.seed, id)]
	return ok
}
