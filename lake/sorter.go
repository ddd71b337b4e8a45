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
// What does not fit is written to a temporary file in sorted runs.
type sorter struct {
	limit  int64 // bytes of memory for records and their entries
	create func() (*os.File, error)

	chunks  [][]byte // records: length of key, length of body, key, body
	current int      // the chunk that is filled; those after it are empty
	entries []entry
	used    int64

	file *os.File
	runs []run
	end  int64 // size of file
}

// entry points to a record in memory. The prefix is the key's beginning: most
// comparisons need no more.
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
	n := headerSize + len(key) + len(body)
	if len(s.entries) > 0 && s.used+int64(n)+entrySize > s.limit {
		if err := s.spill(); err != nil {
			return err
		}
	}
	b := s.room(n)
	s.entries = append(s.entries, entry{prefixOf(key), uint32(s.current), uint32(len(b))})
	b = binary.LittleEndian.AppendUint32(b, uint32(len(key)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	s.chunks[s.current] = append(append(b, key...), body...)
	s.used += int64(n) + entrySize
	return nil
}

// room returns the current chunk, which has room for n bytes.
func (s *sorter) room(n int) []byte {
	for ; s.current < len(s.chunks); s.current++ {
		if b := s.chunks[s.current]; cap(b)-len(b) >= n {
			return b
		}
	}
	s.chunks = append(s.chunks, make([]byte, 0, max(n, s.nextChunk())))
	return s.chunks[s.current]
}

// nextChunk returns the size of another chunk: each twice the last, so that a few
// rows do not cost a megabyte.
func (s *sorter) nextChunk() int {
	return min(firstChunk<<min(len(s.chunks), 16), chunkSize, int(s.limit/8))
}

func prefixOf(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

// record returns a record in memory, header included.
func (s *sorter) record(e entry) []byte {
	b := s.chunks[e.chunk][e.off:]
	return b[:headerSize+binary.LittleEndian.Uint32(b)+binary.LittleEndian.Uint32(b[4:])]
}

func split(record []byte) (key, body []byte) {
	n := headerSize + binary.LittleEndian.Uint32(record)
	return record[headerSize:n:n], record[n:]
}

func (s *sorter) sort() {
	slices.SortFunc(s.entries, func(a, b entry) int {
		if c := cmp.Compare(a.prefix, b.prefix); c != 0 {
			return c
		}
		x, _ := split(s.record(a))
		y, _ := split(s.record(b))
		return bytes.Compare(x, y)
	})
}

// spill writes what is in memory as a run, and forgets it.
func (s *sorter) spill() error {
	if s.file == nil {
		f, err := s.create()
		if err != nil {
			return err
		}
		s.file = f
	}
	s.sort()
	w := bufio.NewWriterSize(s.file, runBuffer)
	r := run{offset: s.end}
	for _, e := range s.entries {
		n, err := w.Write(s.record(e))
		if err != nil {
			return fmt.Errorf("write sorted rows: %w", err)
		}
		r.size += int64(n)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write sorted rows: %w", err)
	}
	s.runs, s.end = append(s.runs, r), s.end+r.size
	s.entries, s.used, s.current = s.entries[:0], 0, 0
	for i := range s.chunks {
		s.chunks[i] = s.chunks[i][:0]
	}
	return nil
}

// stream is a sequence of records in order of key. next returns io.EOF after the
// last; what it returned is overwritten by the next call.
type stream interface {
	next() (key, body []byte, err error)
}

// sorted ends the adding and returns all records in order. Records with equal
// keys come in any order.
func (s *sorter) sorted() (stream, error) {
	if s.file == nil {
		s.sort()
		return &memoryStream{s: s}, nil
	}
	if err := s.spill(); err != nil {
		return nil, err
	}
	s.chunks, s.entries = nil, nil
	m := &merger{}
	size := int(max(4<<10, min(runBuffer, s.limit/int64(len(s.runs)))))
	for _, r := range s.runs {
		src := &runStream{r: bufio.NewReaderSize(io.NewSectionReader(s.file, r.offset, r.size), size), left: r.size}
		if err := m.push(src); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// spilled reports whether there is anything in the temporary file.
func (s *sorter) spilled() bool { return s.file != nil }

type memoryStream struct {
	s *sorter
	i int
}

func (m *memoryStream) next() (key, body []byte, err error) {
	if m.i == len(m.s.entries) {
		return nil, nil, io.EOF
	}
	key, body = split(m.s.record(m.s.entries[m.i]))
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
