package model

// shards is how many tables the fingerprints are spread over. Each grows alone, so
// growing never needs twice the memory.
const shards = 256

// visited is a set of the fingerprints of states: 64 bits each, in open addressing.
// That two of n states share one, so that the second is taken for seen, has a
// chance of about n²/2⁶⁵: one in 15,000 for 50 million states.
type visited struct {
	shard [shards]table
	n     int
}

// table is one open-addressing table. 0 is an empty slot.
type table struct {
	slots []uint64
	n     int
}

// add puts a fingerprint into the set and reports whether it was new.
func (v *visited) add(print uint64) bool {
	if print == 0 {
		print = 1
	}
	fresh := v.shard[print>>56].add(print)
	if fresh {
		v.n++
	}
	return fresh
}

func (t *table) add(print uint64) bool {
	if t.n >= len(t.slots)/4*3 {
		t.grow()
	}
	i := t.find(print)
	if t.slots[i] == print {
		return false
	}
	t.slots[i] = print
	t.n++
	return true
}

// find returns the slot that a fingerprint has or would get.
func (t *table) find(print uint64) uint64 {
	last := uint64(len(t.slots) - 1)
	i := print & last
	for t.slots[i] != 0 && t.slots[i] != print {
		i = (i + 1) & last
	}
	return i
}

func (t *table) grow() {
	old := t.slots
	t.slots = make([]uint64, max(16, 2*len(old)))
	for _, print := range old {
		if print != 0 {
			t.slots[t.find(print)] = print
		}
	}
}
