package lake

// batch is rows in memory, in the order of the partition.
type batch struct {
	rows  []keyed
	bytes int64
	arena arena
	cells []cell
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

// arena copies bytes to where they stay as long as anybody refers to them.
type arena struct {
	chunk  []byte
	chunks int
}

func (a *arena) keep(b []byte) []byte {
	if a.chunk == nil || cap(a.chunk)-len(a.chunk) < len(b) {
		// Each chunk is twice the last, so that a few rows do not cost a megabyte.
		a.chunk = make([]byte, 0, max(len(b), min(firstChunk<<min(a.chunks, 16), chunkSize)))
		a.chunks++
	}
	n := len(a.chunk)
	a.chunk = append(a.chunk, b...)
	return a.chunk[n:len(a.chunk):len(a.chunk)]
}
