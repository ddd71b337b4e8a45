package lake

import (
	"slices"

	"github.com/parquet-go/parquet-go/bloom"
)

// idSet is a set of event IDs as 64-bit hashes, the same that Bloom filters have.
// That one ID is taken for another may only cost time, so of a large set no more
// than 48 bits of each are kept, in 4 bytes: a lookup among 20 million IDs is then
// wrong once in 10 million.
type idSet struct {
	few  []uint64             // sorted once complete
	many *[idBuckets][]uint32 // the rest of the hashes, by their first 16 bits; likewise
	n    int
}

const (
	idBuckets = 1 << 16
	fewIDs    = 1 << 16 // more than these are many
)

func hashID(id []byte) uint64 { return bloom.XXH64{}.Sum64(id) }

func (s *idSet) add(hash uint64) {
	s.n++
	if s.many == nil && len(s.few) < fewIDs {
		s.few = append(s.few, hash)
		return
	}
	if s.many == nil {
		s.many = new([idBuckets][]uint32)
		for _, h := range s.few {
			s.put(h)
		}
		s.few = nil
	}
	s.put(hash)
}

func (s *idSet) put(hash uint64) {
	b := &s.many[hash>>48]
	*b = append(*b, uint32(hash>>16))
}

// sort completes the set, and returns the hashes that were added more than once.
func (s *idSet) sort() (repeated *idSet) {
	repeated = &idSet{}
	if s.many == nil {
		s.few = unique(s.few, repeated.add)
		s.n = len(s.few)
	} else {
		s.n = 0
		repeated.many = new([idBuckets][]uint32)
		for i := range s.many {
			s.many[i] = unique(s.many[i], func(rest uint32) {
				repeated.n++
				repeated.many[i] = append(repeated.many[i], rest)
			})
			s.n += len(s.many[i])
		}
	}
	return repeated
}

// unique sorts hashes, visits those that are there more than once, and returns each
// once.
func unique[T uint32 | uint64](hashes []T, repeated func(T)) []T {
	slices.Sort(hashes)
	for i := 1; i < len(hashes); i++ {
		if hashes[i] == hashes[i-1] && (i == 1 || hashes[i] != hashes[i-2]) {
			repeated(hashes[i])
		}
	}
	return slices.Compact(hashes)
}

func (s *idSet) has(hash uint64) bool {
	if s.many == nil {
		_, found := slices.BinarySearch(s.few, hash)
		return found
	}
	_, found := slices.BinarySearch(s.many[hash>>48], uint32(hash>>16))
	return found
}

func (s *idSet) clone() *idSet {
	c := &idSet{few: slices.Clone(s.few), n: s.n}
	if s.many != nil {
		c.many = new([idBuckets][]uint32)
		for i, b := range s.many {
			c.many[i] = slices.Clone(b)
		}
	}
	return c
}

func (s *idSet) empty() bool { return s.n == 0 }

// meets reports whether a filter may have one of the IDs. One of many is in every
// filter, or seems to be.
func (s *idSet) meets(f bloom.SplitBlockFilter) bool {
	return s.many != nil || slices.ContainsFunc(s.few, f.Check)
}
