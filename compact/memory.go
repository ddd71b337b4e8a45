package compact

import (
	"context"
	"math"

	"golang.org/x/sync/semaphore"

	"github.com/afterhours/afterhours/store"
)

// Rewrites share the budget of memory, each by what it reads: hundreds of small hours
// are under way in the room of one that is large. Half of a service's is the giants',
// so that they and the rest do not wait for each other.

const (
	// minMemory is the least budget there is.
	minMemory = 32 << 20

	// rowsMemory is how much memory a rewrite needs, by the size of the raw rows it
	// reads, to sort them without a file: a sorter has an eighth of it, of which it
	// fills half, with a third more than the rows.
	rowsMemory = 24

	leastShare   = 256 << 10 // of a rewrite
	unknownShare = 1 << 20   // of one that reads lanes of which the index does not know how large they are
	largestShare = 16 << 20  // that any rewrite may have, however many workers there are
)

// pool is a budget that rewrites of a class share.
type pool struct {
	*semaphore.Weighted
	most int64 // what one of them may have
}

func newPool(size int64, workers int) pool {
	return pool{semaphore.NewWeighted(size), min(size, max(largestShare, size/int64(max(1, workers))))}
}

// pools returns the budgets of the classes.
func (c Config) pools() map[class]pool {
	half := c.Memory / 2
	return map[class]pool{
		anyClass:   newPool(c.Memory, c.Workers),
		smallClass: newPool(half, c.Workers-c.Giants),
		giantClass: newPool(half, c.Giants),
	}
}

// reserve waits for memory for reading lanes, and so many bytes of a partition. It is
// given back by release.
func (p pool) reserve(ctx context.Context, lanes []store.Lane, partition int64) (memory int64, release func(), err error) {
	memory = min(p.most, need(lanes, partition))
	if err := p.Acquire(ctx, memory); err != nil {
		return 0, nil, err
	}
	return memory, func() { p.Release(memory) }, nil
}

// need returns how much memory a rewrite needs that reads lanes, and so many bytes of
// a partition, which are compressed.
func need(lanes []store.Lane, partition int64) int64 {
	least := int64(leastShare)
	for _, l := range lanes {
		if !l.Closed {
			least = unknownShare
		}
	}
	return max(least, rowsMemory*min(bytesOf(lanes)+4*partition, math.MaxInt64/rowsMemory))
}
