package compact

import (
	"context"
	"errors"
	"fmt"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// Discard writes an hour's partition anew from the raw rows that are readable,
// whatever the present object is: unreadable, vanished, or right. Rows that only
// the object has are given up. It is the way out for a stuck hour of which no
// older version can be restored.
func (c *Compactor) Discard(ctx context.Context, h afterhours.Hour) Outcome {
	out := c.untilPublished(ctx, h, func() (Outcome, error) { return c.attempt(ctx, h, discard, anyClass, stay{}) })
	return c.repaired(ctx, out)
}

// Restore publishes an older version of an hour's partition again, from a local
// file, as a new generation of a new lineage: with its rows and its set of merged
// rows, but without events that were erased since. Then the hour is marked, so
// that what came since is merged again; only then is the board told, since sweeps
// read less of what it describes.
func (c *Compactor) Restore(ctx context.Context, q Marker, h afterhours.Hour, path string) Outcome {
	out := c.untilPublished(ctx, h, func() (Outcome, error) { return c.restore(ctx, q, h, path) })
	return c.repaired(ctx, out)
}

func (c *Compactor) restore(ctx context.Context, q Marker, h afterhours.Hour, path string) (Outcome, error) {
	known, _, err := c.board.Partition(ctx, h)
	if err != nil {
		return Outcome{}, err
	}
	base, err := c.lake.RestoreBase(ctx, h, path)
	if err != nil {
		return Outcome{}, err
	}
	defer base.Close()
	r := &job{Compactor: c, hour: h, mode: restore, marker: q, known: known, base: base}
	return r.run(ctx)
}

// repaired tells of an hour that an operator saw to.
func (c *Compactor) repaired(ctx context.Context, o Outcome) Outcome {
	if o.Err == nil {
		o.Err = c.settle(ctx, o.Hour)
	}
	return c.finish(o)
}

// settle removes what was asked for and said of the hour before.
func (c *Compactor) settle(ctx context.Context, h afterhours.Hour) error {
	requests, err := c.board.Requests(ctx, h)
	for _, r := range requests {
		err = errors.Join(err, c.board.DeleteRequest(ctx, r))
	}
	if err = errors.Join(err, c.board.ClearStuck(ctx, h)); err != nil {
		return fmt.Errorf("clear stuck hour %s: %w", h, err)
	}
	return nil
}

// Feed visits the publishes of the given time, in order of time.
func (c *Compactor) Feed(ctx context.Context, from, to afterhours.Micros, visit func(store.Publication) error) error {
	return c.board.Feed(ctx, from, to, visit)
}
