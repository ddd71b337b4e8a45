package lake

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/parquet-go/parquet-go/bloom"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// encoded is a block on its way into a partition. Its offsets are those of a file
// in which it begins at origin.
type encoded struct {
	block
	origin      int64
	data        [][]byte // all its bytes, nil if they are copied from the base
	group       format.RowGroup
	columnIndex [][]byte // of each column, as it is written; payloads have none
	offsetIndex [][]byte // likewise
}

// assemble makes a block of strips, at least one, and of a filter of their IDs.
// The block shares their memory. Of its entry in the table, sizes and checksums
// are set.
func (l *layout) assemble(strips []*strip, filter bloom.SplitBlockFilter) (*encoded, error) {
	b := &encoded{columnIndex: make([][]byte, len(l.cols)), offsetIndex: make([][]byte, len(l.cols))}
	b.group.Columns = make([]format.ColumnChunk, len(l.cols))
	for _, s := range strips {
		b.group.NumRows += int64(s.n)
	}
	parts := [2]*part{&b.Head, &b.Payload}
	for _, i := range l.physical {
		what := parts[0]
		if i == colPayload {
			what = parts[1]
		}
		if err := b.chunk(l, i, strips, what); err != nil {
			return nil, err
		}
	}
	b.group.TotalCompressedSize = b.Head.Size + b.Payload.Size
	b.group.SortingColumns = l.sorting
	return b, b.addFilter(filter)
}

// chunk appends column i.
func (b *encoded) chunk(l *layout, i int, strips []*strip, to *part) error {
	c := &l.cols[i]
	start := b.Head.Size + b.Payload.Size
	at, size, row := start, int64(0), 0
	index := make([]byte, 0, 16*len(strips))
	index = appendList(append(index, offsetIndexStart), len(strips))
	for _, s := range strips {
		p := &s.pages[i]
		n, err := p.size()
		if err != nil {
			return err
		}
		index = appendLocation(index, at, len(p.raw), row)
		b.data = append(b.data, p.raw)
		to.add(p.raw)
		at, size, row = at+int64(len(p.raw)), size+n, row+s.n
	}
	b.offsetIndex[i] = append(index, 0)
	m := format.ColumnMetaData{
		Type: c.kind, Encoding: encodings, PathInSchema: []string{c.name}, Codec: format.Zstd, NumValues: b.group.NumRows,
		TotalUncompressedSize: size, TotalCompressedSize: at - start, DataPageOffset: start,
		EncodingStats: []format.PageEncodingStats{{PageType: format.DataPage, Encoding: format.Plain, Count: int32(len(strips))}},
	}
	b.group.TotalByteSize += size
	if c.indexed {
		x := c.index(strips, i)
		m.Statistics = c.statistics(&x)
		var err error
		if b.columnIndex[i], err = encodeThrift(&x); err != nil {
			return err
		}
	}
	b.group.Columns[i].MetaData = m
	return nil
}

var encodings = []format.Encoding{format.Plain, format.RLE}

// index returns the column index of column i.
func (c *column) index(strips []*strip, i int) (x format.ColumnIndex) {
	up, down := true, true
	var last *bounds
	for _, s := range strips {
		b := &s.pages[i].bounds
		x.NullPages = append(x.NullPages, b.min == nil)
		x.MinValues = append(x.MinValues, notNil(b.min))
		x.MaxValues = append(x.MaxValues, notNil(b.max))
		x.NullCounts = append(x.NullCounts, b.nulls)
		if b.min == nil {
			continue
		}
		if last != nil {
			low, high := c.order(last.min, b.min), c.order(last.max, b.max)
			up, down = up && low <= 0 && high <= 0, down && low >= 0 && high >= 0
		}
		last = b
	}
	switch {
	case up:
		x.BoundaryOrder = format.Ascending
	case down:
		x.BoundaryOrder = format.Descending
	}
	return x
}

// statistics returns the bounds of all pages. Some readers take them for values that
// are there, so those that may have been shortened are left out.
func (c *column) statistics(x *format.ColumnIndex) (s format.Statistics) {
	for i, null := range x.NullPages {
		s.NullCount += x.NullCounts[i]
		if null {
			continue
		}
		if low := x.MinValues[i]; s.MinValue == nil || c.order(low, s.MinValue) < 0 {
			s.MinValue = low
		}
		if high := x.MaxValues[i]; s.MaxValue == nil || c.order(high, s.MaxValue) > 0 {
			s.MaxValue = high
		}
	}
	if c.kind == format.ByteArray && (len(s.MinValue) >= boundBytes || len(s.MaxValue) >= boundBytes) {
		s.MinValue, s.MaxValue = nil, nil
	}
	return s
}

// newFilter returns a Bloom filter with room for n IDs, and a quarter more.
func newFilter(n int) bloom.SplitBlockFilter {
	return make(bloom.SplitBlockFilter, bloom.NumSplitBlocksOf(int64(n), filterBits))
}

// filterHolds reports whether a filter has room for n IDs.
func filterHolds(f bloom.SplitBlockFilter, n int) bool {
	return n*filterBits <= (len(f)*bloom.BlockSize*8)*5/4
}

func (b *encoded) addFilter(f bloom.SplitBlockFilter) error {
	bits := f.Bytes()
	head, err := encodeThrift(&format.BloomFilterHeader{
		NumBytes:    int32(len(bits)),
		Algorithm:   format.BloomFilterAlgorithm{Value: &format.SplitBlockAlgorithm{}},
		Hash:        format.BloomFilterHash{Value: &format.XxHash{}},
		Compression: format.BloomFilterCompression{Value: &format.BloomFilterUncompressed{}},
	})
	if err != nil {
		return err
	}
	id := &b.group.Columns[colID].MetaData
	id.BloomFilterOffset, id.BloomFilterLength = b.Head.Size+b.Payload.Size, int32(len(head)+len(bits))
	for _, p := range [][]byte{head, bits} {
		b.data = append(b.data, p)
		b.Filter.add(p)
	}
	return nil
}

// openFilter reads a Bloom filter as Parquet has it.
func openFilter(b []byte) (bloom.SplitBlockFilter, error) {
	r := new(thrift.CompactProtocol).NewReaderFromBytes(b)
	var head format.BloomFilterHeader
	if err := thrift.NewDecoder(r).Decode(&head); err != nil {
		return nil, err
	}
	b = b[r.BytesRead():]
	if len(b) != int(head.NumBytes) || len(b) == 0 || len(b)%bloom.BlockSize != 0 {
		return nil, fmt.Errorf("a filter of %d bytes, but its header says %d", len(b), head.NumBytes)
	}
	return bloom.MakeSplitBlockFilter(b), nil
}

// An offset index says where in the file pages are, so it changes whenever a block
// moves, also if nothing else of the block does: it is read and written here. It is
// Thrift's compact form of format.OffsetIndex: a list of structures.
const (
	offsetIndexStart = 0x19 // field 1, a list
	locationStart    = "\x16"
	locationSize     = "\x15"
	locationFirst    = "\x16"
)

// location is where a page is.
type location struct {
	at    int64
	size  int
	first int // row
}

// appendList appends the head of a list of structures.
func appendList(dst []byte, n int) []byte {
	if n < 15 {
		return append(dst, byte(n)<<4|12)
	}
	return binary.AppendUvarint(append(dst, 0xFC), uint64(n))
}

func appendLocation(dst []byte, at int64, size, first int) []byte {
	dst = binary.AppendVarint(append(dst, locationStart...), at)
	dst = binary.AppendVarint(append(dst, locationSize...), int64(size))
	dst = binary.AppendVarint(append(dst, locationFirst...), int64(first))
	return append(dst, 0)
}

// readLocations visits the locations of an offset index, and reports how many there
// are before the first.
func readLocations(text []byte, count func(n int), visit func(location)) error {
	d := decoder{b: text}
	d.fixed(string(rune(offsetIndexStart)))
	n := int(d.byte())
	if n == 0xFC {
		n = int(d.uvarint())
	} else {
		d.bad = d.bad || n&15 != 12
		n >>= 4
	}
	if d.bad || n < 1 || n > len(d.b) {
		return errIndex
	}
	count(n)
	for range n {
		var p location
		d.fixed(locationStart)
		p.at = d.varint()
		d.fixed(locationSize)
		p.size = int(d.varint())
		d.fixed(locationFirst)
		p.first = int(d.varint())
		d.fixed("\x00")
		if d.bad {
			return errIndex
		}
		visit(p)
	}
	d.fixed("\x00")
	if d.bad || len(d.b) > 0 {
		return errIndex
	}
	return nil
}

var errIndex = errors.New("not a page index that Afterhours writes")

// movedPages returns an offset index of pages that lie elsewhere.
func movedPages(dst, text []byte, by int64) ([]byte, error) {
	err := readLocations(text,
		func(n int) { dst = appendList(append(dst, offsetIndexStart), n) },
		func(p location) { dst = appendLocation(dst, p.at+by, p.size, p.first) })
	return append(dst, 0), err
}

// locations reads an offset index.
func locations(text []byte) (l []location, err error) {
	err = readLocations(text, func(n int) { l = make([]location, 0, n) }, func(p location) { l = append(l, p) })
	return l, err
}

func encodeThrift(v any) ([]byte, error) { return thrift.Marshal(new(thrift.CompactProtocol), v) }

func decodeThrift(b []byte, v any) error { return thrift.Unmarshal(new(thrift.CompactProtocol), b, v) }
