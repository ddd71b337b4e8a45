package lake

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/afterhours/afterhours"
)

// whole returns the bytes of a partition with every kind of column, nulls and a
// dictionary: the same in every process, as fuzzing wants it.
func whole(tb testing.TB) []byte {
	tb.Helper()
	l, err := newLayout(shownColumns)
	if err != nil {
		tb.Fatal(err)
	}
	rows := make([]record, 40)
	for i := range rows {
		rows[i] = record{
			id: fmt.Append(nil, "event-", i), time: hour.Start + afterhours.Micros(i), received: hour.Start, payload: []byte(payloads[i%len(payloads)].Payload),
		}
		l.extract(&rows[i])
	}
	slices.SortFunc(rows, func(a, b record) int { return bytes.Compare(l.appendKey(nil, &a), l.appendKey(nil, &b)) })
	manifest := regexp.MustCompile(`"lineage":"[0-9a-f]*"`).ReplaceAllString(text(tb, hour, int64(len(rows)), shownColumns...), `"lineage":"`+strings.Repeat("a", 32)+`"`)
	return forge(tb, shownColumns, manifest, rows...)
}

// decode reads all of a partition that is in memory, as a rewrite or a verification
// does.
func decode(b []byte) error {
	p, err := openPartition(bytes.NewReader(b), int64(len(b)), hour)
	if err == nil {
		err = p.auditAll()
	}
	return err
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	before := s[0].Value.Uint64()
	f()
	metrics.Read(s)
	return s[0].Value.Uint64() - before
}

// No bit of a partition can change without being found, wherever it is: in the
// marks, the pages and their headers, the page index that other readers go by, the
// seal, or the footer. And what was found was not parsed, so that it costs nothing.
func TestEveryFlippedBitIsFound(t *testing.T) {
	good := whole(t)
	if err := decode(good); err != nil {
		t.Fatal(err)
	}
	bad := slices.Clone(good)
	// To open a partition takes most of the time, and reads nothing before the seal. What
	// has no more than that end to open is opened once for all bits that lie before.
	seal := bytes.LastIndex(good, []byte(sealMark))
	opened, err := openPartition(&end{good[seal:], int64(seal)}, int64(len(good)), hour)
	if err != nil {
		t.Fatal(err)
	}
	front := func() error {
		p := *opened
		p.reader, p.index = bytes.NewReader(bad), sync.OnceValues(p.readIndex)
		return p.auditAll()
	}
	cost := allocated(func() {
		for i := range good {
			for bit := range 8 {
				bad[i] = good[i] ^ 1<<bit
				found := front
				if i >= seal {
					found = func() error { return decode(bad) }
				}
				if found() == nil {
					t.Errorf("bit %d of byte %d of %d is flipped and the partition is taken for good", bit, i, len(good))
				}
			}
			bad[i] = good[i]
		}
	})
	if each := cost / uint64(8*len(good)); each > 1<<20 {
		t.Errorf("%d bytes are allocated to find a flipped bit", each)
	}
}

// A partition of which a part is missing, zero, repeated or elsewhere is found.
func TestEveryMissingPartIsFound(t *testing.T) {
	good := whole(t)
	n := len(good)
	for cut := range n {
		if err := decode(good[:cut]); err == nil {
			t.Errorf("%d of %d bytes are taken for a partition", cut, n)
		}
		if err := decode(good[cut+1:]); err == nil {
			t.Errorf("the last %d of %d bytes are taken for a partition", n-cut-1, n)
		}
		if cut%13 > 0 {
			continue
		}
		for _, size := range []int{1, 64, 512} {
			end := min(cut+size, n)
			for what, bad := range map[string][]byte{
				"missing":  slices.Concat(good[:cut], good[end:]),
				"zero":     slices.Concat(good[:cut], make([]byte, end-cut), good[end:]),
				"repeated": slices.Concat(good[:end], good[cut:end], good[end:]),
			} {
				if err := decode(bad); err == nil && !bytes.Equal(bad, good) {
					t.Errorf("bytes %d to %d are %s, and the partition is taken for good", cut, end, what)
				}
			}
		}
	}
	for what, bad := range map[string][]byte{
		"a byte after the end": append(slices.Clone(good), 0),
		"two partitions":       append(slices.Clone(good), good...),
		"a footer alone":       good[bytes.LastIndex(good, []byte(sealMark)):],
	} {
		if err := decode(bad); err == nil {
			t.Errorf("%s: taken for a partition", what)
		}
	}
}

// A damaged partition is refused by everything that reads one, in the words of
// what is wrong, and damage that only the footer's reader does not see is seen by
// who decodes.
func TestDamageIsRefusedEverywhere(t *testing.T) {
	good := whole(t)
	at := bytes.LastIndex(good, []byte(sealMark))
	for part, c := range map[string]struct {
		i      int
		footer bool // of what Manifest reads
	}{
		"the first mark": {0, false},
		"a page":         {at / 3, false},
		"the page index": {at - 1, false},
		"the seal":       {at + len(sealMark) + 20, true},
		"the footer":     {at + sealSize + 10, true},
		"the last mark":  {len(good) - 1, true},
	} {
		bad := slices.Clone(good)
		bad[c.i] ^= 4
		l := openDirTest(t)
		put(t, l, keyOf(hour), bad)
		check := func(what string, err error, refused bool) {
			if errors.Is(err, ErrRefused) != refused || errors.Is(err, ErrConflict) {
				t.Errorf("%s, %s: %v, want a refusal %t", part, what, err, refused)
			}
		}
		b, err := l.Base(t.Context(), hour)
		check("base", err, c.footer)
		if err == nil {
			check("verify", b.Verify(), true)
			check("rows", b.Rows(func(afterhours.Copies) error { return nil }), true)
			b.Close()
		}
		fresh := sample(hour, 1)
		fresh[0].id.Seq = 1000
		_, err = rewrite(l, hour, RewriteOptions{Columns: shownColumns}, fresh...)
		check("rewrite", err, true)
		_, err = l.Manifest(t.Context(), listed(t, l, hour))
		check("manifest", err, c.footer)
		_, err = l.RestoreBase(t.Context(), hour, l.objects.(*dir).path(keyOf(hour)))
		check("restore", err, true)
		if !bytes.Equal(objectBytes(t, l, keyOf(hour)), bad) {
			t.Errorf("%s: the object was changed", part)
		}
	}
}

// A footer's length that is wrong costs no memory, in a file of any size.
func TestWrongFooterLengthsAreCheap(t *testing.T) {
	for _, size := range []int{footerEnd, 12, 60, 200 << 10} {
		for _, length := range []uint32{0, 1, uint32(size), uint32(size) - footerEnd, uint32(size) - footerEnd + 1, 1 << 27, 1<<32 - 1} {
			b := bytes.Repeat([]byte{0xF9}, size)
			binary.LittleEndian.PutUint32(b[size-footerEnd:], length)
			copy(b[size-4:], parquetMark)
			l := openDirTest(t)
			put(t, l, keyOf(hour), b)
			o := listed(t, l, hour)
			cost := allocated(func() {
				if _, err := l.Manifest(t.Context(), o); !errors.Is(err, ErrRefused) {
					t.Errorf("%d bytes with a footer of %d: %v", size, length, err)
				}
				if _, err := l.Base(t.Context(), hour); !errors.Is(err, ErrRefused) {
					t.Errorf("%d bytes with a footer of %d: %v", size, length, err)
				}
			})
			if cost > 1<<20 {
				t.Errorf("%d bytes are allocated for a file of %d with a footer of %d", cost, size, length)
			}
		}
	}
}

// Another writer's Parquet is refused, whatever its columns, and stays.
func TestForeignParquetIsRefused(t *testing.T) {
	type same struct {
		ID       string `parquet:"event_id"`
		Time     int64  `parquet:"event_time,timestamp(microsecond)"`
		Received int64  `parquet:"received_at,timestamp(microsecond)"`
		Payload  string `parquet:"payload"`
		Conflict bool   `parquet:"conflict"`
	}
	type other struct {
		A int64
		B []string
	}
	objects := map[string][]byte{
		"our columns":                {},
		"our columns and a manifest": {},
		"other columns":              encode(t, []other{{1, []string{"x"}}}),
		"none":                       encode[other](t, nil),
	}
	row := same{"a", int64(hour.Start), int64(hour.Start), "{}", false}
	objects["our columns"] = encode(t, []same{row})
	objects["our columns and a manifest"] = encode(t, []same{row}, parquet.KeyValueMetadata(manifestKey, text(t, hour, 1)))
	files, err := filepath.Glob("testdata/foreign/*.parquet")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if objects[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	for name, object := range objects {
		l := openDirTest(t)
		put(t, l, keyOf(hour), object)
		if _, err := rewrite(l, hour, RewriteOptions{}, sample(hour, 3)...); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "not written by Afterhours") {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
		if !bytes.Equal(objectBytes(t, l, keyOf(hour)), object) {
			t.Errorf("%s: the object was changed", name)
		}
	}
}

// encode writes rows with plain parquet-go.
func encode[T any](t *testing.T, rows []T, o ...parquet.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[T](&b, o...)
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What is no file in the place of a partition is refused, by all that would read
// it, without waiting for it and without a change; a link to nothing is none.
func TestWhatIsNoFileIsRefused(t *testing.T) {
	for name, place := range map[string]func(path string) error{
		"directory":         func(path string) error { return os.Mkdir(path, 0o777) },
		"pipe":              func(path string) error { return syscall.Mkfifo(path, 0o666) },
		"link to directory": func(path string) error { return os.Symlink(".", path) },
		"link to device":    func(path string) error { return os.Symlink("/dev/zero", path) },
		"link to itself":    func(path string) error { return os.Symlink(filepath.Base(path), path) },
	} {
		t.Run(name, func(t *testing.T) {
			l := openDirTest(t)
			path := l.objects.(*dir).path(keyOf(hour))
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), place(path)); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err1 := rewrite(l, hour, RewriteOptions{}, sample(hour, 3)...)
			_, err2 := l.Unread(t.Context(), hour)
			for _, err := range []error{err1, err2} {
				if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "no regular file: move it away") {
					t.Errorf("%v, want a refusal with the remedy", err)
				}
			}
			if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("it was replaced: %v", err)
			}
			if err := l.Hours(t.Context(), func(o Object) error { return fmt.Errorf("%s is listed", o.Key) }); err != nil {
				t.Error(err)
			}
		})
	}
}

// A link to a partition is read as the partition, and replaced, not followed, by
// the next one. A link to another hour's is refused, and what it leads to stays.
func TestLinksAreNotFollowedByPublishes(t *testing.T) {
	l := openDirTest(t)
	other := afterhours.HourOf(hour.Type, hour.End())
	if _, err := rewrite(l, hour, RewriteOptions{}, sample(hour, 3)...); err != nil {
		t.Fatal(err)
	}
	d := l.objects.(*dir)
	path, moved := d.path(keyOf(hour)), filepath.Join(t.TempDir(), "moved.parquet")
	if err := errors.Join(os.Rename(path, moved), os.Symlink(moved, path)); err != nil {
		t.Fatal(err)
	}
	saved, err := os.ReadFile(moved)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(d.path(keyOf(other))), 0o777), os.Symlink(moved, d.path(keyOf(other)))); err != nil {
		t.Fatal(err)
	}
	if _, err := rewrite(l, other, RewriteOptions{}, sample(other, 1)...); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), hour.String()) {
		t.Errorf("a link to another hour's partition: %v, want a refusal that names it", err)
	}
	if res, err := rewrite(l, hour, RewriteOptions{}, sample(hour, 5)...); err != nil || res.Manifest.Rows != 5 || res.RowsBefore != 3 {
		t.Fatalf("%+v, %v, want 5 rows, 3 of them from behind the link", res, err)
	}
	if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() {
		t.Errorf("the partition is no file of its own: %v", err)
	}
	if now, err := os.ReadFile(moved); err != nil || !bytes.Equal(now, saved) {
		t.Errorf("what the link leads to was changed: %v", err)
	}
}

// The seal breaks no reader of Parquet: parquet-go opens the file with its page
// index, and finds as many rows.
func TestSealedFilesAreParquet(t *testing.T) {
	b := whole(t)
	f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if f.NumRows() != 40 || len(f.ColumnIndexes()) != len(f.Schema().Fields()) {
		t.Errorf("%d rows, %d column indexes", f.NumRows(), len(f.ColumnIndexes()))
	}
	rows := parquet.NewReader(f)
	defer rows.Close()
	n := 0
	for {
		buf := make([]parquet.Row, 10)
		got, err := rows.ReadRows(buf)
		n += got
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n != 40 {
		t.Errorf("%d rows are read", n)
	}
}

// Damaged files of any kind are errors, never panics, and cost no more memory
// than they have bytes; only a partition as it was written is read as one.
func FuzzOpenPartition(f *testing.F) {
	good := whole(f)
	f.Add(good, 0, byte(0))
	f.Add(good, len(good)-6, byte(0x80))
	f.Add(good[:len(good)/2], 3, byte(1))
	f.Add([]byte("PAR1\xff\xff\xff\x7fPAR1"), 0, byte(0))
	f.Fuzz(func(t *testing.T, b []byte, at int, flip byte) {
		b = slices.Clone(b)
		if at >= 0 && at < len(b) {
			b[at] ^= flip
		}
		var err, footer error
		cost := allocated(func() {
			err = decode(b)
			_, footer = openPartition(&end{b, 0}, int64(len(b)), hour)
		})
		if err == nil && !bytes.Equal(b, good) {
			t.Errorf("%d bytes that were not written are taken for a partition", len(b))
		}
		if err == nil && footer != nil {
			t.Errorf("its footer alone: %v", footer)
		}
		if cost > 8<<20+10*uint64(len(b)) {
			t.Errorf("%d bytes are allocated for %d", cost, len(b))
		}
	})
}

// Rows that are sorted outside of memory are read back as they were, and damage
// to them is an error or another row, never a panic.
func FuzzSortedRow(f *testing.F) {
	f.Add([]byte("id"), int64(1), int64(2), []byte("{}"), true, []byte{1, 2})
	f.Add([]byte{}, int64(-1)<<63, int64(0), []byte{}, false, []byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0})
	f.Fuzz(func(t *testing.T, id []byte, at, received int64, payload []byte, conflict bool, damaged []byte) {
		r := record{id: id, time: afterhours.Micros(at), received: afterhours.Micros(received), payload: payload, conflict: conflict,
			cells: []cell{{}, {set: true, bits: at}, {set: true, bytes: append([]byte{}, payload...)}}}
		key := append([]byte("key"), id...)
		var back record
		if _, err := decodeBody(key, appendBody(nil, &r, hasCells), len(r.cells), &back); err != nil || fmt.Sprint(back) != fmt.Sprint(r) {
			t.Fatalf("%v was read as %v, %v", r, back, err)
		}
		_, _ = decodeBody(key, damaged, len(r.cells), &back)
	})
}
