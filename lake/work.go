package lake

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// writeBlocks has blocks made by several goroutines, and writes them in order.
func (m *merge) writeBlocks(f *partitionFile, rest stream) error {
	g, ctx := errgroup.WithContext(m.ctx)
	queue := make(chan *work, runtime.GOMAXPROCS(0))
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

// work is a stretch of the new partition: a block of the base to copy, or the rows
// of one that lie between two keys, merged with others.
type work struct {
	copy int // if done is nil

	base     func() ([]*keyed, error) // what stays of a block, nil if there is none
	from, to []byte                   // nil: no bound
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
		return m.planBlock(head, nil, nil, nil, do)
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
		if err := m.planBlock(head, sync.OnceValues(func() ([]*keyed, error) { return m.stay(i) }), from, to, do); err != nil {
			return err
		}
	}
	return nil
}

// planBlock divides what lies between two keys so that no more rows than one
// block has are added at once.
func (m *merge) planBlock(head *survivors, base func() ([]*keyed, error), from, to []byte, do func(*work) error) error {
	for {
		w := &work{base: base, from: from, to: to, rows: &batch{}, done: make(chan struct{})}
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

// stay returns the rows of block i that stay in it.
func (m *merge) stay(i int) ([]*keyed, error) {
	s, err := m.base.partition.source(i)
	if err != nil {
		return nil, refuse(err)
	}
	leaving := m.leaving[i]
	rows := make([]*keyed, 0, len(s.rows)-len(leaving))
	var hash hasher
	var dropped, erasure content
	var erased int64
	for n := range s.rows {
		if len(leaving) == 0 || leaving[0].row != n {
			rows = append(rows, &s.rows[n])
			continue
		}
		r, err := s.record(n)
		if err != nil {
			return nil, refuse(err)
		}
		c := hash.row(r)
		dropped = dropped.add(c)
		if leaving[0].erased {
			erasure = erasure.add(c)
			erased++
		}
		leaving = leaving[1:]
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropped, m.erasure = m.dropped.add(dropped), m.erasure.add(erasure)
	m.manifest.Erased += erased
	return rows, nil
}

// build makes the blocks of a piece of work, and verifies them.
func (m *merge) build(ctx context.Context, w *work) (err error) {
	defer guard(&err)
	select {
	case m.lake.builders <- struct{}{}:
		defer func() { <-m.lake.builders }()
	case <-ctx.Done():
		return ctx.Err()
	}
	rows, err := w.merged()
	if err != nil {
		return err
	}
	enc := m.layout.encoders.Get().(*encoder)
	parts := divide(rows, m.lake.opt.BlockRows)
	from := w.from
	for i, part := range parts {
		to := w.to
		if i+1 < len(parts) {
			to = separator(part[len(part)-1].key, parts[i+1][0].key)
		}
		b, err := m.buildBlock(enc, part, from, to)
		if err != nil {
			return err
		}
		w.made = append(w.made, b)
		from = to
	}
	m.layout.encoders.Put(enc) // not after an error, which may have left anything in it
	w.base, w.rows = nil, nil
	close(w.done)
	return ctx.Err()
}

// merged returns the rows of a piece of work in order.
func (w *work) merged() ([]*keyed, error) {
	var stay []*keyed
	if w.base != nil {
		all, err := w.base()
		if err != nil {
			return nil, err
		}
		stay = all[position(all, w.from):]
		if w.to != nil {
			stay = stay[:position(stay, w.to)]
		}
	}
	rows := make([]*keyed, 0, len(stay)+len(w.rows.rows))
	for i := range w.rows.rows {
		r := &w.rows.rows[i]
		n := position(stay, r.key)
		if n < len(stay) && bytes.Equal(stay[n].key, r.key) {
			return nil, fmt.Errorf("event %q would be there twice", r.id)
		}
		rows = append(append(rows, stay[:n]...), r)
		stay = stay[n:]
	}
	return append(rows, stay...), nil
}

// position returns how many rows are before a key.
func position(rows []*keyed, key []byte) int {
	n, _ := slices.BinarySearchFunc(rows, key, func(r *keyed, key []byte) int { return bytes.Compare(r.key, key) })
	return n
}

// divide divides rows among blocks of at most so many rows: as few as are allowed,
// and equally.
func divide(rows []*keyed, limit int) (parts [][]*keyed) {
	bytes := 0
	for _, r := range rows {
		bytes += r.size()
	}
	most, mostBytes := share(len(rows), limit), share(bytes, blockBytes)
	first, size := 0, 0 // of the part
	for i, r := range rows {
		size += r.size()
		if i+1-first == most || size >= mostBytes || i+1 == len(rows) {
			parts = append(parts, rows[first:i+1])
			first, size = i+1, 0
		}
	}
	return parts
}

// share returns how much one part gets of n, which is not divided if it is only a
// quarter more than the limit.
func share(n, limit int) int {
	if n <= limit+limit/4 {
		return n
	}
	parts := (n + limit - 1) / limit
	return (n + parts - 1) / parts
}

// buildBlock encodes rows, decodes what it encoded, and compares.
func (m *merge) buildBlock(enc *encoder, rows []*keyed, from, to []byte) (*encoded, error) {
	b, payloads, err := enc.encode(rows)
	if err != nil {
		return nil, fmt.Errorf("write partition: %w", err)
	}
	b.From = from
	if err := m.verifyBlock(b, payloads, rows, to); err != nil {
		return nil, fmt.Errorf("verify before the upload: %w", err)
	}
	return b, nil
}

// verifyBlock compares a block, decoded, with the rows that it was made of, and
// counts them.
func (m *merge) verifyBlock(b *encoded, payloads *payloadWriter, rows []*keyed, to []byte) error {
	if err := payloads.verify(b.data[1], rows); err != nil {
		return err
	}
	filter, err := openFilter(b.data[2])
	if err != nil {
		return err
	}
	c := &checker{layout: m.layout, hour: m.base.Hour, from: b.From, to: to}
	n := 0
	err = m.layout.decode(b.data[0], b.group, func(r *record) error {
		key, err := c.row(r)
		switch {
		case err != nil:
			return err
		case n == len(rows) || !bytes.Equal(key, rows[n].key) || !rows[n].sameHead(r):
			return fmt.Errorf("row %d, event %q, is not what was written", n, r.id)
		case !filter.Check(hashID(r.id)):
			return fmt.Errorf("event %q is not in the block's filter", r.id)
		}
		n++
		return nil
	})
	if err == nil && n != len(rows) {
		err = fmt.Errorf("%d rows were written, but %d are read", len(rows), n)
	}
	b.Rows, b.Late, b.Conflicts = c.got.Rows, c.got.Late, c.got.Conflicts
	return err
}
