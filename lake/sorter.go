package lake

import (
	"bufio"
	"bytes"
	"cmp"
	"container/heap"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
)

// sorter sorts records, each a key and a body, by key within a memory budget.
// What does not fit is written to a temporary file in sorted runs, while more
// records are added.
type sorter struct {
	limit  int64 // bytes of memory for records and their entries, in both buffers
	create func() (*os.File, error)

	fill    buffer     // takes records
	spare   buffer     // empty, or being written
	writing chan error // the end of the writing of spare, nil if nobody writes it

	file *os.File
	runs []run
	end  int64 // size of file
}

// buffer is records in memory.
type buffer struct {
	chunks  [][]byte // records: length of key, length of body, key, body
	current int      // the chunk that is filled; those after it are empty
	entries []entry
	used    int64
}

// entry points to a record in memory. The prefix is the key's beginning, or once
// sorted what follows what all keys begin with: most comparisons need no more.
type entry struct {
	prefix     uint64
	chunk, off uint32
}

type run struct{ offset, size int64 }

const (
	entrySize  = 16
	headerSize = 8
	firstChunk = 8 << 10
	chunkSize  = 1 << 20
	// runBuffer is the most memory for reading one run.
	runBuffer = 256 << 10
)

// add takes a record. key and body are copied.
func (s *sorter) add(key, body []byte) error {
	n := int64(headerSize + len(key) + len(body) + entrySize)
	if len(s.fill.entries) > 0 && s.fill.used+n > s.limit/2 {
		if err := s.spill(); err != nil {
			return err
		}
	}
	s.fill.add(key, body, s.limit)
	return nil
}

func (b *buffer) add(key, body []byte, limit int64) {
	n := headerSize + len(key) + len(body)
	c := b.room(n, limit)
	b.entries = append(b.entries, entry{0, uint32(b.current), uint32(len(c))})
	c = binary.LittleEndian.AppendUint32(c, uint32(len(key)))
	c = binary.LittleEndian.AppendUint32(c, uint32(len(body)))
	b.chunks[b.current] = append(append(c, key...), body...)
	b.used += int64(n) + entrySize
}

// room returns the current chunk, which has room for n bytes.
func (b *buffer) room(n int, limit int64) []byte {
	for ; b.current < len(b.chunks); b.current++ {
		if c := b.chunks[b.current]; cap(c)-len(c) >= n {
			return c
		}
	}
	// Each chunk is twice the last, so that a few rows do not cost a megabyte.
	size := min(firstChunk<<min(len(b.chunks), 16), chunkSize, int(limit/16))
	b.chunks = append(b.chunks, make([]byte, 0, max(n, size)))
	return b.chunks[b.current]
}

func (b *buffer) reset() {
	b.entries, b.used, b.current = b.entries[:0], 0, 0
	for i := range b.chunks {
		b.chunks[i] = b.chunks[i][:0]
	}
}

// record returns a record in memory, header included.
func (b *buffer) record(e entry) []byte {
	c := b.chunks[e.chunk][e.off:]
	return c[:headerSize+binary.LittleEndian.Uint32(c)+binary.LittleEndian.Uint32(c[4:])]
}

func (b *buffer) key(e entry) []byte {
	key, _ := split(b.record(e))
	return key
}

func split(record []byte) (key, body []byte) {
	n := headerSize + binary.LittleEndian.Uint32(record)
	return record[headerSize:n:n], record[n:]
}

func (b *buffer) sort() {
	if len(b.entries) == 0 {
		return
	}
	first := b.key(b.entries[0])
	common := len(first)
	for _, e := range b.entries {
		key := b.key(e)
		common = min(common, len(key))
		for !bytes.Equal(key[:common], first[:common]) {
			common--
		}
	}
	for i := range b.entries {
		b.entries[i].prefix = prefixOf(b.key(b.entries[i])[common:])
	}
	slices.SortFunc(b.entries, func(x, y entry) int {
		if c := cmp.Compare(x.prefix, y.prefix); c != 0 {
			return c
		}
		return bytes.Compare(b.key(x), b.key(y))
	})
}

func prefixOf(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

// spill has what is in memory written as a run, and makes room for more.
func (s *sorter) spill() error {
	if err := s.written(); err != nil {
		return err
	}
	if s.file == nil {
		f, err := s.create()
		if err != nil {
			return err
		}
		s.file = f
	}
	s.fill, s.spare = s.spare, s.fill
	s.writing = make(chan error, 1)
	go func(done chan<- error) { done <- s.write() }(s.writing)
	return nil
}

// written waits until nobody writes any more.
func (s *sorter) written() error {
	if s.writing == nil {
		return nil
	}
	err := <-s.writing
	s.writing = nil
	return err
}

// write writes the spare buffer as a run, and empties it.
func (s *sorter) write() error {
	s.spare.sort()
	w := bufio.NewWriterSize(s.file, runBuffer)
	r := run{offset: s.end}
	for _, e := range s.spare.entries {
		n, err := w.Write(s.spare.record(e))
		if err != nil {
			return fmt.Errorf("write sorted rows: %w", err)
		}
		r.size += int64(n)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write sorted rows: %w", err)
	}
	s.runs, s.end = append(s.runs, r), s.end+r.size
	s.spare.reset()
	return nil
}

// finish ends the adding.
func (s *sorter) finish() error {
	if s.file == nil {
		s.fill.sort()
		return nil
	}
	for len(s.fill.entries) > 0 {
		if err := s.spill(); err != nil {
			return err
		}
	}
	err := s.written()
	s.fill, s.spare = buffer{}, buffer{}
	return err
}

// close waits until the file is not written to any more.
func (s *sorter) close() { _ = s.written() }

// stream is a sequence of records in order of key. next returns io.EOF after the
// last; what it returned is overwritten by the next call.
type stream interface {
	next() (key, body []byte, err error)
}

// sorted returns all records in order, once the adding is finished. Records with
// equal keys come in any order.
func (s *sorter) sorted() (stream, error) {
	if s.file == nil {
		return &memoryStream{b: &s.fill}, nil
	}
	m := &merger{}
	size := int(max(4<<10, min(runBuffer, s.limit/2/int64(len(s.runs)))))
	for _, r := range s.runs {
		if err := m.push(s.read(r, size)); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (s *sorter) read(r run, size int) *runStream {
	return &runStream{r: bufio.NewReaderSize(io.NewSectionReader(s.file, r.offset, r.size), size), left: r.size}
}

// all returns all records in any order, once the adding is finished: cheaper.
func (s *sorter) all() stream {
	if s.file == nil {
		return &memoryStream{b: &s.fill}
	}
	c := &chain{}
	for _, r := range s.runs {
		c.rest = append(c.rest, s.read(r, runBuffer))
	}
	return c
}

// chain is streams one after the other.
type chain struct{ rest []*runStream }

func (c *chain) next() (key, body []byte, err error) {
	for ; len(c.rest) > 0; c.rest = c.rest[1:] {
		if key, body, err = c.rest[0].next(); err != io.EOF {
			return key, body, err
		}
	}
	return nil, nil, io.EOF
}

type memoryStream struct {
	b *buffer
	i int
}

func (m *memoryStream) next() (key, body []byte, err error) {
	if m.i == len(m.b.entries) {
		return nil, nil, io.EOF
	}
	key, body = split(m.b.record(m.b.entries[m.i]))
	m.i++
	return key, body, nil
}

// runStream reads one run.
type runStream struct {
	r         *bufio.Reader
	left      int64 // bytes of the run
	buf       []byte
	key, body []byte
}

func (r *runStream) next() (key, body []byte, err error) {
	head, err := r.r.Peek(headerSize)
	if err == io.EOF && len(head) == 0 {
		return nil, nil, io.EOF
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read sorted rows: %w", err)
	}
	n := headerSize + int(binary.LittleEndian.Uint32(head)) + int(binary.LittleEndian.Uint32(head[4:]))
	if r.left -= int64(n); r.left < 0 {
		return nil, nil, errBody
	}
	r.buf = slices.Grow(r.buf[:0], n)[:n]
	if _, err := io.ReadFull(r.r, r.buf); err != nil {
		return nil, nil, fmt.Errorf("read sorted rows: %w", err)
	}
	r.key, r.body = split(r.buf)
	return r.key, r.body, nil
}

// merger merges runs: a heap by their next key.
type merger struct {
	runs  []*runStream
	moved bool // the first run's record was handed out
}

// Len, Less, Swap, Push and Pop are for container/heap.
func (m *merger) Len() int           { return len(m.runs) }
func (m *merger) Less(i, j int) bool { return bytes.Compare(m.runs[i].key, m.runs[j].key) < 0 }
func (m *merger) Swap(i, j int)      { m.runs[i], m.runs[j] = m.runs[j], m.runs[i] }
func (m *merger) Push(x any)         { m.runs = append(m.runs, x.(*runStream)) }
func (m *merger) Pop() any {
	last := m.runs[len(m.runs)-1]
	m.runs = m.runs[:len(m.runs)-1]
	return last
}

func (m *merger) push(r *runStream) error {
	switch _, _, err := r.next(); err {
	case nil:
		heap.Push(m, r)
		return nil
	case io.EOF:
		return nil
	default:
		return err
	}
}

func (m *merger) next() (key, body []byte, err error) {
	if m.moved {
		switch _, _, err := m.runs[0].next(); err {
		case nil:
			heap.Fix(m, 0)
		case io.EOF:
			heap.Pop(m)
		default:
			return nil, nil, err
		}
	}
	if m.moved = len(m.runs) > 0; !m.moved {
		return nil, nil, io.EOF
	}
	return m.runs[0].key, m.runs[0].body, nil
}
