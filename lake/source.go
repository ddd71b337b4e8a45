package lake

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/parquet-go/parquet-go/format"
)

// source is a block of the base in memory, of which strips are decoded when they are
// asked for. It is for one goroutine at a time.
type source struct {
	layout *layout
	rows   int
	strips []*strip
}

// pages cuts a column's pages out of data, which begins at start in the file.
func (s *source) pages(column int, at []location, data []byte, start int64) error {
	if s.strips == nil {
		s.strips = make([]*strip, len(at))
		for i := range at {
			s.strips[i] = &strip{first: at[i].first, pages: make([]page, len(s.layout.cols))}
		}
	}
	if len(at) != len(s.strips) {
		return fmt.Errorf("%d pages, want %d", len(at), len(s.strips))
	}
	for i, p := range at {
		next := s.rows
		if i+1 < len(at) {
			next = at[i+1].first
		}
		from, strip := p.at-start, s.strips[i]
		if strip.n = next - p.first; p.first != strip.first || strip.n < 1 || from < 0 || p.size < 1 || from > int64(len(data))-int64(p.size) {
			return fmt.Errorf("page %d is not where its index has it", i)
		}
		strip.pages[column].raw = data[from:][:p.size]
	}
	if at[0].first != 0 {
		return errors.New("the first page is missing")
	}
	return nil
}

// visit decodes columns of every row. The record is overwritten after each visit.
func (s *source) visit(columns []int, visit func(*record) error) error {
	r := s.layout.readers.Get().(*stripReader)
	defer s.layout.readers.Put(r)
	for _, strip := range s.strips {
		recs, err := r.read(strip, columns)
		if err != nil {
			return err
		}
		for i := range recs {
			if err := visit(&recs[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// open decodes strip i, which must be in order, with its payloads if they are asked
// for.
func (s *source) open(i int, payloads bool) (*strip, error) {
	t := s.strips[i]
	if t.rows != nil && (t.full || !payloads) {
		return t, nil
	}
	columns := s.layout.heads
	if payloads {
		columns = s.layout.physical
	}
	r := s.layout.readers.Get().(*stripReader)
	defer s.layout.readers.Put(r)
	recs, err := r.read(t, columns)
	if err != nil {
		return nil, err
	}
	r.keep()
	t.rows, t.full = make([]keyed, len(recs)), payloads
	var keys arena
	for k := range recs {
		r.key = s.layout.appendKey(r.key[:0], &recs[k])
		t.rows[k] = keyed{key: keys.keep(r.key), record: recs[k]}
		t.rows[k].id = t.rows[k].key[len(r.key)-len(recs[k].id):]
		if k > 0 && bytes.Compare(t.rows[k-1].key, t.rows[k].key) >= 0 {
			return nil, fmt.Errorf("row %d, event %q, is out of order", t.first+k, recs[k].id)
		}
	}
	return t, nil
}

// row returns row n with its payload.
func (s *source) row(n int) (*keyed, error) {
	i := s.stripOf(n)
	t, err := s.open(i, true)
	if err != nil {
		return nil, err
	}
	return &t.rows[n-t.first], nil
}

// stripOf returns which strip has row n.
func (s *source) stripOf(n int) int {
	i, found := slices.BinarySearchFunc(s.strips, n, func(t *strip, n int) int { return t.first - n })
	if !found {
		i--
	}
	return i
}

// stripFor returns the strip into which a row falls, which is not before strip i, and
// the key that the next strip begins with, nil if there is none.
func (s *source) stripFor(r *keyed, i int) (int, []byte, error) {
	lo, hi := i, len(s.strips) // it is not before lo, and before hi
	for lo+1 < hi {
		mid := (lo + hi) / 2
		order := s.compareBound(r, mid)
		if order == 0 {
			t, err := s.open(mid, false)
			if err != nil {
				return 0, nil, err
			}
			order = bytes.Compare(r.key, t.rows[0].key)
		}
		if order >= 0 {
			lo = mid
		} else {
			hi = mid
		}
	}
	if hi == len(s.strips) {
		return lo, nil, nil
	}
	next, err := s.open(hi, false)
	if err != nil {
		return 0, nil, err
	}
	return lo, next.rows[0].key, nil
}

// compareBound compares a row with the first of strip i by the column that the block
// is sorted by, whose least value the page index has. It returns 0 if that does not
// tell.
func (s *source) compareBound(r *keyed, i int) int {
	j := int(s.layout.sorting[0].ColumnIdx)
	c, v, b := &s.layout.cols[j], r.cell(j), &s.strips[i].pages[j].bounds
	if !v.set || b.min == nil || b.nulls > 0 || len(b.min) >= boundBytes {
		return 0
	}
	return c.compare(v, c.bound(b.min))
}

// bound gives the strips the bounds of their pages, as the column indexes have
// them.
func (s *source) bound(indexes [][]byte) error {
	for j := range s.layout.cols {
		if !s.layout.cols[j].indexed {
			continue
		}
		var x format.ColumnIndex
		if err := decodeThrift(indexes[j], &x); err != nil {
			return err
		}
		n := len(s.strips)
		if len(x.NullPages) != n || len(x.MinValues) != n || len(x.MaxValues) != n || len(x.NullCounts) != n {
			return errIndex
		}
		for i, t := range s.strips {
			b := bounds{nulls: x.NullCounts[i]}
			if !x.NullPages[i] {
				b.min, b.max = notNil(x.MinValues[i]), notNil(x.MaxValues[i])
			}
			t.pages[j].bounds = b
		}
	}
	return nil
}
