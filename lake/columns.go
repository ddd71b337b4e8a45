package lake

import (
	"errors"
	"io"

	"github.com/parquet-go/parquet-go"

	"github.com/afterhours/afterhours"
)

// groupReader reads the rows of one row group, but for their payloads.
type groupReader struct {
	layout *layout
	cols   []columnReader
	rec    record
}

func newGroupReader(g parquet.RowGroup, l *layout) *groupReader {
	r := &groupReader{layout: l}
	for i, c := range g.ColumnChunks() {
		if i != colPayload {
			r.cols = append(r.cols, columnReader{pages: c.Pages()})
		}
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
		switch d := i - headDeclared; {
		case i == colID:
			r.rec.id = v.ByteArray()
		case i == colTime:
			r.rec.time = afterhours.Micros(v.Int64())
		case i == colReceived:
			r.rec.received = afterhours.Micros(v.Int64())
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
