package lake

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// Nearly all bytes of a partition are payloads, so their pages are written here:
// small ones, and those that no late row falls into are copied as they are, when
// all other columns of their block are written anew.

// pageBytes is how large a page of payloads gets before it is compressed, save
// for a larger payload.
const pageBytes = 64 << 10

// page is a data page of payloads.
type page struct {
	first, rows int    // which of the block's rows
	raw         []byte // header and body
	body        []byte // compressed
	size        int    // uncompressed
	sum         uint32
}

// readPages finds the pages of a column chunk, without decoding them.
func readPages(chunk []byte) ([]page, error) {
	var pages []page
	rows := 0
	for at := 0; at < len(chunk); {
		r := new(thrift.CompactProtocol).NewReaderFromBytes(chunk[at:])
		var h format.PageHeader
		if err := thrift.NewDecoder(r).Decode(&h); err != nil {
			return nil, fmt.Errorf("page of payloads %d: %w", len(pages), err)
		}
		start, n := at+r.BytesRead(), int(h.CompressedPageSize)
		d := h.DataPageHeader
		if h.Type != format.DataPage || !d.Valid || d.V.Encoding != format.Plain || n < 0 || n > len(chunk)-start || d.V.NumValues < 1 || h.UncompressedPageSize < 0 {
			return nil, fmt.Errorf("page of payloads %d: not one that Afterhours writes", len(pages))
		}
		p := page{first: rows, rows: int(d.V.NumValues), raw: chunk[at : start+n], body: chunk[start : start+n], size: int(h.UncompressedPageSize), sum: uint32(h.CRC)}
		pages = append(pages, p)
		rows += p.rows
		at = start + n
	}
	return pages, nil
}

// values decodes the page. The values lie in one piece of memory.
func (p *page) values() ([][]byte, error) {
	if sum := crc32.ChecksumIEEE(p.body); sum != p.sum {
		return nil, fmt.Errorf("page of payloads: checksum %08x, want %08x", sum, p.sum)
	}
	plain, err := compression.Decode(make([]byte, 0, p.size), p.body)
	if err != nil || len(plain) != p.size {
		return nil, fmt.Errorf("page of payloads: %d bytes, want %d: %w", len(plain), p.size, err)
	}
	values := make([][]byte, 0, p.rows)
	for len(plain) >= 4 {
		n := int(binary.LittleEndian.Uint32(plain))
		if n > len(plain)-4 {
			break
		}
		values = append(values, plain[4:4+n:4+n])
		plain = plain[4+n:]
	}
	if len(plain) > 0 || len(values) != p.rows {
		return nil, errors.New("page of payloads: other values than its header says")
	}
	return values, nil
}

// source is the rows of a block of the base, their payloads still compressed.
type source struct {
	rows  []keyed
	pages []page

	mu      sync.Mutex
	decoded [][][]byte // payloads by page, nil if they were not needed yet
}

// payload returns the payload of row n.
func (s *source) payload(n int) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.pageOf(n)
	if s.decoded[i] == nil {
		v, err := s.pages[i].values()
		if err != nil {
			return nil, err
		}
		s.decoded[i] = v
	}
	return s.decoded[i][n-s.pages[i].first], nil
}

// record returns row n with its payload.
func (s *source) record(n int) (*record, error) {
	r := s.rows[n].record
	var err error
	r.payload, err = s.payload(n)
	return &r, err
}

// size returns about how many bytes the rows of this kind take in memory.
func (r *keyed) size() int {
	n := len(r.key) + len(r.payload)
	if r.from != nil {
		p := &r.from.pages[r.from.pageOf(r.row)]
		n += p.size / p.rows
	}
	return n
}

// sameHead reports whether another record is the same but for the payload.
func (r *keyed) sameHead(o *record) bool {
	return bytes.Equal(r.id, o.id) && r.time == o.time && r.received == o.received && r.conflict == o.conflict &&
		slices.EqualFunc(r.cells, o.cells, func(a, b cell) bool { return a.set == b.set && a.bits == b.bits && bytes.Equal(a.bytes, b.bytes) })
}

// pageOf returns which page has row n.
func (s *source) pageOf(n int) int {
	lo, hi := 0, len(s.pages)-1
	for lo < hi {
		if mid := (lo + hi + 1) / 2; s.pages[mid].first <= n {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}

// pageAt returns the page of which these rows begin with all rows, nil if they do
// not.
func pageAt(rows []*keyed) *page {
	s := rows[0].from
	if s == nil {
		return nil
	}
	p := &s.pages[s.pageOf(rows[0].row)]
	if p.first != rows[0].row || p.rows > len(rows) {
		return nil
	}
	for i, r := range rows[:p.rows] {
		if r.from != s || r.row != p.first+i {
			return nil
		}
	}
	return p
}

// content returns the payload, wherever it is.
func (r *keyed) content() ([]byte, error) {
	if r.from == nil {
		return r.payload, nil
	}
	return r.from.payload(r.row)
}

// payloadWriter makes the column chunk of a block's payloads.
type payloadWriter struct {
	chunk  []byte
	plain  []byte // of the open page
	open   int    // rows in it
	rows   int
	size   int // of all pages, uncompressed, and their headers
	data   int // bytes of payloads
	index  format.OffsetIndex
	pages  []written
	packed []byte
}

// written is a page of the chunk.
type written struct {
	page
	copied *page // of a source, nil if it was made here
}

// write writes the payloads of rows.
func (w *payloadWriter) write(rows []*keyed) error {
	for len(rows) > 0 {
		if p := pageAt(rows); p != nil {
			if err := w.flush(); err != nil {
				return err
			}
			w.append(p.raw, len(p.raw)-len(p.body), p.rows, p.size, p)
			rows = rows[p.rows:]
			continue
		}
		v, err := rows[0].content()
		if err != nil {
			return err
		}
		if w.open > 0 && len(w.plain)+4+len(v) > pageBytes {
			if err := w.flush(); err != nil {
				return err
			}
		}
		w.plain = append(binary.LittleEndian.AppendUint32(w.plain, uint32(len(v))), v...)
		w.open++
		rows = rows[1:]
	}
	return w.flush()
}

// flush ends the open page.
func (w *payloadWriter) flush() (err error) {
	if w.open == 0 {
		return nil
	}
	if w.packed, err = compression.Encode(w.packed, w.plain); err != nil {
		return err
	}
	head, err := encodeThrift(&format.PageHeader{
		Type: format.DataPage, UncompressedPageSize: int32(len(w.plain)), CompressedPageSize: int32(len(w.packed)),
		CRC: int32(crc32.ChecksumIEEE(w.packed)),
		DataPageHeader: thrift.New(format.DataPageHeader{
			NumValues: int32(w.open), Encoding: format.Plain, DefinitionLevelEncoding: format.RLE, RepetitionLevelEncoding: format.RLE,
		}),
	})
	if err != nil {
		return err
	}
	w.append(append(head, w.packed...), len(head), w.open, len(w.plain), nil)
	w.plain, w.open = w.plain[:0], 0
	return nil
}

// append appends a page, which begins with so many bytes of header.
func (w *payloadWriter) append(raw []byte, head, rows, size int, copied *page) {
	w.index.PageLocations = append(w.index.PageLocations, format.PageLocation{
		Offset: int64(len(w.chunk)), CompressedPageSize: int32(len(raw)), FirstRowIndex: int64(w.rows),
	})
	data := size - 4*rows
	w.index.UnencodedByteArrayDataBytes = append(w.index.UnencodedByteArrayDataBytes, int64(data))
	w.pages = append(w.pages, written{page{first: w.rows, rows: rows}, copied})
	w.chunk = append(w.chunk, raw...)
	w.rows, w.data = w.rows+rows, w.data+data
	w.size += size + head
}

// column describes the chunk, which begins at the given offset.
func (w *payloadWriter) column(at int64) format.ColumnChunk {
	return format.ColumnChunk{MetaData: format.ColumnMetaData{
		Type: format.ByteArray, Encoding: []format.Encoding{format.Plain}, PathInSchema: []string{"payload"}, Codec: format.Zstd,
		NumValues: int64(w.rows), TotalUncompressedSize: int64(w.size), TotalCompressedSize: int64(len(w.chunk)), DataPageOffset: at,
		EncodingStats:  []format.PageEncodingStats{{PageType: format.DataPage, Encoding: format.Plain, Count: int32(len(w.pages))}},
		SizeStatistics: format.SizeStatistics{UnencodedByteArrayDataBytes: int64(w.data)},
	}}
}

// verify reads the chunk back: pages that were copied must be as they were in the
// source, and of the rows that follow each other there; others are decoded.
func (w *payloadWriter) verify(chunk []byte, rows []*keyed) error {
	pages, err := readPages(chunk)
	if err != nil {
		return err
	}
	if len(pages) != len(w.pages) || w.rows != len(rows) {
		return fmt.Errorf("%d pages of payloads, want %d", len(pages), len(w.pages))
	}
	for i := range pages {
		got, want := &pages[i], &w.pages[i]
		if got.first != want.first || got.rows != want.rows {
			return fmt.Errorf("page of payloads %d: other rows than were written", i)
		}
		if part := rows[got.first:][:got.rows]; want.copied != nil {
			if !want.copied.has(part) || !bytes.Equal(got.raw, want.copied.raw) {
				return fmt.Errorf("page of payloads %d: not what was copied", i)
			}
		} else if err := got.holds(part); err != nil {
			return fmt.Errorf("page of payloads %d: %w", i, err)
		}
	}
	return nil
}

// has reports whether the page, of a source, has the payloads of these rows, which
// must be those of their source.
func (p *page) has(rows []*keyed) bool {
	for i, r := range rows {
		if s := r.from; s == nil || &s.pages[s.pageOf(r.row)] != p || r.row != p.first+i {
			return false
		}
	}
	return true
}

// holds reports why the page does not have the payloads of rows.
func (p *page) holds(rows []*keyed) error {
	values, err := p.values()
	if err != nil {
		return err
	}
	for i, r := range rows {
		want, err := r.content()
		if err != nil {
			return err
		}
		if !bytes.Equal(values[i], want) {
			return fmt.Errorf("event %q has another payload", r.id)
		}
	}
	return nil
}
