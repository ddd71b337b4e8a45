package lake

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"
)

// writeBlocks has blocks made by several goroutines, and writes them in order.
func (m *merge) writeBlocks(f *partitionFile, rest stream) error {
	g, ctx := errgroup.WithContext(m.ctx)
	queue := make(chan *work, 1) // and so two being made, each with the rows of a block in memory
	g.Go(func() error {
		defer close(queue)
		return m.plan(rest, func(w *work) error {
			select {
			case queue <- w:
			case <-ctx.Done():
				return ctx.Err()
			}
			if w.done != nil {
				g.Go(func() error { return m.build(ctx, w) })
			}
			return nil
		})
	})
	g.Go(func() error {
		for w := range queue {
			if err := m.deliver(ctx, f, w); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// deliver writes what a piece of work made.
func (m *merge) deliver(ctx context.Context, f *partitionFile, w *work) error {
	if w.done == nil {
		return f.copy(m.base.partition, w.copy)
	}
	// What comes before is copied while this is being made.
	if err := f.endRun(); err != nil {
		return err
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, b := range w.made {
		if err := f.put(b); err != nil {
			return fmt.Errorf("write partition: %w", err)
		}
	}
	return nil
}

// work is a stretch of the new partition: a block of the base to copy, or rows that
// lie between two keys, merged with those of a block of the base.
type work struct {
	copy int // if done is nil

	block    int                     // of the base, whose rows are merged; -1: none
	stay     func() ([]keyed, error) // all rows of it that stay
	alone    bool                    // no other work has rows of the block
	from, to []byte                  // nil: no bound
	rows     *batch
	made     []*encoded
	done     chan struct{}
}

// plan divides the new partition into work.
func (m *merge) plan(rest stream, do func(*work) error) error {
	head := &survivors{in: rest, layout: m.layout}
	if err := head.next(); err != nil {
		return err
	}
	if !m.streams() || len(m.base.partition.table.Blocks) == 0 {
		return m.planBlock(head, -1, nil, nil, do)
	}
	p := m.base.partition
	for i := range p.table.Blocks {
		from, to := p.bounds(i)
		if len(m.leaving[i]) == 0 && !head.before(to) {
			if err := do(&work{copy: i}); err != nil {
				return err
			}
			continue
		}
		if err := m.planBlock(head, i, from, to, do); err != nil {
			return err
		}
	}
	return nil
}

// planBlock divides what lies between two keys, and has a block of the base unless
// that is -1, so that no more rows than one block has are added at once.
func (m *merge) planBlock(head *survivors, block int, from, to []byte, do func(*work) error) error {
	stay := sync.OnceValues(func() ([]keyed, error) { return m.stay(block) })
	for alone := true; ; alone = false {
		w := &work{block: block, stay: stay, from: from, to: to, rows: newBatch(), done: make(chan struct{})}
		for head.before(to) && !w.rows.full(m.lake.opt.BlockRows) {
			if err := m.interrupted(len(w.rows.rows)); err != nil {
				return err
			}
			w.rows.add(head.key, &head.rec)
			m.placed, m.places = m.placed.add(m.hash.row(&head.rec)), m.places+1
			if err := head.next(); err != nil {
				return err
			}
		}
		more := head.before(to)
		if more {
			w.to = separator(w.rows.rows[len(w.rows.rows)-1].key, head.key)
		}
		w.alone = alone && !more
		if err := do(w); err != nil || !more {
			return err
		}
		from = w.to
	}
}

// survivors reads records from a sorted stream.
type survivors struct {
	in     stream
	layout *layout
	key    []byte // nil after the last
	rec    record
}

func (s *survivors) next() error {
	key, body, err := s.in.next()
	s.key = key
	if err == io.EOF {
		s.key = nil
		return nil
	}
	if err != nil {
		return err
	}
	_, err = decodeBody(key, body, len(s.layout.columns), &s.rec)
	return err
}

// before reports whether there is a record before a key, nil for any at all.
func (s *survivors) before(key []byte) bool {
	return s.key != nil && (key == nil || bytes.Compare(s.key, key) < 0)
}
