package compact

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// requestsAtOnce is how many requests are written at the same time.
const requestsAtOnce = 16

// Selection says which hours are meant.
type Selection struct {
	EventType string            // empty: all types
	From, To  afterhours.Micros // hours that begin at or after From and before To
}

// Has reports whether an hour is meant.
func (s Selection) Has(h afterhours.Hour) bool {
	return (s.EventType == "" || s.EventType == h.Type) && h.Start >= s.From && h.Start < s.To
}

// Select returns the hours with raw rows that are meant, in order.
func (c *Compactor) Select(ctx context.Context, s Selection) ([]afterhours.Hour, error) {
	var hours []afterhours.Hour
	err := c.store.Hours(ctx, func(h afterhours.Hour) error {
		if s.Has(h) {
			hours = append(hours, h)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list hours: %w", err)
	}
	slices.SortFunc(hours, afterhours.Hour.Compare)
	return hours, nil
}

// Backfill rewrites the given hours now; with rebuild, from all their raw rows.
// What it is to do is first recorded as requests and marked, so that an hour it
// does not come to, whatever the reason, is served by the next run or drain. So is
// one that failed; of one that it was killed at, the board may learn by a sweep only.
func (c *Compactor) Backfill(ctx context.Context, q Marker, hours []afterhours.Hour, rebuild bool) (Summary, error) {
	if err := c.request(ctx, q, hours, rebuild); err != nil {
		return Summary{}, err
	}
	var mu sync.Mutex
	var sum Summary
	var g errgroup.Group
	g.SetLimit(c.cfg.Workers)
	for _, h := range hours {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			// An hour once begun is finished, also when the others are called off.
			ctx := context.WithoutCancel(ctx)
			out := c.Rewrite(ctx, h)
			if out.Err != nil {
				// Its first mark may be served by now, by somebody who read the hour
				// before an upload of ours whose answer was lost.
				out.Err = errors.Join(out.Err, q.Mark(ctx, h))
			}
			mu.Lock()
			defer mu.Unlock()
			sum.add(out)
			return out.Err
		})
	}
	err := g.Wait()
	if done := sum.Rewritten + sum.Unchanged; ctx.Err() != nil {
		err = errors.Join(fmt.Errorf("backfill: stopped after %d of %d hours; the next run serves the rest: %w", done, len(hours), ctx.Err()), err)
	}
	return sum, err
}

// request records and marks what is to be rewritten.
func (c *Compactor) request(ctx context.Context, q Marker, hours []afterhours.Hour, rebuild bool) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("name backfill: %w", err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(requestsAtOnce)
	for _, h := range hours {
		r := store.Request{Hour: h, ID: id.String(), Rebuild: rebuild, Made: c.now()}
		g.Go(func() error { return c.board.PutRequest(gctx, r) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("record backfill: %w", err)
	}
	// The marks come second: who takes one finds its request.
	if err := q.Mark(ctx, hours...); err != nil {
		return fmt.Errorf("mark hours of backfill: %w", err)
	}
	return nil
}
