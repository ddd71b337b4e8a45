package lake

import (
	"slices"

	"github.com/parquet-go/parquet-go/bloom"
)

// idSet is a set of event IDs as 64-bit hashes, 8 bytes each, the same that Bloom
// filters have. That one of two different IDs is taken for the other has a chance
// of 1 in 10^12 for a lookup among 20 million, so it may only cost time.
type idSet struct {
	buckets [256][]uint64 // by their first byte; sorted once complete
}

func hashID(id []byte) uint64 { return bloom.XXH64{}.Sum64(id) }

func (s *idSet) add(hash uint64) { s.buckets[hash>>56] = append(s.buckets[hash>>56], hash) }

// sort completes the set, and returns the hashes that were added more than once.
func (s *idSet) sort() (repeated *idSet) {
	repeated = &idSet{}
	for i, b := range s.buckets {
		slices.Sort(b)
		for j := 1; j < len(b); j++ {
			if b[j] == b[j-1] {
				repeated.add(b[j])
			}
		}
		s.buckets[i] = slices.Compact(b)
		repeated.buckets[i] = slices.Compact(repeated.buckets[i])
	}
	return repeated
}

func (s *idSet) has(hash uint64) bool {
	_, found := slices.BinarySearch(s.buckets[hash>>56], hash)
	return found
}

func (s *idSet) clone() *idSet {
	c := &idSet{}
	for i, b := range s.buckets {
		c.buckets[i] = slices.Clone(b)
	}
	return c
}

func (s *idSet) empty() bool { return s.len() == 0 }

func (s *idSet) len() (n int) {
	for _, b := range s.buckets {
		n += len(b)
	}
	return n
}

// meets reports whether a filter may have one of the IDs.
func (s *idSet) meets(f bloom.SplitBlockFilter) bool {
	for _, b := range s.buckets {
		if slices.ContainsFunc(b, f.Check) {
			return true
		}
	}
	return false
}
