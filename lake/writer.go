package lake

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/parquet-go/parquet-go/format"
)

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
	trail  *trail  // of the blocks in the file
}

// pageIndex is the page index of a partition's blocks.
type pageIndex struct {
	columns [][][]byte // by block and column, as it is written
	offsets [][][]byte // likewise
	by      []int64    // by block: how far its pages lie behind where offsets has them
}

// copyRun is a run of blocks of the base that are still to be copied.
type copyRun struct {
	from   io.ReaderAt
	start  int64
	size   int64
	blocks []block
}

// copiedAtOnce is about how much is copied before it is checked.
const copiedAtOnce = 8 << 20

func newPartitionFile(out *bufio.Writer, l *layout, t *trail) (*partitionFile, error) {
	f := &partitionFile{out: out, layout: l, trail: t}
	return f, f.write([]byte(parquetMark))
}

func (f *partitionFile) write(b []byte) error {
	n, err := f.out.Write(b)
	f.wrote(int64(n))
	return err
}

// wrote says that the file has grown.
func (f *partitionFile) wrote(n int64) {
	f.append(n, f.filled, false)
	f.filled += n
}

// append adds a stretch to the pieces.
func (f *partitionFile) append(size, from int64, base bool) {
	if last := len(f.pieces) - 1; last >= 0 && f.pieces[last].base == base && f.pieces[last].from+f.pieces[last].size == from {
		f.pieces[last].size += size
	} else {
		f.pieces = append(f.pieces, piece{at: f.at, size: size, from: from, base: base})
	}
	f.at += size
}

// put writes a block.
func (f *partitionFile) put(b *encoded) error {
	if err := f.endRun(); err != nil {
		return err
	}
	from, at := f.filled, f.at
	f.list(b, at)
	for _, part := range b.data {
		if err := f.write(part); err != nil {
			return err
		}
	}
	if err := f.out.Flush(); err != nil {
		return err
	}
	f.trail.follow(from, at, []block{b.block})
	return nil
}

// list describes a block that begins at the given offset.
func (f *partitionFile) list(b *encoded, at int64) {
	g := moved(&b.group, at-b.origin)
	g.Ordinal = int16(len(f.groups))
	f.groups = append(f.groups, g)
	f.table.Blocks = append(f.table.Blocks, b.block)
	f.index.columns = append(f.index.columns, b.columnIndex)
	f.index.offsets = append(f.index.offsets, b.offsetIndex)
	f.index.by = append(f.index.by, at-b.origin)
}

// copy takes over a block of another partition as it is. Blocks that lie side by side
// are copied together.
func (f *partitionFile) copy(p *partition, i int) error {
	start := p.starts[i]
	if f.run.size == 0 || f.run.start+f.run.size != start || f.run.size >= copiedAtOnce {
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
	f.run.blocks = append(f.run.blocks, b.block)
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
		f.append(r.size, r.start, true)
		return nil
	}
	// With nothing in the buffer the copying is left to the file.
	from, at := f.filled, f.at
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
	f.trail.follow(from, at, r.blocks)
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
		for j, text := range columns {
			start := len(b)
			if b, err = movedPages(b, text, f.index.by[i]); err != nil {
				return nil, err
			}
			c := &f.groups[i].Columns[j]
			c.OffsetIndexOffset, c.OffsetIndexLength = f.at+int64(start), int32(len(b)-start)
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
