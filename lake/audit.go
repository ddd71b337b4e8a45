package lake

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours"
)

// checker checks rows that are read in order: that they are in order, from one key
// up to before the other (nil: any), and of the hour. It counts what the table of
// blocks counts.
type checker struct {
	layout    *layout
	hour      afterhours.Hour
	from, to  []byte
	key, last []byte
	got       block
}

// row checks a row and returns its key, which the next but one overwrites.
func (c *checker) row(r *record) ([]byte, error) {
	c.key, c.last = c.layout.appendKey(c.last[:0], r), c.key
	switch {
	case c.got.Rows == 0 && c.from != nil && bytes.Compare(c.key, c.from) < 0,
		c.got.Rows > 0 && bytes.Compare(c.last, c.key) >= 0,
		c.to != nil && bytes.Compare(c.key, c.to) >= 0:
		return nil, fmt.Errorf("row %d, event %q, is out of order", c.got.Rows, r.id)
	case !c.hour.Contains(r.time):
		return nil, fmt.Errorf("row %d, event %q, is of another hour: %s", c.got.Rows, r.id, r.time)
	}
	c.got.Rows++
	c.got.Conflicts += one(r.conflict)
	c.got.Late += one(isLate(c.hour, r))
	return c.key, nil
}

// agrees reports why the table's entry is not of the rows that were checked.
func (c *checker) agrees(b *block) error {
	if got := c.got; b.Rows != got.Rows || b.Late != got.Late || b.Conflicts != got.Conflicts {
		return fmt.Errorf("%d rows, %d late and %d conflicts, but the table of blocks says %d, %d and %d",
			got.Rows, got.Late, got.Conflicts, b.Rows, b.Late, b.Conflicts)
	}
	return nil
}

// checker returns one for the rows of block i.
func (p *partition) checker(i int) *checker {
	c := &checker{layout: p.layout, hour: p.manifest.Hour}
	c.from, c.to = p.bounds(i)
	return c
}

// audit decodes block i in full and compares it with the table.
func (p *partition) audit(i int, visit func(*record) error) error {
	c := p.checker(i)
	err := p.blockRows(i, func(r *record) error {
		if _, err := c.row(r); err != nil {
			return err
		}
		if err := visit(r); err != nil {
			return stopped{err}
		}
		return nil
	})
	if err == nil {
		err = c.agrees(&p.table.Blocks[i])
	}
	if err != nil {
		return fmt.Errorf("block %d: %w", i, err)
	}
	return nil
}

// source reads block i, of which rows are decoded when they are asked for.
func (p *partition) source(i int) (*source, error) {
	p, err := p.fetched(i, p.table.Blocks[i].size())
	if err != nil {
		return nil, err
	}
	s, err := p.strips(i, true)
	if err != nil {
		return nil, fmt.Errorf("block %d: %w", i, err)
	}
	return s, nil
}

// bounds returns the keys between which a block's keys lie, nil for none.
func (p *partition) bounds(i int) (from, to []byte) {
	if i > 0 {
		from = p.table.Blocks[i].From
	}
	if i+1 < len(p.table.Blocks) {
		to = p.table.Blocks[i+1].From
	}
	return from, to
}

// auditAll decodes the whole partition and compares it with its footer. IDs must
// be unique, and in the filters.
func (p *partition) auditAll() error {
	if err := p.checkEnds(); err != nil {
		return err
	}
	var mu sync.Mutex
	var all idSet
	var rows content
	var g errgroup.Group
	g.SetLimit(max(processors, blocksAhead))
	for i := range p.table.Blocks {
		g.Go(func() error {
			p, err := p.fetched(i, p.table.Blocks[i].size())
			if err != nil {
				return err
			}
			filter, err := p.filter(i)
			if err != nil {
				return err
			}
			var ids []uint64
			var hash hasher
			var sum content
			err = p.audit(i, func(r *record) error {
				sum = sum.add(hash.row(r))
				id := hashID(r.id)
				ids = append(ids, id)
				if !filter.Check(id) {
					return fmt.Errorf("event %q is not in the block's filter", r.id)
				}
				return nil
			})
			mu.Lock()
			defer mu.Unlock()
			for _, id := range ids {
				all.add(id)
			}
			rows = rows.add(sum)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if !all.sort().empty() {
		return errors.New("an event ID is there twice")
	}
	if rows != p.content {
		return fmt.Errorf("rows with content %s, but the manifest says %s", rows, p.content)
	}
	return nil
}

func one(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}

func isLate(h afterhours.Hour, r *record) bool { return r.received >= h.End() }
