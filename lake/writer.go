package lake

import (
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// Bounds of a row group, whichever is reached first: what a reader must skip or
// take as a whole, and what the writer holds in memory.
const (
	groupRows  = 64 << 10
	groupBytes = 32 << 20
)

// Bounds of what is handed to parquet-go at once. It ends a page only between
// two such batches.
const (
	batchRows  = 256
	batchBytes = 64 << 10
)

// compression is zstd at its fastest level: on events as JSON the next one takes
// a third longer and saves 4 % at best.
var compression = &zstd.Codec{Level: zstd.SpeedFastest}

// partitionWriter writes the rows of a partition, in order.
type partitionWriter struct {
	layout *layout
	sealer *sealer
	w      *parquet.GenericWriter[any]
	cols   []*parquet.ColumnWriter
	batch  [][]parquet.Value // by column
	arena  []byte            // of the batch's values

	rows, bytes int64 // of the row group
}

func newPartitionWriter(out io.Writer, l *layout) (w *partitionWriter, err error) {
	defer guard(&err)
	sealed := newSealer(out)
	p := parquet.NewGenericWriter[any](sealed, l.schema,
		parquet.CreatedBy("Afterhours", "1", ""),
		parquet.Compression(compression),
		parquet.DataPageVersion(1),
		// The column index has the same, and page headers would repeat each
		// bound four times, whatever its size.
		parquet.DataPageStatistics(false),
		parquet.SortingWriterConfig(parquet.SortingColumns(l.sorting()...)),
	)
	cols := p.ColumnWriters()
	return &partitionWriter{layout: l, sealer: sealed, w: p, cols: cols, batch: make([][]parquet.Value, len(cols))}, nil
}

// add writes a row. It keeps nothing of the record.
func (w *partitionWriter) add(r *record) error {
	w.put(colID, parquet.ByteArrayValue(w.keep(r.id)))
	w.put(colTime, parquet.Int64Value(int64(r.time)))
	w.put(colReceived, parquet.Int64Value(int64(r.received)))
	w.put(colPayload, parquet.ByteArrayValue(w.keep(r.payload)))
	for i, c := range r.cells {
		if c.bytes != nil {
			c.bytes = w.keep(c.bytes)
		}
		w.put(colDeclared+i, c.value(w.layout.columns[i].Type, colDeclared+i))
	}
	w.put(len(w.cols)-1, parquet.BooleanValue(r.conflict))
	if len(w.batch[colID]) < batchRows && len(w.arena) < batchBytes {
		return nil
	}
	return w.flush()
}

func (w *partitionWriter) put(i int, v parquet.Value) { w.batch[i] = append(w.batch[i], v) }

// keep copies bytes to where they last until the batch is written. When the
// arena grows, earlier values keep the memory they had.
func (w *partitionWriter) keep(b []byte) []byte {
	n := len(w.arena)
	w.arena = append(w.arena, b...)
	return w.arena[n:len(w.arena):len(w.arena)]
}

// flush writes the batch, and ends the row group if it is large enough.
func (w *partitionWriter) flush() (err error) {
	defer guard(&err)
	w.rows += int64(len(w.batch[colID]))
	w.bytes += int64(len(w.arena))
	for i, values := range w.batch {
		if n, err := w.cols[i].WriteRowValues(values); err != nil || n != len(values) {
			return fmt.Errorf("write column %d: %d of %d values: %w", i, n, len(values), err)
		}
		w.batch[i] = values[:0]
	}
	w.arena = w.arena[:0]
	if w.rows < groupRows && w.bytes < groupBytes {
		return nil
	}
	w.rows, w.bytes = 0, 0
	return w.w.Flush()
}

// close writes the last row group and the footer.
func (w *partitionWriter) close(m *Manifest) error {
	text, err := m.encode()
	if err != nil {
		return err
	}
	return w.end(manifestKey, text)
}

// end writes the last row group, and a footer with one entry of metadata.
func (w *partitionWriter) end(key, value string) (err error) {
	defer guard(&err)
	if len(w.batch[colID]) > 0 {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.w.SetKeyValueMetadata(key, value)
	w.sealer.hold = true
	if err := w.w.Close(); err != nil {
		return err
	}
	return w.sealer.seal()
}
