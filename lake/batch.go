package lake

import "sync"

// batch is rows in memory, in the order of the partition.
type batch struct {
	rows  []keyed
	bytes int64
	arena arena
	cells []cell
}

// batches keep their memory for the rows of another block, of any partition.
var batches = sync.Pool{New: func() any { return &batch{} }}

func newBatch() *batch { return batches.Get().(*batch) }

// release gives the memory back, to which nobody may refer any more.
func (b *batch) release() {
	b.rows, b.cells, b.bytes = b.rows[:0], b.cells[:0], 0
	b.arena.reset()
	batches.Put(b)
}

// keyed is a row with its place in the order. The ID is the end of the key.
type keyed struct {
	key []byte
	record
}

// add copies a row.
func (b *batch) add(key []byte, r *record) {
	k := keyed{key: b.arena.keep(key), record: *r}
	k.id = k.key[len(k.key)-len(r.id):]
	k.payload = b.arena.keep(r.payload)
	k.cells = b.keepCells(r.cells)
	b.rows = append(b.rows, k)
	b.bytes += int64(len(key) + len(r.payload))
}

func (b *batch) keepCells(cells []cell) []cell {
	if cap(b.cells)-len(b.cells) < len(cells) {
		b.cells = make([]cell, 0, max(len(cells), min(2*cap(b.cells), 4096)))
	}
	n := len(b.cells)
	for _, c := range cells {
		if c.bytes != nil {
			c.bytes = b.arena.keep(c.bytes)
		}
		b.cells = append(b.cells, c)
	}
	return b.cells[n:len(b.cells):len(b.cells)]
}

// full reports whether the batch has as much as one block may have.
func (b *batch) full(rows int) bool { return len(b.rows) >= rows || b.bytes >= blockBytes }

// arena copies bytes to where they stay until it is reset.
type arena struct {
	chunks  [][]byte
	current int // the chunk that is filled; those after it are empty
}

func (a *arena) keep(b []byte) []byte {
	for ; a.current < len(a.chunks); a.current++ {
		if c := a.chunks[a.current]; cap(c)-len(c) >= len(b) {
			break
		}
	}
	if a.current == len(a.chunks) {
		// Each chunk is twice the last, so that a few rows do not cost a megabyte.
		a.chunks = append(a.chunks, make([]byte, 0, max(len(b), min(firstChunk<<min(a.current, 16), chunkSize))))
	}
	c := &a.chunks[a.current]
	n := len(*c)
	*c = append(*c, b...)
	return (*c)[n:len(*c):len(*c)]
}

func (a *arena) reset() {
	for i := range a.chunks {
		a.chunks[i] = a.chunks[i][:0]
	}
	a.current = 0
}
