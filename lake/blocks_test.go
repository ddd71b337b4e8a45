package lake

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/afterhours/afterhours"
)

// manyRows are n rows in as many different instants, with payloads of about size
// bytes.
func manyRows(n, size int) []row {
	rows := make([]row, n)
	for i := range rows {
		at := hour.Start + afterhours.Micros(2*i)
		rows[i] = row{afterhours.RowID{Seq: uint32(i)}, afterhours.Event{
			ID: fmt.Sprintf("event-%d", i), Type: hour.Type, Time: at, Received: at, Payload: fmt.Appendf(nil, `{"n":%d,"x":"%s"}`, i, strings.Repeat("x", size)),
		}}
	}
	return rows
}

// lateRow comes right behind the i-th of manyRows.
func lateRow(i int) row {
	r := manyRows(i+1, 10)[i]
	r.id.Seq += 1_000_000
	r.e.ID += "-late"
	r.e.Time++
	return r
}

// opened returns the lake's partition of the hour.
func opened(t testing.TB, l *Lake) *partition {
	t.Helper()
	b, err := l.Base(context.Background(), hour)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b.partition
}

// TestUntouchedBlocksAreCopied: of many blocks one late row makes one anew, wherever
// it falls, and a copy of a row none but that row's.
func TestUntouchedBlocksAreCopied(t *testing.T) {
	for _, at := range []int{0, 99, 100, 101, 550, 999} {
		l := openDirTest(t)
		if _, err := rewrite(l, hour, RewriteOptions{}, manyRows(1000, 10)...); err != nil {
			t.Fatal(err)
		}
		before := opened(t, l)
		if _, err := rewrite(l, hour, RewriteOptions{}, lateRow(at)); err != nil {
			t.Fatal(err)
		}
		after := opened(t, l)
		if len(before.table.Blocks) != 10 || len(after.table.Blocks) != 10 {
			t.Fatalf("%d blocks, then %d, want 10", len(before.table.Blocks), len(after.table.Blocks))
		}
		for i, b := range after.table.Blocks {
			same := b.Head == before.table.Blocks[i].Head && b.Payload == before.table.Blocks[i].Payload && b.Filter == before.table.Blocks[i].Filter
			if same != (i != at/100) {
				t.Errorf("row %d: block %d is as it was: %t", at, i, same)
			}
		}
	}
}

// TestUntouchedPagesAreCopied: of a block, a late row has one page of each column
// written anew.
func TestUntouchedPagesAreCopied(t *testing.T) {
	for _, at := range []int{0, 50, 98} {
		l := openDirTest(t)
		if _, err := rewrite(l, hour, RewriteOptions{}, manyRows(99, 10_000)...); err != nil {
			t.Fatal(err)
		}
		pagesOf := func() (raw []string) {
			s, err := opened(t, l).source(0)
			if err != nil {
				t.Fatal(err)
			}
			for _, strip := range s.strips {
				raw = append(raw, string(strip.pages[colID].raw)+string(strip.pages[colPayload].raw))
			}
			return raw
		}
		before := pagesOf()
		if len(before) < 10 {
			t.Fatalf("%d strips, too few to tell", len(before))
		}
		if _, err := rewrite(l, hour, RewriteOptions{}, lateRow(at)); err != nil {
			t.Fatal(err)
		}
		after := pagesOf()
		gone := slices.DeleteFunc(slices.Clone(before), func(p string) bool { return slices.Contains(after, p) })
		if len(gone) != 1 {
			t.Errorf("row %d: %d of %d strips are not there any more, want 1", at, len(gone), len(before))
		}
	}
}

// TestDamagedBlocksAreNotCopied: damage anywhere in a block refuses the rewrite, also
// if nothing of the block is looked at.
func TestDamagedBlocksAreNotCopied(t *testing.T) {
	l := openDirTest(t)
	if _, err := rewrite(l, hour, RewriteOptions{}, manyRows(1000, 10)...); err != nil {
		t.Fatal(err)
	}
	good, p := objectBytes(t, l, keyOf(hour)), opened(t, l)
	for i := range p.table.Blocks {
		for part := range 3 {
			b := p.table.Blocks[i]
			bad := slices.Clone(good)
			bad[p.starts[i]+[]int64{b.Head.Size / 2, b.Head.Size + b.Payload.Size/2, b.size() - 1}[part]] ^= 1
			l := openDirTest(t)
			put(t, l, keyOf(hour), bad)
			if _, err := rewrite(l, hour, RewriteOptions{}, lateRow(550)); !errors.Is(err, ErrRefused) {
				t.Errorf("block %d, part %d: %v, want a refusal", i, part, err)
			}
			if !bytes.Equal(objectBytes(t, l, keyOf(hour)), bad) {
				t.Errorf("block %d, part %d: the object was changed", i, part)
			}
		}
	}
}

// TestContentNamesRows: however they came to be where they are.
func TestContentNamesRows(t *testing.T) {
	rows := manyRows(500, 10)
	contentOf := func(blockRows int, parts ...[]row) string {
		l := openDirTest(t)
		l.opt.BlockRows = blockRows
		var res Result
		for _, part := range parts {
			var err error
			if res, err = rewrite(l, hour, RewriteOptions{}, part...); err != nil {
				t.Fatal(err)
			}
		}
		return res.Manifest.Content
	}
	want := contentOf(1000, rows)
	again := slices.Clone(rows[:100])
	for i := range again {
		again[i].id.Seq += 1000
	}
	if got := contentOf(7, rows[250:], rows[:250], again, []row{lateRow(3)}); got == want {
		t.Error("one row more has the same content")
	}
	if got := contentOf(7, rows[250:], again, rows[:250]); got != want {
		t.Errorf("content %s, but %s if all came at once", got, want)
	}
	rows[7].e.Received++
	if got := contentOf(7, rows); got == want {
		t.Error("a row that was received later has the same content")
	}
}

// TestRowsAreDividedEqually, and no part is larger than allowed.
func TestRowsAreDividedEqually(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 1 << 10
		limit := rapid.IntRange(1, 50).Draw(t, "limit")
		rows := make([]keyed, rapid.IntRange(1, 400).Draw(t, "rows"))
		for i := range rows {
			rows[i].key = binary.BigEndian.AppendUint16(nil, uint16(i))
			if rapid.IntRange(0, 20).Draw(t, "large") == 0 {
				rows[i].payload = make([]byte, most/rapid.IntRange(1, 9).Draw(t, "part"))
			}
		}
		n := 0
		for _, part := range divide(rows, limit, most) {
			size, largest := 0, 0
			for i := range part {
				size += len(part[i].payload)
				largest = max(largest, len(part[i].payload))
				if !bytes.Equal(part[i].key, rows[n].key) {
					t.Fatalf("row %d is in the place of row %d", binary.BigEndian.Uint16(part[i].key), n)
				}
				n++
			}
			if len(part) == 0 || len(part) > limit+limit/4 || size > most+most/4+largest {
				t.Errorf("a part of %d rows with %d bytes; %d are allowed", len(part), size, limit)
			}
		}
		if n != len(rows) {
			t.Errorf("%d of %d rows", n, len(rows))
		}
	})
}
