package lake

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/afterhours/afterhours"
)

// readBuffer is how much of a column is read at once.
const readBuffer = 64 << 10

// partition is an open Parquet file of the lake.
type partition struct {
	file     *parquet.File
	manifest *Manifest
	layout   *layout

	manifestSize int64 // of its text

	reader io.ReaderAt
	seal   seal
	intact bool // what the seal seals is as it was
}

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
	sealed, err := openSeal(f, size)
	if err != nil {
		return nil, err
	}
	file, err := parquet.OpenFile(f, size, parquet.ReadBufferSize(readBuffer),
		parquet.SkipMagicBytes(true), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, fmt.Errorf("not a readable Parquet file: %w", err)
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
	l, err := newLayout(m.Columns)
	if err != nil {
		return nil, err
	}
	if got, want := file.Schema().String(), l.schema.String(); got != want {
		return nil, fmt.Errorf("its columns are not those that its manifest declares: %s", strings.Join(strings.Fields(got), " "))
	}
	if n := file.NumRows(); n != m.Rows {
		return nil, fmt.Errorf("footer says %d rows, manifest says %d", n, m.Rows)
	}
	return &partition{file: file, manifest: m, layout: l, manifestSize: int64(len(text)), reader: f, seal: sealed}, nil
}

// check makes sure, once, that what is before the footer is as it was written.
func (p *partition) check() error {
	if p.intact {
		return nil
	}
	if err := p.seal.check(p.reader); err != nil {
		return err
	}
	p.intact = true
	return nil
}

// rows visits every row in the order of the file. The record is overwritten
// after each visit.
func (p *partition) rows(visit func(*record) error) error {
	return p.read(func(int) bool { return true }, visit)
}

// read visits the rows of the row groups that are wanted.
func (p *partition) read(want func(group int) bool, visit func(*record) error) (err error) {
	defer guard(&err)
	if err := p.check(); err != nil {
		return err
	}
	for i, g := range p.file.RowGroups() {
		if !want(i) {
			continue
		}
		if err := p.readGroup(g, visit); err != nil {
			return fmt.Errorf("row group %d: %w", i, err)
		}
	}
	return nil
}

func (p *partition) readGroup(g parquet.RowGroup, visit func(*record) error) error {
	r := newGroupReader(g, p.layout)
	defer r.close()
	for range g.NumRows() {
		if err := r.next(); err != nil {
			return err
		}
		if err := visit(&r.rec); err != nil {
			return stopped{err}
		}
	}
	return r.end()
}

// stopped marks an error that came from a visitor, not from the file.
type stopped struct{ error }

func (s stopped) Unwrap() error { return s.error }

// ids visits the ID of every row in order, with the number of its row group,
// reading no other column.
func (p *partition) ids(visit func(group int, id []byte) error) (err error) {
	defer guard(&err)
	if err := p.check(); err != nil {
		return err
	}
	for i, g := range p.file.RowGroups() {
		c := columnReader{pages: g.ColumnChunks()[colID].Pages()}
		for range g.NumRows() {
			v, err := c.next()
			if err == nil {
				if err = visit(i, v.ByteArray()); err != nil {
					err = stopped{err}
				}
			}
			if err != nil {
				return errors.Join(fmt.Errorf("row group %d: %w", i, err), c.close())
			}
		}
		if err := errors.Join(c.end(), c.close()); err != nil {
			return fmt.Errorf("row group %d: %w", i, err)
		}
	}
	return nil
}

// groupReader reads the rows of one row group.
type groupReader struct {
	layout *layout
	cols   []columnReader
	rec    record
}

func newGroupReader(g parquet.RowGroup, l *layout) *groupReader {
	r := &groupReader{layout: l}
	for _, c := range g.ColumnChunks() {
		r.cols = append(r.cols, columnReader{pages: c.Pages()})
	}
	r.rec.cells = make([]cell, len(l.columns))
	return r
}

func (r *groupReader) next() error {
	for i := range r.cols {
		v, err := r.cols[i].next()
		if err != nil {
			return err
		}
		switch d := i - colDeclared; {
		case i == colID:
			r.rec.id = v.ByteArray()
		case i == colTime:
			r.rec.time = afterhours.Micros(v.Int64())
		case i == colReceived:
			r.rec.received = afterhours.Micros(v.Int64())
		case i == colPayload:
			r.rec.payload = v.ByteArray()
		case d < len(r.layout.columns):
			r.rec.cells[d] = cellOf(r.layout.columns[d].Type, v)
		default:
			r.rec.conflict = v.Boolean()
		}
	}
	return nil
}

// end reports an error unless every column ends here.
func (r *groupReader) end() error {
	for i := range r.cols {
		if err := r.cols[i].end(); err != nil {
			return err
		}
	}
	return nil
}

func (r *groupReader) close() {
	for i := range r.cols {
		_ = r.cols[i].close()
	}
}

// columnReader reads a column chunk value by value. parquet-go may return fewer
// values than asked for, and they share the memory of their page.
type columnReader struct {
	pages  parquet.Pages
	page   parquet.Page
	values parquet.ValueReader
	buf    [128]parquet.Value
	i, n   int
}

// next returns the next value, whose bytes last until the next call.
func (c *columnReader) next() (parquet.Value, error) {
	for c.i == c.n {
		if err := c.fill(); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return parquet.Value{}, err
		}
	}
	c.i++
	return c.buf[c.i-1], nil
}

// fill reads more values, of the next page if need be. It returns io.EOF after
// the last page.
func (c *columnReader) fill() error {
	c.i, c.n = 0, 0
	if c.page == nil {
		p, err := c.pages.ReadPage()
		if err != nil {
			return err
		}
		c.page, c.values = p, p.Values()
	}
	n, err := c.values.ReadValues(c.buf[:])
	c.n = n
	if err == io.EOF && n == 0 {
		parquet.Release(c.page)
		c.page = nil
		return nil
	}
	if err != nil && err != io.EOF {
		return err
	}
	if n == 0 {
		return io.ErrNoProgress
	}
	return nil
}

// end reports an error if there are more values.
func (c *columnReader) end() error {
	if c.i < c.n {
		return errors.New("more values than rows")
	}
	for c.i == c.n {
		switch err := c.fill(); err {
		case nil:
		case io.EOF:
			return nil
		default:
			return err
		}
	}
	return errors.New("more values than rows")
}

func (c *columnReader) close() error {
	if c.page != nil {
		parquet.Release(c.page)
		c.page = nil
	}
	return c.pages.Close()
}
