package lake

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"

	"github.com/afterhours/afterhours"
)

// The rows of a block are cut into strips, and a strip has one page in each column.
// So a late row costs the strip that it falls into: the pages of all others are
// copied as they are. No library offers that, which is why pages are written and
// read here: plain values, zstd, data page version 1, as
// https://parquet.apache.org/docs/file-format/ has them. Strings have no dictionary,
// which would tie all strips of a block to each other.

// Bounds of a strip, whichever is reached first: about what is compressed anew for
// one late row. Of rows it has at most this part of what a block may have.
const (
	stripBytes = 64 << 10 // of payloads
	stripShare = 32
)

// zstd at its fastest level: on events as JSON the next one takes a third longer and
// saves 4 % at best. Pages are small, so IDs and times rarely repeat within one, but
// half of their bits are the same: they are worth the coding all the same. Both are
// safe for concurrent use.
var (
	compressor = must(zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithAllLitEntropyCompression(true),
		zstd.WithWindowSize(128<<10), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true)))
	decompressor = must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(math.MaxInt32)))
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // the options are constants
	}
	return v
}

// column is a column as Parquet has it.
type column struct {
	name     string
	kind     format.Type // ByteArray, Int64, Double or Boolean
	optional bool
	indexed  bool // readers are told the bounds of its values
}

// strip is some consecutive rows of a block.
type strip struct {
	first, n int     // which rows
	pages    []page  // by column
	rows     []keyed // what is known of the rows, nil if they were not decoded
	full     bool    // the rows have their payloads
}

// page is what a column has of a strip.
type page struct {
	raw []byte // header and body
	bounds
}

// bounds are the bounds of a page's values, as a column index has them. A strip
// whose values are all null has none.
type bounds struct {
	min, max []byte
	nulls    int64
}

// header is what a page's header says.
type header struct {
	size   int // of the values, uncompressed
	packed int // of the body
	crc    uint32
	n      int // rows
}

// A header is Thrift's compact form of format.PageHeader, with these fields between
// the numbers.
const (
	headStart = "\x15\x00\x15"                     // type: data page; uncompressed size
	headNext  = "\x15"                             // compressed size, then the checksum
	headData  = "\x1c\x15"                         // header of a data page: number of values
	headEnd   = "\x15\x00\x15\x06\x15\x06\x00\x00" // plain values, levels as runs
)

func appendHeader(dst []byte, h header) []byte {
	dst = binary.AppendVarint(append(dst, headStart...), int64(h.size))
	dst = binary.AppendVarint(append(dst, headNext...), int64(h.packed))
	dst = binary.AppendVarint(append(dst, headNext...), int64(int32(h.crc)))
	dst = binary.AppendVarint(append(dst, headData...), int64(h.n))
	return append(dst, headEnd...)
}

var errPage = errors.New("not a page that Afterhours writes")

// parsePage returns a page's header and body.
func parsePage(raw []byte) (h header, body []byte, err error) {
	d := decoder{b: raw}
	d.fixed(headStart)
	h.size = int(d.varint())
	d.fixed(headNext)
	h.packed = int(d.varint())
	d.fixed(headNext)
	h.crc = uint32(d.varint())
	d.fixed(headData)
	h.n = int(d.varint())
	d.fixed(headEnd)
	if d.bad || h.size < 0 || h.size > math.MaxInt32 || h.packed != len(d.b) || h.n < 1 {
		return h, nil, errPage
	}
	return h, d.b, nil
}

// size returns the page's size before compression, with its header.
func (p *page) size() (int64, error) {
	h, body, err := parsePage(p.raw)
	return int64(len(p.raw) - len(body) + h.size), err
}

// stripWriter makes strips. It is for one goroutine at a time.
type stripWriter struct {
	layout *layout
	plain  []byte
	packed []byte
}

// write makes a strip of rows, which have their payloads.
func (w *stripWriter) write(rows []keyed) *strip {
	s := &strip{n: len(rows), pages: make([]page, len(w.layout.cols))}
	for i := range s.pages {
		s.pages[i] = w.page(i, rows)
	}
	return s
}

func (w *stripWriter) page(i int, rows []keyed) (p page) {
	c := &w.layout.cols[i]
	w.plain, p.bounds = c.appendValues(w.plain[:0], i, rows)
	w.packed = compressor.EncodeAll(w.plain, w.packed[:0])
	h := header{len(w.plain), len(w.packed), crc32.ChecksumIEEE(w.packed), len(rows)}
	p.raw = appendHeader(make([]byte, 0, len(w.packed)+40), h)
	p.raw = append(p.raw, w.packed...)
	return p
}

// appendValues appends the values that rows have in column i, and returns their
// bounds.
func (c *column) appendValues(dst []byte, i int, rows []keyed) ([]byte, bounds) {
	var nulls int64
	if c.optional {
		dst, nulls = appendLevels(dst, i, rows)
	}
	start := len(dst)
	var low, high cell
	bits := 0
	for k := range rows {
		v := rows[k].cell(i)
		if !v.set {
			continue
		}
		switch c.kind {
		case format.ByteArray:
			dst = append(binary.LittleEndian.AppendUint32(dst, uint32(len(v.bytes))), v.bytes...)
		case format.Boolean:
			if bits%8 == 0 {
				dst = append(dst, 0)
			}
			dst[start+bits/8] |= byte(v.bits) << (bits % 8)
			bits++
		default:
			dst = binary.LittleEndian.AppendUint64(dst, uint64(v.bits))
		}
		if !low.set || c.indexed && c.compare(v, low) < 0 {
			low = v
		}
		if !high.set || c.indexed && c.compare(v, high) > 0 {
			high = v
		}
	}
	b := bounds{nulls: nulls}
	if low.set && c.indexed {
		b.min, b.max = c.lower(low), c.upper(high)
	}
	return dst, b
}

// appendLevels appends which of the rows have a value in column i: one run, which
// repeats a level or has a bit for each.
func appendLevels(dst []byte, i int, rows []keyed) (_ []byte, nulls int64) {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	for k := range rows {
		if !rows[k].cell(i).set {
			nulls++
		}
	}
	if n := len(rows); nulls == 0 || nulls == int64(n) {
		level := byte(1)
		if nulls > 0 {
			level = 0
		}
		dst = append(binary.AppendUvarint(dst, uint64(n)<<1), level)
	} else {
		groups := (n + 7) / 8
		dst = binary.AppendUvarint(dst, uint64(groups)<<1|1)
		at := len(dst)
		dst = append(dst, make([]byte, groups)...)
		for k := range rows {
			if rows[k].cell(i).set {
				dst[at+k/8] |= 1 << (k % 8)
			}
		}
	}
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst, nulls
}

// compare orders two values of the column.
func (c *column) compare(a, b cell) int {
	switch c.kind {
	case format.ByteArray:
		return bytes.Compare(a.bytes, b.bytes)
	case format.Double:
		return cmp.Compare(math.Float64frombits(uint64(a.bits)), math.Float64frombits(uint64(b.bits)))
	}
	return cmp.Compare(a.bits, b.bits)
}

// boundBytes is how many bytes of a string its bounds have.
const boundBytes = 64

// lower returns a value, or what is shorter and not behind it, as bounds have it.
func (c *column) lower(v cell) []byte {
	switch c.kind {
	case format.ByteArray:
		return bytes.Clone(notNil(v.bytes[:min(len(v.bytes), boundBytes)]))
	case format.Boolean:
		return []byte{byte(v.bits)}
	case format.Double:
		if v.bits<<1 == 0 { // of the two zeros the lower one, as Parquet demands
			return binary.LittleEndian.AppendUint64(nil, 1<<63)
		}
	}
	return binary.LittleEndian.AppendUint64(nil, uint64(v.bits))
}

// upper returns a value, or what is shorter and not before it. The longest run of
// 0xFF has nothing behind it, and stays.
func (c *column) upper(v cell) []byte {
	switch {
	case c.kind == format.Double && v.bits<<1 == 0:
		return make([]byte, 8)
	case c.kind != format.ByteArray || len(v.bytes) <= boundBytes:
		return c.lower(v)
	}
	b := bytes.Clone(v.bytes[:boundBytes])
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return b[:i+1]
		}
	}
	return bytes.Clone(v.bytes)
}

// order compares two bounds of the column.
func (c *column) order(a, b []byte) int { return c.compare(c.bound(a), c.bound(b)) }

func (c *column) bound(b []byte) cell {
	switch {
	case c.kind == format.ByteArray:
		return cell{bytes: b}
	case len(b) == 1:
		return cell{bits: int64(b[0])}
	case len(b) == 8:
		return cell{bits: int64(binary.LittleEndian.Uint64(b))}
	}
	return cell{}
}

// stripReader decodes strips. It is for one goroutine at a time.
type stripReader struct {
	layout *layout
	plain  [][]byte // by column
	recs   []record
	cells  []cell
	key    []byte
}

// read decodes some columns of a strip, the ID first. The records last until the
// next call.
func (r *stripReader) read(s *strip, columns []int) ([]record, error) {
	if r.plain == nil {
		r.plain = make([][]byte, len(r.layout.cols))
	}
	for k, i := range columns {
		values, err := r.decompress(i, s)
		if err == nil && k == 0 {
			err = r.room(s.n, len(values))
		}
		if err == nil {
			err = r.layout.cols[i].values(values, i, r.recs)
		}
		if err != nil {
			return nil, fmt.Errorf("rows %d to %d, column %s: %w", s.first, s.first+s.n, r.layout.cols[i].name, err)
		}
	}
	return r.recs, nil
}

// keep leaves the memory that the records refer to with them, but for their IDs.
func (r *stripReader) keep() {
	r.cells = nil
	for i := range r.plain {
		if i != colID && r.layout.cols[i].kind == format.ByteArray {
			r.plain[i] = nil
		}
	}
}

// room makes room for n records, whose IDs take so many bytes: what a damaged count
// can have allocated.
func (r *stripReader) room(n, bytes int) error {
	if n > bytes {
		return errPage
	}
	declared := len(r.layout.columns)
	r.recs = slices.Grow(r.recs[:0], n)[:n]
	if len(r.cells) < n*declared {
		r.cells = make([]cell, n*declared)
	}
	for i := range r.recs {
		r.recs[i] = record{cells: r.cells[i*declared : (i+1)*declared : (i+1)*declared]}
	}
	return nil
}

// decompress returns the values of column i.
func (r *stripReader) decompress(i int, s *strip) ([]byte, error) {
	h, body, err := parsePage(s.pages[i].raw)
	if err != nil {
		return nil, err
	}
	if h.n != s.n {
		return nil, fmt.Errorf("a page of %d values", h.n)
	}
	if sum := crc32.ChecksumIEEE(body); sum != h.crc {
		return nil, fmt.Errorf("a page has checksum %08x, want %08x", sum, h.crc)
	}
	p, err := decompressor.DecodeAll(body, r.plain[i][:0])
	if err != nil || len(p) != h.size {
		return nil, fmt.Errorf("a page of %d bytes, want %d: %w", len(p), h.size, err)
	}
	r.plain[i] = p
	return p, nil
}

// values gives records their values of column i. The bytes are the page's.
func (c *column) values(p []byte, i int, recs []record) error {
	d := decoder{b: p}
	var levels levels
	if c.optional {
		levels = d.levels(len(recs))
	}
	bits := 0
	for k := range recs {
		v := cell{set: true}
		switch {
		case c.optional && !levels.at(k):
			v.set = false
		case c.kind == format.ByteArray:
			v.bytes = notNil(d.take(int(d.uint32())))
		case c.kind == format.Boolean:
			if bits/8 >= len(d.b) {
				return errPage
			}
			v.bits = int64(d.b[bits/8] >> (bits % 8) & 1)
			bits++
		default:
			v.bits = int64(d.uint64())
		}
		recs[k].set(i, v)
	}
	if c.kind == format.Boolean {
		d.take((bits + 7) / 8)
	}
	if d.bad || len(d.b) > 0 {
		return errPage
	}
	return nil
}

// levels say which rows have a value.
type levels struct {
	all  bool
	bits []byte // if not all are alike
	none bool
}

func (l levels) at(k int) bool { return l.all || !l.none && l.bits[k/8]>>(k%8)&1 == 1 }

// levels reads what appendLevels writes of n rows.
func (d *decoder) levels(n int) (l levels) {
	in := decoder{b: d.take(int(d.uint32()))}
	switch run := in.uvarint(); {
	case run == uint64(n)<<1:
		level := in.byte()
		l.all, l.none = level == 1, level == 0
	case run == uint64((n+7)/8)<<1|1:
		l.bits = in.take((n + 7) / 8)
	}
	if in.bad || len(in.b) > 0 || !l.all && !l.none && l.bits == nil {
		d.bad, l.none = true, true
	}
	return l
}

// cell returns the value of column i.
func (r *record) cell(i int) cell {
	switch d := i - colDeclared; {
	case i == colID:
		return cell{set: true, bytes: r.id}
	case i == colTime:
		return cell{set: true, bits: int64(r.time)}
	case i == colReceived:
		return cell{set: true, bits: int64(r.received)}
	case i == colPayload:
		return cell{set: true, bytes: r.payload}
	case d < len(r.cells):
		return r.cells[d]
	case r.conflict:
		return cell{set: true, bits: 1}
	}
	return cell{set: true}
}

// set sets the value of column i.
func (r *record) set(i int, v cell) {
	switch d := i - colDeclared; {
	case i == colID:
		r.id = v.bytes
	case i == colTime:
		r.time = afterhours.Micros(v.bits)
	case i == colReceived:
		r.received = afterhours.Micros(v.bits)
	case i == colPayload:
		r.payload = v.bytes
	case d < len(r.cells):
		r.cells[d] = v
	default:
		r.conflict = v.bits == 1
	}
}

// same reports whether another record is the same.
func (r *record) same(o *record) bool {
	return bytes.Equal(r.id, o.id) && r.time == o.time && r.received == o.received && r.conflict == o.conflict && bytes.Equal(r.payload, o.payload) &&
		slices.EqualFunc(r.cells, o.cells, func(a, b cell) bool { return a.set == b.set && a.bits == b.bits && bytes.Equal(a.bytes, b.bytes) })
}

// divide divides rows into parts of at most so many rows and bytes of payloads: as
// few as are allowed, and equal ones. One part may be a quarter larger.
func divide(rows []keyed, most int, mostBytes int) (parts [][]keyed) {
	size := 0
	for i := range rows {
		size += len(rows[i].payload)
	}
	most, mostBytes = share(len(rows), most), share(size, mostBytes)
	first, size := 0, 0 // of the part
	for i := range rows {
		n := len(rows[i].payload)
		if i > first && (i-first == most || size+n/2 > mostBytes) {
			parts = append(parts, rows[first:i])
			first, size = i, 0
		}
		size += n
	}
	return append(parts, rows[first:])
}

// share returns how much one part gets of n, which is not divided if it is only a
// quarter more than the limit.
func share(n, limit int) int {
	if n <= limit+limit/4 {
		return n
	}
	parts := (n + limit - 1) / limit
	return (n + parts - 1) / parts
}
