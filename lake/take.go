package lake

import (
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
)

// leaving is a row of the base that does not stay in its block.
type leaving struct {
	row    int
	erased bool // it goes for ever; else it went into the sorter
}

// takeFromBase puts the rows of the base that cannot stay in their place among
// the rows to sort.
func (m *merge) takeFromBase() error {
	p := m.base.partition
	if p == nil || m.opt.Discard {
		return nil
	}
	if err := p.checkEnds(); err != nil {
		return refuse(err)
	}
	if !m.opt.Rebuild && !m.streams() {
		return m.takeAll()
	}
	suspects, every := m.suspects()
	g, ctx := errgroup.WithContext(m.ctx)
	g.SetLimit(p.smallReads())
	for i := range p.table.Blocks {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if f, err := p.filter(i); err != nil || !every && !suspects.meets(f) {
				return refuse(err)
			}
			select {
			case m.lake.builders <- struct{}{}: // whole blocks are in memory from here on
				defer func() { <-m.lake.builders }()
			case <-ctx.Done():
				return ctx.Err()
			}
			if m.opt.Rebuild {
				return refuse(m.covers(i))
			}
			return refuse(m.take(i))
		})
	}
	return g.Wait()
}

// takeAll puts all rows of the base among the rows to sort.
func (m *merge) takeAll() error {
	return refuse(m.base.partition.inOrder((*block).size, func(p *partition, i int) error {
		if err := m.ctx.Err(); err != nil {
			return stopped{err}
		}
		if _, err := p.filter(i); err != nil {
			return err
		}
		return p.audit(i, m.takeRow)
	}))
}

// suspects returns the IDs whose rows may have to leave the base, or that they
// can only be found by looking at every row.
func (m *merge) suspects() (s *idSet, every bool) {
	known := m.base.Manifest.ErasedIDs
	asked := map[string]bool{}
	s = &m.ids
	if len(m.opt.Erase) > 0 {
		s = s.clone()
	}
	for _, id := range m.opt.Erase {
		asked[digest([]byte(id))] = true
		s.add(hashID([]byte(id)))
	}
	for _, d := range m.manifest.ErasedIDs {
		if _, found := slices.BinarySearch(known, d); !found && !asked[d] {
			every = true // of what was erased elsewhere only digests are known
		}
	}
	return s, every || m.opt.Rebuild
}

// covers makes sure that a rebuild has every event of block i.
func (m *merge) covers(i int) error {
	return m.base.partition.ids(i, func(_ int, id []byte) error {
		if !m.ids.has(hashID(id)) && !m.erased(id) {
			return fmt.Errorf("event %q of the base is missing although all rows were read", id)
		}
		return nil
	})
}

// take finds the rows that leave block i.
func (m *merge) take(i int) error {
	p := m.base.partition
	var rows []leaving
	copies := false
	err := p.ids(i, func(n int, id []byte) error {
		if m.ids.has(hashID(id)) {
			rows = append(rows, leaving{row: n})
			copies = true
		} else if m.erased(id) {
			rows = append(rows, leaving{row: n, erased: true})
		}
		return nil
	})
	if err != nil || len(rows) == 0 {
		return err
	}
	m.mu.Lock()
	m.leaving[i] = rows
	m.mu.Unlock()
	if !copies {
		return nil
	}
	s, err := p.source(i)
	if err != nil {
		return err
	}
	for _, l := range rows {
		if l.erased {
			continue
		}
		r, err := s.row(l.row)
		if err != nil {
			return err
		}
		if err := m.takeRow(&r.record); err != nil {
			return stopped{err}
		}
	}
	return nil
}

// takeRow puts a row of the base among the rows to sort.
func (m *merge) takeRow(r *record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.taken = m.taken.add(m.hash.row(r))
	m.repeated.add(hashID(r.id))
	return m.sortByID(r, fromBase)
}
