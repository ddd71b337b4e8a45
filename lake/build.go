package lake

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/parquet-go/parquet-go/bloom"
)

// stay returns the rows of block i that stay in it, all decoded.
func (m *merge) stay(i int) ([]keyed, error) {
	src, err := m.base.partition.source(i)
	if err != nil {
		return nil, refuse(err)
	}
	leaving := m.leaving[i]
	rows := make([]keyed, 0, src.rows-len(leaving))
	var hash hasher
	var undone content
	for k := range src.strips {
		t, err := src.open(k, true)
		if err != nil {
			return nil, refuse(fmt.Errorf("block %d: %w", i, err))
		}
		for n := range t.rows {
			undone = undone.add(hash.row(&t.rows[n].record))
		}
		rows = append(rows, m.drop(t, &leaving)...)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.undone = m.undone.add(undone)
	return rows, nil
}

// drop returns the rows of a strip that stay, and accounts for those that leave, which
// stand first in the list. They leave the list.
func (m *merge) drop(t *strip, leaving *[]leaving) []keyed {
	if !t.loses(*leaving) {
		return t.rows
	}
	var hash hasher
	var dropped, erasure content
	var erased int64
	rows := make([]keyed, 0, len(t.rows))
	for k := range t.rows {
		r := &t.rows[k]
		if len(*leaving) == 0 || (*leaving)[0].row != t.first+k {
			rows = append(rows, *r)
			continue
		}
		c := hash.row(&r.record)
		dropped = dropped.add(c)
		if (*leaving)[0].erased {
			erasure = erasure.add(c)
			erased++
		}
		*leaving = (*leaving)[1:]
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropped, m.erasure = m.dropped.add(dropped), m.erasure.add(erasure)
	m.manifest.Erased += erased
	return rows
}

// loses reports whether the first of the rows that leave is one of the strip's.
func (t *strip) loses(l []leaving) bool { return len(l) > 0 && l[0].row < t.first+t.n }

// build makes the blocks of a piece of work, and verifies them.
func (m *merge) build(ctx context.Context, w *work) (err error) {
	defer guard(&err)
	select {
	case m.lake.builders <- struct{}{}:
		defer func() { <-m.lake.builders }()
	case <-ctx.Done():
		return ctx.Err()
	}
	patched := false
	if w.alone && w.block >= 0 {
		patched, err = m.patch(w)
	}
	if err == nil && !patched {
		err = m.rebuild(w)
	}
	if err != nil {
		return err
	}
	w.rows.release()
	w.stay, w.rows = nil, nil
	close(w.done)
	return ctx.Err()
}

// rebuild makes blocks of all rows, decoded.
func (m *merge) rebuild(w *work) error {
	rows, err := w.merged()
	if err != nil || len(rows) == 0 {
		return err
	}
	from := w.from
	parts := divide(rows, m.lake.opt.BlockRows, blockBytes)
	for i, part := range parts {
		to := w.to
		if i+1 < len(parts) {
			to = separator(part[len(part)-1].key, parts[i+1][0].key)
		}
		b := m.newBlock(from, newFilter(len(part)))
		if err := b.write(part, from, to); err != nil {
			return err
		}
		if err := b.end(w); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// patch makes a block of the base anew, of which only strips are decoded that a row
// leaves or enters. It reports false if the block must be divided or needs a larger
// filter.
func (m *merge) patch(w *work) (bool, error) {
	p, leaving, added := m.base.partition, m.leaving[w.block], w.rows.rows
	was := &p.table.Blocks[w.block]
	p, err := p.fetched(w.block, was.size())
	if err != nil {
		return false, refuse(err)
	}
	filter, err := p.filter(w.block)
	if err != nil {
		return false, refuse(err)
	}
	rows := int(was.Rows) - len(leaving) + len(added)
	size := p.groups[w.block].Columns[colPayload].MetaData.TotalUncompressedSize + w.rows.bytes
	if rows > share(rows, m.lake.opt.BlockRows) || size > int64(share(int(size), blockBytes)) || !filterHolds(filter, rows) {
		return false, nil
	}
	src, err := p.source(w.block)
	if err == nil {
		err = p.bound(w.block, src)
	}
	if err != nil {
		return false, refuse(err)
	}
	b := m.newBlock(w.from, filter)
	b.copied = block{Rows: was.Rows, Late: was.Late, Conflicts: was.Conflicts}
	for i := range src.strips {
		if added, err = m.patchStrip(b, src, i, w, added, &leaving); err != nil {
			return false, fmt.Errorf("block %d: %w", w.block, err)
		}
	}
	if err := b.addCopied(); err != nil {
		return false, refuse(fmt.Errorf("block %d: %w", w.block, err))
	}
	return true, b.end(w)
}

// patchStrip copies strip i, or writes what becomes of its rows and of those added
// rows that fall into it. It returns the other added rows.
func (m *merge) patchStrip(b *newBlock, src *source, i int, w *work, added []keyed, leaving *[]leaving) ([]keyed, error) {
	target, to := -1, w.to
	if len(added) > 0 {
		var err error
		var next []byte
		if target, next, err = src.stripFor(&added[0], i); err != nil {
			return nil, refuse(err)
		}
		if next != nil {
			to = next
		}
	}
	t := src.strips[i]
	if i != target && !t.loses(*leaving) {
		b.strips = append(b.strips, t)
		b.copies += int64(t.n)
		return added, nil
	}
	if _, err := src.open(i, true); err != nil {
		return nil, refuse(err)
	}
	from := t.rows[0].key
	if i == 0 {
		from = w.from
	}
	n := 0
	if i == target {
		n = position(added, to)
	} else if i+1 < len(src.strips) {
		next, err := src.open(i+1, false)
		if err != nil {
			return nil, refuse(err)
		}
		to = next.rows[0].key
	}
	b.forget(t)
	rows, err := mergeRows(m.drop(t, leaving), added[:n])
	if err != nil {
		return nil, err
	}
	return added[n:], b.write(rows, from, to)
}

// merged returns the rows of a piece of work in order.
func (w *work) merged() ([]keyed, error) {
	if w.block < 0 {
		return w.rows.rows, nil
	}
	stay, err := w.stay()
	if err != nil {
		return nil, err
	}
	if w.from != nil {
		stay = stay[position(stay, w.from):]
	}
	return mergeRows(stay[:position(stay, w.to)], w.rows.rows)
}

// mergeRows merges two lists of rows that are in order.
func mergeRows(a, b []keyed) ([]keyed, error) {
	rows := make([]keyed, 0, len(a)+len(b))
	for i := range b {
		n := position(a, b[i].key)
		if n < len(a) && bytes.Equal(a[n].key, b[i].key) {
			return nil, fmt.Errorf("event %q would be there twice", b[i].id)
		}
		rows = append(append(rows, a[:n]...), b[i])
		a = a[n:]
	}
	return append(rows, a...), nil
}

// position returns how many rows are before a key; all if it is nil, and there is
// no bound.
func position(rows []keyed, key []byte) int {
	if key == nil {
		return len(rows)
	}
	n, _ := slices.BinarySearchFunc(rows, key, func(r keyed, key []byte) int { return bytes.Compare(r.key, key) })
	return n
}

// newBlock is a block that is being made.
type newBlock struct {
	block
	m      *merge
	strips []*strip
	filter bloom.SplitBlockFilter

	copied block // of a block of the base, without the strips that are written anew
	copies int64 // rows of the strips that are copied

	hash    hasher
	written content // of the rows written, as they are read back
	undone  content // of the rows that the strips had in the base
}

func (m *merge) newBlock(from []byte, f bloom.SplitBlockFilter) *newBlock {
	return &newBlock{block: block{From: from}, m: m, filter: f}
}

// forget takes the rows of a strip out of what is copied.
func (b *newBlock) forget(t *strip) {
	for i := range t.rows {
		r := &t.rows[i].record
		b.undone = b.undone.add(b.hash.row(r))
		b.copied.Rows--
		b.copied.Conflicts -= one(r.conflict)
		b.copied.Late -= one(isLate(b.m.base.Hour, r))
	}
}

// addCopied counts what is copied. It is wrong if the base's entry in its table was.
func (b *newBlock) addCopied() error {
	c := &b.copied
	if c.Rows != b.copies || c.Late < 0 || c.Late > c.Rows || c.Conflicts < 0 || c.Conflicts > c.Rows {
		return fmt.Errorf("of its rows %d are copied, which the table of blocks has as %d with %d late and %d conflicts", b.copies, c.Rows, c.Late, c.Conflicts)
	}
	b.Rows, b.Late, b.Conflicts = b.Rows+c.Rows, b.Late+c.Late, b.Conflicts+c.Conflicts
	return nil
}

// write appends rows, whose keys lie between two, decodes what it encoded, and
// compares.
func (b *newBlock) write(rows []keyed, from, to []byte) error {
	if len(rows) == 0 {
		return nil
	}
	l := b.m.layout
	for i := range rows {
		b.filter.Insert(hashID(rows[i].id))
	}
	w := l.writers.Get().(*stripWriter)
	defer l.writers.Put(w)
	c := &checker{layout: l, hour: b.m.base.Hour, from: from, to: to}
	for _, part := range divide(rows, max(1, b.m.lake.opt.BlockRows/stripShare), stripBytes) {
		s := w.write(part)
		if err := b.verify(s, part, c); err != nil {
			return fmt.Errorf("verify before the upload: %w", err)
		}
		b.strips = append(b.strips, s)
	}
	b.Rows, b.Late, b.Conflicts = b.Rows+c.got.Rows, b.Late+c.got.Late, b.Conflicts+c.got.Conflicts
	return nil
}

// verify compares a strip, decoded, with the rows that it was made of.
func (b *newBlock) verify(s *strip, rows []keyed, c *checker) error {
	r := c.layout.readers.Get().(*stripReader)
	defer c.layout.readers.Put(r)
	recs, err := r.read(s, c.layout.physical)
	if err != nil {
		return err
	}
	for i := range recs {
		key, err := c.row(&recs[i])
		switch {
		case err != nil:
			return err
		case !bytes.Equal(key, rows[i].key) || !recs[i].same(&rows[i].record):
			return fmt.Errorf("event %q is not what was written", recs[i].id)
		case !b.filter.Check(hashID(recs[i].id)):
			return fmt.Errorf("event %q is not in the block's filter", recs[i].id)
		}
		b.written = b.written.add(b.hash.row(&recs[i]))
	}
	return nil
}

// end gives the finished block to a piece of work, unless it has no rows.
func (b *newBlock) end(w *work) error {
	b.m.mu.Lock()
	b.m.written, b.m.undone = b.m.written.add(b.written), b.m.undone.add(b.undone)
	b.m.mu.Unlock()
	if len(b.strips) == 0 {
		return nil
	}
	e, err := b.m.layout.assemble(b.strips, b.filter)
	if err != nil {
		return fmt.Errorf("write partition: %w", err)
	}
	e.From, e.Rows, e.Late, e.Conflicts = b.From, b.Rows, b.Late, b.Conflicts
	if e.group.NumRows != b.Rows {
		return fmt.Errorf("verify before the upload: a block has %d rows, want %d", e.group.NumRows, b.Rows)
	}
	w.made = append(w.made, e)
	return nil
}
