package lake

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
	"pgregory.net/rapid"

	"github.com/afterhours/afterhours"
)

// drawRecords draws rows of shownColumns, with values that are hard to bound.
func drawRecords(t *rapid.T) []record {
	text := rapid.SampledFrom([]string{"", "a", "a\x00", "b", "ü", "\U0010FFFF", "\x7f", strings.Repeat("x", boundBytes), strings.Repeat("x", boundBytes) + "y", strings.Repeat("\U0010FFFF", boundBytes)})
	number := rapid.SampledFrom([]int64{0, 1, -1, 255, 256, math.MaxInt64, math.MinInt64})
	double := rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1, -1, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64})
	recs := make([]record, rapid.IntRange(1, 60).Draw(t, "rows"))
	dense := rapid.Bool().Draw(t, "no nulls")
	for i := range recs {
		cells := []cell{
			{bits: int64(rapid.IntRange(0, 1).Draw(t, "bool"))},
			{bits: int64(math.Float64bits(double.Draw(t, "double")))},
			{bits: number.Draw(t, "int")},
			{bits: number.Draw(t, "time")},
			{bytes: []byte(text.Draw(t, "user"))},
		}
		for j := range cells {
			if cells[j].set = dense || rapid.IntRange(0, 2).Draw(t, "set") > 0; !cells[j].set {
				cells[j] = cell{}
			}
		}
		recs[i] = record{
			id: fmt.Appendf(nil, "%s-%d", text.Draw(t, "id"), i), time: afterhours.Micros(number.Draw(t, "event time")), received: afterhours.Micros(i),
			payload: []byte(text.Draw(t, "payload")), cells: cells, conflict: rapid.Bool().Draw(t, "conflict"),
		}
	}
	return recs
}

// TestPagesAreParquet: another reader finds the values that were written, and its
// bounds, indexes and filters tell the truth of them.
func TestPagesAreParquet(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l, err := newLayout(shownColumns)
		if err != nil {
			t.Fatal(err)
		}
		recs := drawRecords(rt)
		file := sealedFile(t, l, func(f *partitionFile) error {
			half := rapid.IntRange(0, len(recs)).Draw(rt, "first block")
			for _, part := range [][]record{recs[:half], recs[half:]} {
				if len(part) > 0 {
					if err := f.put(stripBlock(t, l, part, rapid.IntRange(1, 20).Draw(rt, "rows of a strip"))); err != nil {
						return err
					}
				}
			}
			return f.close("")
		})
		p, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			rt.Fatal(err)
		}
		rest := recs
		for _, g := range p.RowGroups() {
			n := int(g.NumRows())
			for i, c := range g.ColumnChunks() {
				if err := checkChunk(l, i, c.(*parquet.FileColumnChunk), rest[:n]); err != nil {
					rt.Fatalf("column %s: %v", l.cols[i].name, err)
				}
			}
			for _, r := range rest[:n] {
				if ok, err := g.ColumnChunks()[colID].BloomFilter().Check(parquet.ByteArrayValue(r.id)); err != nil || !ok {
					rt.Fatalf("event %q is not in the filter: %v", r.id, err)
				}
			}
			rest = rest[n:]
		}
		if len(rest) > 0 {
			rt.Fatalf("%d rows are missing", len(rest))
		}
	})
}

// stripBlock is a block of records in whatever order, in strips of so many rows.
func stripBlock(t *testing.T, l *layout, recs []record, rows int) *encoded {
	t.Helper()
	filter := newFilter(len(recs))
	var strips []*strip
	for part := range slices.Chunk(recs, rows) {
		var in batch
		for i := range part {
			filter.Insert(hashID(part[i].id))
			in.add(l.appendKey(nil, &part[i]), &part[i])
		}
		strips = append(strips, (&stripWriter{layout: l}).write(in.rows))
	}
	b, err := l.assemble(strips, filter)
	if err != nil {
		t.Fatal(err)
	}
	b.Rows = int64(len(recs))
	return b
}

// checkChunk compares column i, as parquet-go reads it, with records.
func checkChunk(l *layout, i int, c *parquet.FileColumnChunk, recs []record) error {
	var index parquet.ColumnIndex
	if l.cols[i].indexed {
		var err error
		if index, err = c.ColumnIndex(); err != nil {
			return err
		}
	}
	offsets, err := c.OffsetIndex()
	if err != nil {
		return err
	}
	pages := c.Pages()
	defer pages.Close()
	row := 0
	var last [2]parquet.Value
	for n := 0; ; n++ {
		p, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if offsets.FirstRowIndex(n) != int64(row) {
			return fmt.Errorf("page %d begins with row %d, want %d", n, offsets.FirstRowIndex(n), row)
		}
		values := make([]parquet.Value, p.NumValues())
		if k, err := p.Values().ReadValues(values); k != len(values) || err != nil && err != io.EOF {
			return fmt.Errorf("%d of %d values: %w", k, len(values), err)
		}
		nulls := int64(0)
		for _, v := range values {
			if want := recs[row].cell(i); v.IsNull() == want.set || want.set && !sameValue(&l.cols[i], v, want) {
				return fmt.Errorf("row %d is %v, want %+v", row, v, want)
			}
			row++
			if v.IsNull() {
				nulls++
				continue
			}
			if index != nil && (c.Type().Compare(v, index.MinValue(n)) < 0 || c.Type().Compare(v, index.MaxValue(n)) > 0) {
				return fmt.Errorf("page %d has %v, which is not between %v and %v", n, v, index.MinValue(n), index.MaxValue(n))
			}
			if low, high, ok := c.Bounds(); ok && (c.Type().Compare(v, low) < 0 || c.Type().Compare(v, high) > 0) {
				return fmt.Errorf("%v is not between %v and %v", v, low, high)
			}
		}
		if index == nil {
			continue
		}
		if index.NullCount(n) != nulls || index.NullPage(n) != (nulls == int64(len(values))) {
			return fmt.Errorf("page %d has %d nulls of %d, its index says %d", n, nulls, len(values), index.NullCount(n))
		}
		if index.NullPage(n) {
			continue
		}
		now := [2]parquet.Value{index.MinValue(n).Clone(), index.MaxValue(n).Clone()}
		for k := range now {
			if order := c.Type().Compare(now[k], last[k]); !last[k].IsNull() && (index.IsAscending() && order < 0 || index.IsDescending() && order > 0) {
				return fmt.Errorf("the bounds of page %d are not in the order that the index says", n)
			}
		}
		last = now
	}
	if row != len(recs) {
		return fmt.Errorf("%d rows, want %d", row, len(recs))
	}
	return nil
}

func sameValue(c *column, v parquet.Value, want cell) bool {
	switch c.kind {
	case format.ByteArray:
		return bytes.Equal(v.ByteArray(), want.bytes)
	case format.Double:
		return math.Float64bits(v.Double()) == uint64(want.bits)
	case format.Boolean:
		return v.Boolean() == (want.bits == 1)
	}
	return v.Int64() == want.bits
}
