package lake

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/bloom"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours"
)

// readBuffer is how much of a column is read at once.
const readBuffer = 64 << 10

// blocksAhead is how many blocks of an object in a bucket are fetched at once.
const blocksAhead = 4

// partition is an open Parquet file of the lake. Its methods may be called by
// several goroutines at once.
type partition struct {
	manifest     *Manifest
	manifestSize int64 // of its text
	layout       *layout
	table        *table
	content      content // of all rows
	groups       []format.RowGroup
	starts       []int64 // of the blocks, and of the page index behind them
	sealed       int64   // where the seal stands

	reader io.ReaderAt
	size   int64

	index func() (*pageIndex, error)
}

// stopped marks an error that came from a visitor, not from the file.
type stopped struct{ error }

// Unwrap returns the visitor's error.
func (s stopped) Unwrap() error { return s.error }

// guard turns a panic of parquet-go into an error.
func guard(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("parquet: %v", p)
	}
}

// openPartition reads the footer of a partition of the given hour, and nothing
// else. It fails if the file is anything but what this build would write for that
// hour.
func openPartition(f io.ReaderAt, size int64, h afterhours.Hour) (p *partition, err error) {
	defer guard(&err)
	sealed, footer, err := openSeal(f, size)
	if err != nil {
		return nil, err
	}
	file, err := openParquet(&end{footer, size - int64(len(footer))}, size)
	if err != nil {
		return nil, err
	}
	text, ok := file.Lookup(manifestKey)
	if !ok {
		return nil, errors.New("a Parquet file without a manifest: not written by Afterhours")
	}
	m, err := decodeManifest(text)
	if err != nil {
		return nil, err
	}
	if m.Hour != h {
		return nil, fmt.Errorf("partition says that it is of hour %s", m.Hour)
	}
	l, err := layoutOf(m.Columns)
	if err != nil {
		return nil, err
	}
	if got, want := file.Schema().String(), l.schema.String(); got != want {
		return nil, fmt.Errorf("its columns are not those that its manifest declares: %s", strings.Join(strings.Fields(got), " "))
	}
	p = &partition{manifest: m, manifestSize: int64(len(text)), layout: l, groups: file.Metadata().RowGroups, sealed: sealed, reader: f, size: size}
	if err := p.content.UnmarshalText([]byte(m.Content)); err != nil {
		return nil, err
	}
	p.index = sync.OnceValues(p.readIndex)
	return p, p.readTable(file)
}

func openParquet(f io.ReaderAt, size int64) (*parquet.File, error) {
	file, err := parquet.OpenFile(f, size, parquet.ReadBufferSize(readBuffer),
		parquet.SkipMagicBytes(true), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, fmt.Errorf("not a readable Parquet file: %w", err)
	}
	return file, nil
}

// readTable reads the table of blocks, which must agree with manifest and footer.
func (p *partition) readTable(file *parquet.File) (err error) {
	text, ok := file.Lookup(blocksKey)
	if !ok {
		return errors.New("a Parquet file without a table of blocks: not written by Afterhours")
	}
	if p.table, err = decodeTable(text); err != nil {
		return err
	}
	all, m := p.table.sums(), p.manifest
	if n := file.NumRows(); n != m.Rows || all.Rows != n || all.Late != m.Late || all.Conflicts != m.Conflicts {
		return fmt.Errorf("footer says %d rows, manifest %d with %d late and %d conflicts, table of blocks %d with %d and %d",
			n, m.Rows, m.Late, m.Conflicts, all.Rows, all.Late, all.Conflicts)
	}
	if len(p.groups) != len(p.table.Blocks) {
		return fmt.Errorf("%d row groups, but %d blocks", len(p.groups), len(p.table.Blocks))
	}
	at := int64(len(parquetMark))
	for i, b := range p.table.Blocks {
		p.starts = append(p.starts, at)
		g := &p.groups[i]
		if len(g.Columns) <= colPayload || g.NumRows != b.Rows || g.FileOffset != at || g.Columns[colPayload].MetaData.DataPageOffset != at+b.Head.Size {
			return fmt.Errorf("row group %d is not where the table of blocks has it", i)
		}
		at += b.size()
	}
	p.starts = append(p.starts, at)
	if at > p.sealed {
		return fmt.Errorf("blocks of %d bytes in a file of %d", at, p.size)
	}
	return nil
}

// part reads a part of the file, which is as it was written.
func (p *partition) part(at int64, what part) ([]byte, error) {
	b := make([]byte, what.Size)
	if err := readAt(p.reader, b, at); err != nil {
		return nil, err
	}
	if checksumOf(b) != what.Sum {
		return nil, fmt.Errorf("damaged: bytes %d to %d do not match their checksum", at, at+what.Size)
	}
	return b, nil
}

// head reads the head of a block.
func (p *partition) head(i int) ([]byte, error) {
	b := &p.table.Blocks[i]
	return p.part(p.starts[i], b.Head)
}

// payloads reads the column of payloads of a block.
func (p *partition) payloads(i int) ([]byte, error) {
	b := &p.table.Blocks[i]
	return p.part(p.starts[i]+b.Head.Size, b.Payload)
}

// filter reads the Bloom filter of a block.
func (p *partition) filter(i int) (bloom.SplitBlockFilter, error) {
	b := &p.table.Blocks[i]
	data, err := p.part(p.starts[i]+b.Head.Size+b.Payload.Size, b.Filter)
	if err != nil {
		return nil, fmt.Errorf("filter of block %d: %w", i, err)
	}
	f, err := openFilter(data)
	if err != nil {
		return nil, fmt.Errorf("filter of block %d: %w", i, err)
	}
	return f, nil
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

// readIndex reads the page index.
func (p *partition) readIndex() (x *pageIndex, err error) {
	defer guard(&err)
	start := p.starts[len(p.starts)-1]
	b, err := p.part(start, part{p.sealed - start, p.table.Index})
	if err != nil {
		return nil, fmt.Errorf("page index: %w", err)
	}
	x = &pageIndex{}
	for i := range p.groups {
		var columns [][]byte
		offsets := make([]format.OffsetIndex, len(p.groups[i].Columns))
		for j := range p.groups[i].Columns {
			c := &p.groups[i].Columns[j]
			var text []byte
			if c.ColumnIndexLength > 0 {
				text = b[c.ColumnIndexOffset-start:][:c.ColumnIndexLength]
			}
			columns = append(columns, text)
			if err := decodeThrift(b[c.OffsetIndexOffset-start:][:c.OffsetIndexLength], &offsets[j]); err != nil {
				return nil, fmt.Errorf("page index of block %d: %w", i, err)
			}
		}
		x.columns, x.offsets = append(x.columns, columns), append(x.offsets, offsets)
	}
	return x, nil
}

// described returns a block without its data.
func (p *partition) described(i int) (*encoded, error) {
	x, err := p.index()
	if err != nil {
		return nil, err
	}
	start := p.starts[i]
	b := &encoded{block: p.table.Blocks[i], group: moved(&p.groups[i], -start), columnIndex: x.columns[i]}
	for _, pages := range x.offsets[i] {
		b.offsetIndex = append(b.offsetIndex, movedPages(pages, -start))
	}
	return b, nil
}

// checkEnds makes sure that what lies around the blocks is as it was written.
func (p *partition) checkEnds() error {
	var mark [len(parquetMark)]byte
	if err := readAt(p.reader, mark[:], 0); err != nil {
		return err
	}
	if string(mark[:]) != parquetMark {
		return fmt.Errorf("damaged: the file begins with %q", mark[:])
	}
	_, err := p.index()
	return err
}

// check makes sure that all that is before the footer, of the blocks those that are
// chosen, is as it was written.
func (p *partition) check(chosen func(block int) bool) error {
	if err := p.checkEnds(); err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range p.table.Blocks {
		if !chosen(i) {
			continue
		}
		g.Go(func() error {
			p, err := p.fetched(i, p.table.Blocks[i].size())
			if err != nil {
				return err
			}
			_, err = p.head(i)
			if err == nil {
				_, err = p.payloads(i)
			}
			if err != nil {
				return fmt.Errorf("block %d: %w", i, err)
			}
			_, err = p.filter(i)
			return err
		})
	}
	return g.Wait()
}

// rows visits every row in the order of the file. The record is overwritten
// after each visit.
func (p *partition) rows(visit func(*record) error) error {
	if err := p.checkEnds(); err != nil {
		return err
	}
	return p.inOrder((*block).size, func(p *partition, i int) error {
		err := p.blockRows(i, func(r *record) error {
			if err := visit(r); err != nil {
				return stopped{err}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
		return nil
	})
}

// allIDs visits the ID of every row in the order of the file, reading heads only.
func (p *partition) allIDs(visit func(row int, id []byte) error) error {
	head := func(b *block) int64 { return b.Head.Size }
	return p.inOrder(head, func(p *partition, i int) error { return p.ids(i, visit) })
}

// inOrder visits the blocks in order, of each so many bytes at hand. Of an object in a
// bucket the next ones are on their way meanwhile.
func (p *partition) inOrder(size func(*block) int64, visit func(p *partition, i int) error) error {
	var ahead []func() (*partition, error)
	for i := range p.table.Blocks {
		for n := i + len(ahead); len(ahead) < blocksAhead && n < len(p.table.Blocks); n++ {
			ahead = append(ahead, p.fetching(n, size))
		}
		at, err := ahead[0]()
		if err == nil {
			err = visit(at, i)
		}
		if err != nil {
			return err
		}
		ahead = ahead[1:]
	}
	return nil
}

// fetching begins to fetch block i, and returns what waits for it.
func (p *partition) fetching(i int, size func(*block) int64) func() (*partition, error) {
	if !p.isRemote() {
		return func() (*partition, error) { return p, nil }
	}
	done := make(chan struct{})
	var at *partition
	var err error
	go func() {
		defer close(done)
		at, err = p.fetched(i, size(&p.table.Blocks[i]))
	}()
	return func() (*partition, error) {
		<-done
		return at, err
	}
}

// fetched returns the partition with the first bytes of block i at hand, fetched by
// one request, if it is in a bucket, and as it is otherwise.
func (p *partition) fetched(i int, size int64) (*partition, error) {
	if !p.isRemote() {
		return p, nil
	}
	b := make([]byte, size)
	if err := readAt(p.reader, b, p.starts[i]); err != nil {
		return nil, fmt.Errorf("block %d: %w", i, err)
	}
	at := *p
	at.reader = &end{b, p.starts[i]}
	return &at, nil
}

// isRemote reports whether reading takes requests.
func (p *partition) isRemote() bool {
	_, yes := p.reader.(*remote)
	return yes
}

// smallReads is how many small reads of the partition are worth making at once.
func (p *partition) smallReads() int {
	if p.isRemote() {
		return remoteReads
	}
	return runtime.GOMAXPROCS(0)
}

// sum returns the checksum of the whole file by those of its parts.
func (p *partition) sum() (checksum, error) {
	sum := checksumOf([]byte(parquetMark))
	for i := range p.table.Blocks {
		b := &p.table.Blocks[i]
		for _, part := range []part{b.Head, b.Payload, b.Filter} {
			sum = sum.then(part.Sum, part.Size)
		}
	}
	sum = sum.then(p.table.Index, p.sealed-p.starts[len(p.table.Blocks)])
	end := make([]byte, p.size-p.sealed)
	if err := readAt(p.reader, end, p.sealed); err != nil {
		return 0, err
	}
	return sum.then(checksumOf(end), int64(len(end))), nil
}

// blockRows visits every row of a block.
func (p *partition) blockRows(i int, visit func(*record) error) error {
	chunk, err := p.payloads(i)
	if err != nil {
		return err
	}
	pages, err := readPages(chunk)
	if err != nil {
		return err
	}
	var values [][]byte
	err = p.heads(i, func(r *record) error {
		if len(values) == 0 {
			if len(pages) == 0 {
				return errors.New("more rows than payloads")
			}
			if values, err = pages[0].values(); err != nil {
				return err
			}
			pages = pages[1:]
		}
		r.payload, values = values[0], values[1:]
		return visit(r)
	})
	if err == nil && len(values)+len(pages) > 0 {
		err = errors.New("more payloads than rows")
	}
	return err
}

// heads visits every row of a block, without its payload. The record is overwritten
// after each visit.
func (p *partition) heads(i int, visit func(*record) error) error {
	head, err := p.head(i)
	if err != nil {
		return err
	}
	return p.layout.decode(head, moved(&p.groups[i], -p.starts[i]), visit)
}

// ids visits the ID of every row of a block, reading no other column.
func (p *partition) ids(i int, visit func(row int, id []byte) error) (err error) {
	defer guard(&err)
	head, err := p.head(i)
	if err != nil {
		return fmt.Errorf("block %d: %w", i, err)
	}
	g, err := p.layout.open(head, moved(&p.groups[i], -p.starts[i]))
	if err != nil {
		return err
	}
	c := columnReader{pages: g.ColumnChunks()[colID].Pages()}
	defer c.close()
	for n := range int(g.NumRows()) {
		v, err := c.next()
		if err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
		if err := visit(n, v.ByteArray()); err != nil {
			return stopped{err}
		}
	}
	return c.end()
}

// open opens a row group by its head, described as if its file began with it.
func (l *layout) open(head []byte, g format.RowGroup) (parquet.RowGroup, error) {
	g.Ordinal = 0
	meta, err := l.footer([]format.RowGroup{g})
	if err != nil {
		return nil, err
	}
	footer, err := encodeFooter(meta)
	if err != nil {
		return nil, err
	}
	// As long as the group is, of which the rest is never read.
	at := max(int64(len(head)), g.Columns[colPayload].MetaData.DataPageOffset+g.Columns[colPayload].MetaData.TotalCompressedSize)
	file, err := openParquet(&twoParts{head, footer, at}, at+int64(len(footer)))
	if err != nil {
		return nil, err
	}
	return file.RowGroups()[0], nil
}

// decode visits the rows of a head. The record is overwritten after each visit.
func (l *layout) decode(head []byte, g format.RowGroup, visit func(*record) error) (err error) {
	defer guard(&err)
	group, err := l.open(head, g)
	if err != nil {
		return err
	}
	r := newGroupReader(group, l)
	defer r.close()
	for range group.NumRows() {
		if err := r.next(); err != nil {
			return err
		}
		if err := visit(&r.rec); err != nil {
			return err
		}
	}
	return r.end()
}

// twoParts is a file of which only the beginning and the end are at hand.
type twoParts struct {
	head, footer []byte
	at           int64 // where the footer begins
}

// ReadAt reads what lies within one of the parts.
func (f *twoParts) ReadAt(p []byte, off int64) (int, error) {
	part, start := f.head, int64(0)
	if off >= f.at {
		part, start = f.footer, f.at
	}
	return (&end{part, start}).ReadAt(p, off)
}
