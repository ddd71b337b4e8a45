package lake

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/parquet-go/parquet-go/bloom"
	"github.com/parquet-go/parquet-go/format"
	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours"
)

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
	var meta format.FileMetaData
	if err := decodeThrift(footer[:len(footer)-footerEnd], &meta); err != nil {
		return nil, fmt.Errorf("not a readable Parquet file: %w", err)
	}
	text, ok := lookup(&meta, manifestKey)
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
	p = &partition{manifest: m, manifestSize: int64(len(text)), groups: meta.RowGroups, sealed: sealed, reader: f, size: size}
	if p.layout, err = layoutOf(m.Columns); err != nil {
		return nil, err
	}
	template, err := p.layout.template()
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(meta.Schema, template.Schema) {
		return nil, fmt.Errorf("its columns are not those that its manifest declares: %s", describe(meta.Schema))
	}
	if err := p.content.UnmarshalText([]byte(m.Content)); err != nil {
		return nil, err
	}
	p.index = sync.OnceValues(p.readIndex)
	return p, p.readTable(&meta)
}

// lookup returns an entry of a footer.
func lookup(meta *format.FileMetaData, key string) (value string, ok bool) {
	for _, kv := range meta.KeyValueMetadata {
		if kv.Key == key {
			return kv.Value, true
		}
	}
	return "", false
}

// describe names the columns of a schema.
func describe(schema []format.SchemaElement) string {
	var names []string
	for i := range schema {
		if e := &schema[i]; e.Type.Valid {
			names = append(names, strings.ToLower(fmt.Sprint(e.RepetitionType.V, " ", e.Type.V, " "))+e.Name)
		}
	}
	return strings.Join(names, ", ")
}

// readTable reads the table of blocks, which must agree with manifest and footer.
func (p *partition) readTable(meta *format.FileMetaData) (err error) {
	text, ok := lookup(meta, blocksKey)
	if !ok {
		return errors.New("a Parquet file without a table of blocks: not written by Afterhours")
	}
	if p.table, err = decodeTable(text); err != nil {
		return err
	}
	all, m := p.table.sums(), p.manifest
	if n := meta.NumRows; n != m.Rows || all.Rows != n || all.Late != m.Late || all.Conflicts != m.Conflicts {
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
		if len(g.Columns) != len(p.layout.cols) || g.NumRows != b.Rows || g.FileOffset != at || g.Columns[colPayload].MetaData.DataPageOffset != at+b.Head.Size {
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
	return b, what.holds(b, at)
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
		var columns, offsets [][]byte
		for j := range p.groups[i].Columns {
			c := &p.groups[i].Columns[j]
			var text []byte
			if c.ColumnIndexLength > 0 {
				text = b[c.ColumnIndexOffset-start:][:c.ColumnIndexLength]
			}
			columns, offsets = append(columns, text), append(offsets, b[c.OffsetIndexOffset-start:][:c.OffsetIndexLength])
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
	return &encoded{block: p.table.Blocks[i], origin: p.starts[i], group: p.groups[i], columnIndex: x.columns[i], offsetIndex: x.offsets[i]}, nil
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
	var blocks []int // most often none: the trail has checked them
	for i := range p.table.Blocks {
		if chosen(i) {
			blocks = append(blocks, i)
		}
	}
	var g errgroup.Group
	var next atomic.Int64
	for range min(processors, len(blocks)) {
		g.Go(func() error {
			buf := make([]byte, min(checkBuffer, p.size))
			for n := int(next.Add(1)) - 1; n < len(blocks); n = int(next.Add(1)) - 1 {
				i := blocks[n]
				if err := p.table.Blocks[i].check(p.reader, p.starts[i], buf); err != nil {
					return fmt.Errorf("block %d: %w", i, err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// holds reports whether bytes, which were read at an offset, are the part.
func (p part) holds(b []byte, at int64) error {
	if checksumOf(b) == p.Sum {
		return nil
	}
	return p.damaged(at)
}

// damaged is the error of a part, at an offset, whose bytes are others.
func (p part) damaged(at int64) error {
	return fmt.Errorf("damaged: bytes %d to %d do not match their checksum", at, at+p.Size)
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
	return processors
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

// blockRows visits every row of a block. The record is overwritten after each
// visit.
func (p *partition) blockRows(i int, visit func(*record) error) error {
	src, err := p.strips(i, true)
	if err != nil {
		return err
	}
	return src.visit(p.layout.physical, visit)
}

// ids visits the ID of every row of a block, reading no other column.
func (p *partition) ids(i int, visit func(row int, id []byte) error) error {
	src, err := p.strips(i, false)
	if err == nil {
		n := 0
		err = src.visit([]int{colID}, func(r *record) error {
			if err := visit(n, r.id); err != nil {
				return stopped{err}
			}
			n++
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("block %d: %w", i, err)
	}
	return nil
}

// strips reads block i, or its head only, without decoding anything.
func (p *partition) strips(i int, payloads bool) (*source, error) {
	x, err := p.index()
	if err != nil {
		return nil, err
	}
	head, err := p.head(i)
	if err != nil {
		return nil, err
	}
	s := &source{layout: p.layout, rows: int(p.table.Blocks[i].Rows)}
	for j := range p.layout.cols {
		data, start := head, p.starts[i]
		if j == colPayload {
			if !payloads {
				continue
			}
			if data, err = p.payloads(i); err != nil {
				return nil, err
			}
			start += int64(len(head))
		}
		pages, err := locations(x.offsets[i][j])
		if err == nil {
			err = s.pages(j, pages, data, start)
		}
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", p.layout.cols[j].name, err)
		}
	}
	return s, nil
}

// bound gives the strips of block i the bounds of their pages.
func (p *partition) bound(i int, s *source) error {
	x, err := p.index()
	if err == nil {
		err = s.bound(x.columns[i])
	}
	if err != nil {
		return fmt.Errorf("page index of block %d: %w", i, err)
	}
	return nil
}
