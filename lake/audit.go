package lake

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/afterhours/afterhours"
)

// idSet is a set of event IDs as 64-bit hashes, 8 bytes each. That one of two
// different IDs is taken for the other has a chance of 1 in 10^12 for a lookup
// among 20 million; every rewrite has a seed of its own, so what is refused
// wrongly passes the next time.
type idSet struct {
	seed   maphash.Seed
	hashes []uint64 // sorted once complete
}

func newIDSet(seed maphash.Seed) *idSet { return &idSet{seed: seed} }

func (s *idSet) add(id []byte) { s.hashes = append(s.hashes, maphash.Bytes(s.seed, id)) }

func (s *idSet) sort() { slices.Sort(s.hashes) }

func (s *idSet) has(id []byte) bool {
	_, found := slices.BinarySearch(s.hashes, maphash.Bytes(s.seed, id))
	return found
}

// unique reports whether no ID was added twice. The set is sorted.
func (s *idSet) unique() bool {
	for i := 1; i < len(s.hashes); i++ {
		if s.hashes[i] == s.hashes[i-1] {
			return false
		}
	}
	return true
}

// missing returns how many of o's IDs are not in s. Both are sorted.
func (s *idSet) missing(o *idSet) (n int) {
	i := 0
	for _, h := range o.hashes {
		for i < len(s.hashes) && s.hashes[i] < h {
			i++
		}
		if i == len(s.hashes) || s.hashes[i] != h {
			n++
		}
	}
	return n
}

// audit decodes a partition in full and compares it with its manifest: number
// of rows, order, that IDs are unique, hours, conflicts and late rows. It returns
// the IDs. Page checksums are compared by parquet-go on the way.
func (p *partition) audit(seed maphash.Seed) (*idSet, error) {
	ids := newIDSet(seed)
	var rows, conflicts, late int64
	var key, last []byte
	m := p.manifest
	err := p.rows(func(r *record) error {
		key = p.layout.appendKey(key[:0], r)
		if rows > 0 && bytes.Compare(last, key) >= 0 {
			return fmt.Errorf("row %d, event %q, is out of order", rows, r.id)
		}
		key, last = last, key
		if !m.Hour.Contains(r.time) {
			return fmt.Errorf("row %d, event %q, is of another hour: %s", rows, r.id, r.time)
		}
		ids.add(r.id)
		count(&rows, true)
		count(&conflicts, r.conflict)
		count(&late, isLate(m.Hour, r))
		return nil
	})
	if err != nil {
		return nil, err
	}
	ids.sort()
	if !ids.unique() {
		return nil, errors.New("an event ID is there twice")
	}
	if rows != m.Rows || conflicts != m.Conflicts || late != m.Late {
		return nil, fmt.Errorf("%d rows, %d conflicts and %d late rows, but the manifest says %d, %d and %d",
			rows, conflicts, late, m.Rows, m.Conflicts, m.Late)
	}
	return ids, nil
}

func count(n *int64, yes bool) {
	if yes {
		*n++
	}
}

func isLate(h afterhours.Hour, r *record) bool { return r.received >= h.End() }
