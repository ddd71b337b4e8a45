package lake

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// batchRows is how many rows are handed to parquet-go at once. It ends a page only
// between two such batches.
const batchRows = 256

// compression is zstd at its fastest level: on events as JSON the next one takes
// a third longer and saves 4 % at best.
var compression = &zstd.Codec{Level: zstd.SpeedFastest}

// encoder makes blocks. All columns but the payloads are written to a Parquet file
// of their own, of which the block's head is cut out. It is for one goroutine at a
// time.
type encoder struct {
	layout *layout
	buf    bytes.Buffer
	w      *parquet.GenericWriter[any]
	batch  [][]parquet.Value // by column
}

// encoded is a block on its way into a partition. Its offsets are those of a file
// that begins with the block.
type encoded struct {
	block
	data        [][]byte // head, payloads and filter
	group       format.RowGroup
	columnIndex [][]byte // of each column, as it is written; payloads have none
	offsetIndex []format.OffsetIndex
}

func newEncoder(l *layout) *encoder {
	e := &encoder{layout: l}
	e.w = parquet.NewGenericWriter[any](&e.buf, l.heads,
		parquet.Compression(compression),
		parquet.DataPageVersion(1),
		// The column index has the same, and page headers would repeat each
		// bound four times, whatever its size.
		parquet.DataPageStatistics(false),
		parquet.BloomFilters(parquet.SplitBlockFilter(filterBits, "event_id")),
	)
	e.batch = make([][]parquet.Value, len(e.w.ColumnWriters()))
	return e
}

// encode makes a block of rows, at least one, and returns it with its payloads'
// writer. Only the parts of its entry in the table are set.
func (e *encoder) encode(rows []*keyed) (b *encoded, payloads *payloadWriter, err error) {
	defer guard(&err)
	payloads = &payloadWriter{}
	if err := payloads.write(rows); err != nil {
		return nil, nil, err
	}
	e.buf.Reset()
	e.w.Reset(&e.buf)
	for i, r := range rows {
		e.add(&r.record)
		if i%batchRows == batchRows-1 || i == len(rows)-1 {
			if err := e.flush(); err != nil {
				return nil, nil, err
			}
		}
	}
	if err := e.w.Close(); err != nil {
		return nil, nil, err
	}
	b, err = e.cut(bytes.Clone(e.buf.Bytes()), payloads)
	return b, payloads, err
}

func (e *encoder) add(r *record) {
	e.put(colID, parquet.ByteArrayValue(r.id))
	e.put(colTime, parquet.Int64Value(int64(r.time)))
	e.put(colReceived, parquet.Int64Value(int64(r.received)))
	for i, c := range r.cells {
		e.put(headDeclared+i, c.value(e.layout.columns[i].Type, headDeclared+i))
	}
	e.put(len(e.batch)-1, parquet.BooleanValue(r.conflict))
}

func (e *encoder) put(i int, v parquet.Value) { e.batch[i] = append(e.batch[i], v) }

func (e *encoder) flush() error {
	cols := e.w.ColumnWriters()
	for i, values := range e.batch {
		if n, err := cols[i].WriteRowValues(values); err != nil || n != len(values) {
			return fmt.Errorf("write column %d: %d of %d values: %w", i, n, len(values), err)
		}
		e.batch[i] = values[:0]
	}
	return nil
}

// cut makes a block of the head's file, which has one row group, and the payloads.
// It keeps the memory of both.
func (e *encoder) cut(file []byte, payloads *payloadWriter) (*encoded, error) {
	n, err := footerSize(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, err
	}
	var meta format.FileMetaData
	if err := decodeThrift(file[len(file)-int(n):len(file)-footerEnd], &meta); err != nil {
		return nil, err
	}
	if len(meta.RowGroups) != 1 {
		return nil, fmt.Errorf("parquet-go made %d row groups of a block", len(meta.RowGroups))
	}
	g := meta.RowGroups[0]
	start, filter := g.FileOffset, g.Columns[colID].MetaData
	end := filter.BloomFilterOffset + int64(filter.BloomFilterLength)
	b := &encoded{data: [][]byte{file[start:filter.BloomFilterOffset], payloads.chunk, file[filter.BloomFilterOffset:end]}}
	b.Head, b.Payload, b.Filter = partOf(b.data[0]), partOf(b.data[1]), partOf(b.data[2])
	b.group = moved(&g, -start)
	for i := range g.Columns {
		c := &g.Columns[i]
		b.columnIndex = append(b.columnIndex, file[c.ColumnIndexOffset:][:c.ColumnIndexLength])
		var pages format.OffsetIndex
		if err := decodeThrift(file[c.OffsetIndexOffset:][:c.OffsetIndexLength], &pages); err != nil {
			return nil, err
		}
		b.offsetIndex = append(b.offsetIndex, movedPages(pages, -start))
	}
	b.group.Columns[colID].MetaData.BloomFilterOffset = b.Head.Size + b.Payload.Size
	chunk := payloads.column(b.Head.Size)
	b.group.Columns = slices.Insert(b.group.Columns, colPayload, chunk)
	b.group.TotalByteSize += chunk.MetaData.TotalUncompressedSize
	b.group.TotalCompressedSize += chunk.MetaData.TotalCompressedSize
	// Not left to parquet-go, whose writers forget it when they are used again.
	b.group.SortingColumns = e.layout.sorting()
	b.columnIndex = slices.Insert(b.columnIndex, colPayload, nil)
	b.offsetIndex = slices.Insert(b.offsetIndex, colPayload, movedPages(payloads.index, b.Head.Size))
	return b, nil
}

// moved returns a row group as it is described when it lies elsewhere in a file.
func moved(g *format.RowGroup, by int64) format.RowGroup {
	m := *g
	m.FileOffset += by
	m.Columns = slices.Clone(g.Columns)
	for i := range m.Columns {
		c := &m.Columns[i]
		c.ColumnIndexOffset, c.ColumnIndexLength, c.OffsetIndexOffset, c.OffsetIndexLength = 0, 0, 0, 0
		c.MetaData.DataPageOffset += by
		if c.MetaData.DictionaryPageOffset != 0 {
			c.MetaData.DictionaryPageOffset += by
		}
		if c.MetaData.BloomFilterLength != 0 {
			c.MetaData.BloomFilterOffset += by
		}
	}
	return m
}

func movedPages(x format.OffsetIndex, by int64) format.OffsetIndex {
	x.PageLocations = slices.Clone(x.PageLocations)
	for i := range x.PageLocations {
		x.PageLocations[i].Offset += by
	}
	return x
}

func encodeThrift(v any) ([]byte, error) { return thrift.Marshal(new(thrift.CompactProtocol), v) }

func decodeThrift(b []byte, v any) error { return thrift.Unmarshal(new(thrift.CompactProtocol), b, v) }

// partitionFile writes a partition of blocks. It is for one goroutine.
type partitionFile struct {
	out    *bufio.Writer
	layout *layout
	at     int64 // bytes written, and left in the base
	table  table
	groups []format.RowGroup
	index  pageIndex
	run    copyRun

	pieces []piece
	filled int64   // bytes of the file
	remote *remote // the base, if anything was left there
}

// pageIndex is the page index of a partition's blocks.
type pageIndex struct {
	columns [][][]byte             // by block and column, as it is written
	offsets [][]format.OffsetIndex // likewise
}

// copyRun is a run of bytes of the base that is still to be copied.
type copyRun struct {
	from  io.ReaderAt
	start int64
	size  int64
}

func newPartitionFile(out *bufio.Writer, l *layout) (*partitionFile, error) {
	f := &partitionFile{out: out, layout: l}
	return f, f.write([]byte(parquetMark))
}

func (f *partitionFile) write(b []byte) error {
	n, err := f.out.Write(b)
	f.wrote(int64(n))
	return err
}

// wrote says that the file has grown.
func (f *partitionFile) wrote(n int64) {
	if last := len(f.pieces) - 1; last >= 0 && !f.pieces[last].base {
		f.pieces[last].size += n
	} else {
		f.pieces = append(f.pieces, piece{at: f.at, size: n, from: f.filled})
	}
	f.at, f.filled = f.at+n, f.filled+n
}

// put writes a block.
func (f *partitionFile) put(b *encoded) error {
	if err := f.endRun(); err != nil {
		return err
	}
	f.list(b, f.at)
	for _, part := range b.data {
		if err := f.write(part); err != nil {
			return err
		}
	}
	return nil
}

// list describes a block that begins at the given offset.
func (f *partitionFile) list(b *encoded, at int64) {
	g := moved(&b.group, at)
	g.Ordinal = int16(len(f.groups))
	f.groups = append(f.groups, g)
	f.table.Blocks = append(f.table.Blocks, b.block)
	f.index.columns = append(f.index.columns, b.columnIndex)
	pages := make([]format.OffsetIndex, len(b.offsetIndex))
	for i := range pages {
		pages[i] = movedPages(b.offsetIndex[i], at)
	}
	f.index.offsets = append(f.index.offsets, pages)
}

// copy takes over a block of another partition as it is. Blocks that lie side by side
// are copied at once.
func (f *partitionFile) copy(p *partition, i int) error {
	start := p.starts[i]
	if f.run.size == 0 || f.run.start+f.run.size != start {
		if err := f.endRun(); err != nil {
			return err
		}
		f.run = copyRun{from: p.reader, start: start}
	}
	b, err := p.described(i)
	if err != nil {
		return refuse(err)
	}
	f.list(b, f.at+f.run.size)
	f.run.size += b.size()
	return nil
}

// endRun copies what is to be copied. Bytes in a bucket stay there: it is for the
// upload to know how they are come by.
func (f *partitionFile) endRun() error {
	r := f.run
	f.run = copyRun{}
	if r.size == 0 {
		return nil
	}
	if base, ok := r.from.(*remote); ok {
		f.remote = base
		f.pieces = append(f.pieces, piece{at: f.at, size: r.size, from: r.start, base: true})
		f.at += r.size
		return nil
	}
	// With nothing in the buffer the copying is left to the file.
	err := f.out.Flush()
	var n int64
	if err == nil {
		n, err = f.out.ReadFrom(r.reader())
		f.wrote(n)
	}
	if err == nil && n != r.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("write partition: copy bytes %d to %d of the base: %w", r.start, r.start+r.size, err)
	}
	return nil
}

// reader reads the run. From one file to another the kernel can copy, but only
// from a file's own offset.
func (r copyRun) reader() io.Reader {
	if file, ok := r.from.(*os.File); ok {
		if _, err := file.Seek(r.start, io.SeekStart); err == nil {
			return io.LimitReader(file, r.size)
		}
	}
	return io.NewSectionReader(r.from, r.start, r.size)
}

// close writes the page index, the seal and a footer with the manifest's text.
func (f *partitionFile) close(manifest string) error {
	index, err := f.indexBytes()
	if err != nil {
		return err
	}
	f.table.Index = checksumOf(index)
	blocks, err := f.table.encode()
	if err != nil {
		return err
	}
	if err := f.write(index); err != nil {
		return err
	}
	return f.end([]format.KeyValue{{Key: blocksKey, Value: blocks}, {Key: manifestKey, Value: manifest}})
}

// end writes the seal and a footer with these entries.
func (f *partitionFile) end(entries []format.KeyValue) (err error) {
	defer guard(&err)
	meta, err := f.layout.footer(f.groups)
	if err != nil {
		return err
	}
	meta.KeyValueMetadata = entries
	footer, err := encodeFooter(meta)
	if err != nil {
		return err
	}
	return f.write(append(appendSeal(nil, footer), footer...))
}

// indexBytes returns the page index, and makes the row groups refer to it. All
// that is copied has been by then.
func (f *partitionFile) indexBytes() (b []byte, err error) {
	defer guard(&err)
	if err := f.endRun(); err != nil {
		return nil, err
	}
	for i, columns := range f.index.columns {
		for j, text := range columns {
			if len(text) == 0 {
				continue
			}
			c := &f.groups[i].Columns[j]
			c.ColumnIndexOffset, c.ColumnIndexLength = f.at+int64(len(b)), int32(len(text))
			b = append(b, text...)
		}
	}
	for i, columns := range f.index.offsets {
		for j := range columns {
			text, err := encodeThrift(&columns[j])
			if err != nil {
				return nil, err
			}
			c := &f.groups[i].Columns[j]
			c.OffsetIndexOffset, c.OffsetIndexLength = f.at+int64(len(b)), int32(len(text))
			b = append(b, text...)
		}
	}
	return b, nil
}

// encodeFooter returns a footer with its length and mark.
func encodeFooter(meta *format.FileMetaData) ([]byte, error) {
	b, err := encodeThrift(meta)
	if err != nil {
		return nil, err
	}
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(b))), parquetMark...), nil
}
