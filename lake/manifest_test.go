package lake

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/afterhours/afterhours"
)

// Every hour has one key, every key at most one hour, and keys are as Hive
// writes them.
func FuzzKey(f *testing.F) {
	for _, s := range []string{"purchase", "a/b", "a=b", "100%", "%41", "ü 😀", "x..", "..", "__0x41__", "a\\b", "_quarantine"} {
		f.Add(s, int64(1_700_000_000_000_000), false, keyOf(afterhours.HourOf(s, 0)))
	}
	f.Add("x", int64(-1), true, "event_type=x/dt=2026-11-20/hour=1/events.parquet")
	f.Fuzz(func(t *testing.T, eventType string, at int64, daily bool, key string) {
		if h, ok := hourOf(key); ok && keyOf(h) != key {
			t.Fatalf("key %q is of hour %s, whose key is %q", key, h, keyOf(h))
		}
		h := afterhours.HourOf(eventType, afterhours.Micros(at%60_000_000_000_000_000))
		if daily {
			h.Width, h.Start = afterhours.Daily, h.Start-h.Start%(24*3600e6)
		}
		if afterhours.ValidateType(eventType) != nil {
			return
		}
		k := keyOf(h)
		if got, ok := hourOf(k); !ok || got != h {
			t.Fatalf("hour %s has key %q, which is of hour %s, %t", h, k, got, ok)
		}
		if strings.Count(k, "/") != strings.Count("a/b/c/d", "/")-strings.Count(map[bool]string{true: "/"}[daily], "/") || strings.Contains(k, "../") {
			t.Fatalf("key %q", k)
		}
	})
}

// Keys of others are not taken for partitions.
func TestForeignKeysAreSkipped(t *testing.T) {
	for _, key := range []string{
		"", "events.parquet", "event_type=x/dt=2026-11-20/hour=10/other.parquet", "event_type=x/dt=2026-11-20/hour=1/events.parquet",
		"event_type=x/dt=2026-11-20/hour=24/events.parquet", "event_type=x/dt=2026-02-30/hour=10/events.parquet", "event_type=/dt=2026-11-20/hour=10/events.parquet",
		"event_type=a%2fb/dt=2026-11-20/hour=10/events.parquet", "event_type=%61/dt=2026-11-20/hour=10/events.parquet", "event_type=a:b/dt=2026-11-20/hour=10/events.parquet",
		"Event_type=x/dt=2026-11-20/hour=10/events.parquet", "event_type=x/hour=10/dt=2026-11-20/events.parquet", "event_type=_x/dt=2026-11-20/hour=10/events.parquet",
		"p/event_type=x/dt=2026-11-20/hour=10/events.parquet", "event_type=%/dt=2026-11-20/hour=10/events.parquet", "event_type=x/dt=2026-11-20/hour=10/events.parquet/",
	} {
		if h, ok := hourOf(key); ok {
			t.Errorf("%q is taken for hour %s", key, h)
		}
	}
	if h, ok := hourOf("event_type=a%2Fb/dt=2026-11-20/hour=10/events.parquet"); !ok || h.String() != "a/b/2026-11-20T10" {
		t.Errorf("a%%2Fb is hour %s, %t", h, ok)
	}
}

// Whatever is read as a manifest is written back as the same text, and nothing
// makes the reading panic.
func FuzzManifest(f *testing.F) {
	col := afterhours.Column{Name: "user_id", Field: "u.id", Type: afterhours.Double}
	f.Add(text(f, hour, 0))
	f.Add(text(f, hour, 7, col))
	f.Add(`{"format":1}`)
	f.Add(`{"format":2}`)
	f.Fuzz(func(t *testing.T, s string) {
		m, err := decodeManifest(s)
		if err != nil {
			return
		}
		out, err := m.encode()
		if err != nil {
			t.Fatalf("decoded %q, but cannot encode it: %v", s, err)
		}
		again, err := decodeManifest(out)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(m) {
			t.Fatalf("%q became %q: %v", s, out, err)
		}
	})
}

// Whatever is read as merged rows is printed as the same text, with an origin for
// each segment and no other.
func FuzzMerged(f *testing.F) {
	seg := strings.Repeat("0a", 16)
	for _, s := range []string{
		"", seg + " 2026-11-20 0-41,43", seg + " @2026-11-20 5,9", seg + " 2026-11-20 0\n" + strings.Repeat("0b", 16) + " @2026-11-21 7",
		seg + " 2026-11-20 ", seg + " @2026-11-20", seg + " 0-41", seg + "  0", seg + " @@2026-11-20 0", seg + " 2026-11-20 0 ", "\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rows, origins, err := parseMerged(text)
		if err != nil {
			return
		}
		if got := formatMerged(rows, origins); got != text {
			t.Fatalf("%q became %q", text, got)
		}
		m := newManifest(hour, nil)
		m.Merged, m.Origins = rows, origins
		if err := m.validateOrigins(); err != nil {
			t.Fatal(err)
		}
	})
}

// Only what is printed is read: any other form of the same is an error.
func TestMergedRowsAreParsedStrictly(t *testing.T) {
	a, b := strings.Repeat("0a", 16), strings.Repeat("0b", 16)
	for _, good := range []string{"", a + " 2026-11-20 0-41,43", a + " @2026-11-20 5,9\n" + b + " 2026-11-21 0"} {
		if _, _, err := parseMerged(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"\n", a, a + " 2026-11-20", a + " 2026-11-20 ", a + " 0-41", a + " 2026-1-20 0", a + " 2026-11-31 0", a + " # 0", a + " @@2026-11-20 0",
		a + " 2026-11-20 0,1", a + " 2026-11-20 1,0", a + "  2026-11-20 0", a + " 2026-11-20 0\n", a + " 2026-11-20 0\n\n" + b + " 2026-11-20 0",
		b + " 2026-11-20 0\n" + a + " 2026-11-20 0", a + " 2026-11-20 0\n" + a + " 2026-11-20 1", strings.ToUpper(a) + " 2026-11-20 0", a[1:] + " 2026-11-20 0",
	} {
		if rows, _, err := parseMerged(bad); err == nil {
			t.Errorf("%q was read as %v", bad, rows)
		}
	}
}

// A manifest that cannot be right is neither written nor read.
func TestImpossibleManifestsAreRefused(t *testing.T) {
	seg, other := afterhours.Segment{1}, afterhours.Segment{2}
	ids := []string{digest([]byte("a")), digest([]byte("b"))}
	slices.Sort(ids)
	for what, change := range map[string]func(*Manifest){
		"no origin":              func(m *Manifest) { delete(m.Origins, seg) },
		"another origin":         func(m *Manifest) { m.Origins = map[afterhours.Segment]afterhours.Origin{other: {}} },
		"an origin too many":     func(m *Manifest) { m.Origins[other] = afterhours.Origin{} },
		"origin without rows":    func(m *Manifest) { m.Merged[other], m.Origins[other] = nil, afterhours.Origin{} },
		"a day that is none":     func(m *Manifest) { m.Origins[seg] = afterhours.Origin{Day: 1 << 30} },
		"settled on no day":      func(m *Manifest) { m.Settled = 1 << 30 },
		"erased is no digest":    func(m *Manifest) { m.ErasedIDs = []string{"a"} },
		"erased out of order":    func(m *Manifest) { m.ErasedIDs = []string{ids[1], ids[0]} },
		"erased twice":           func(m *Manifest) { m.ErasedIDs = []string{ids[0], ids[0]} },
		"a row too many":         func(m *Manifest) { m.Rows++ },
		"a row seen, not merged": func(m *Manifest) { m.Rows, m.Seen = 2, 2 },
	} {
		m := newManifest(hour, nil)
		m.Merged.Add(afterhours.RowID{Segment: seg})
		m.Origins[seg] = afterhours.Origin{Day: 20_000}
		m.Rows, m.Seen, m.ErasedIDs = 1, 1, ids
		if _, err := m.encode(); err != nil {
			t.Fatal(err)
		}
		change(m)
		if text, err := m.encode(); err == nil {
			t.Errorf("%s: written as %s", what, text)
		}
	}
}

// The history keeps the last publishes.
func TestHistoryIsBounded(t *testing.T) {
	l := openDirTest(t)
	rows := sample(hour, historyLength+3)
	for i := range rows {
		if _, err := rewrite(l, hour, RewriteOptions{Cause: fmt.Sprint(i)}, rows[i], rows[0]); err != nil {
			t.Fatal(err)
		}
	}
	_, m := read(t, l, hour)
	last := m.History[len(m.History)-1]
	if len(m.History) != historyLength || last != (Publish{Generation: int64(len(rows)), At: 1_800_000_000e6, Cause: fmt.Sprint(len(rows) - 1), Added: 1}) {
		t.Errorf("%d entries, last %+v", len(m.History), last)
	}
}

// A manifest that grows too large is kept whole, with an alarm.
func TestLargeManifestAlarms(t *testing.T) {
	var log strings.Builder
	l := openDirTest(t)
	l.opt.Logger = slog.New(slog.NewTextHandler(&log, nil))
	rows := sample(hour, 2000)
	for i := range rows {
		rows[i].id = afterhours.RowID{Segment: afterhours.NewSegment()}
	}
	res, err := rewrite(l, hour, RewriteOptions{}, rows...)
	if err != nil {
		t.Fatal(err)
	}
	_, m := read(t, l, hour)
	if len(m.Merged) != len(rows) || res.ManifestSize <= ManifestLimit {
		t.Errorf("%d segments, %d bytes", len(m.Merged), res.ManifestSize)
	}
	for _, part := range []string{"level=ERROR", "manifest is too large", "restart them less often", "hour=" + hour.String(), "segments=2000", fmt.Sprint("bytes=", res.ManifestSize)} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("log %q has no %q", log.String(), part)
		}
	}
}

// What dead processes left behind is removed when a directory is opened, what
// may be in use is not.
func TestOpenRemovesLeftovers(t *testing.T) {
	root := t.TempDir()
	openTest(t, "file://"+root)
	tmp := filepath.Join(root, tempName)
	day := time.Unix(1_800_000_000, 0)
	for name, age := range map[string]time.Duration{"old": 25 * time.Hour, "young": time.Hour, lockName: 99 * time.Hour} {
		path := filepath.Join(tmp, name)
		if err := os.WriteFile(path, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, day, day.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	openTest(t, "file://"+root)
	files, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 2 || files[0].Name() != lockName || files[1].Name() != "young" {
		t.Errorf("left are %v", files)
	}
}

// A rewrite leaves nothing in the temporary directories, published or not.
func TestRewriteCleansUp(t *testing.T) {
	root, tmp := t.TempDir(), t.TempDir()
	l, err := Open(context.Background(), "file://"+root, Options{TempDir: tmp})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 2 {
		if _, err := rewrite(l, hour, RewriteOptions{Memory: 1000}, sample(hour, 50)...); err != nil {
			t.Fatal(err)
		}
	}
	bad := sample(hour, 60)
	bad[59].e.ID = ""
	if _, err := rewrite(l, hour, RewriteOptions{Memory: 1000}, bad...); err == nil {
		t.Fatal("an event without ID was published")
	}
	for _, dir := range []string{tmp, filepath.Join(root, tempName)} {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if f.Name() != lockName {
				t.Errorf("left behind: %s", f.Name())
			}
		}
	}
}

// A temporary file has no name, so that none is left when a process dies.
func TestTempFilesHaveNoName(t *testing.T) {
	dir := t.TempDir()
	f, err := temp(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("%v, %v; want an empty directory", files, err)
	}
}

// The columns stand in their order, the encodings are those every reader knows,
// and the metadata says how the rows are sorted.
func TestFileIsConservativeParquet(t *testing.T) {
	l := openDirTest(t)
	publishShown(t, l, hour.String(), 3000)
	b, err := l.Base(context.Background(), hour)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	file, err := parquet.OpenFile(b.partition.reader, b.partition.size)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range file.Schema().Fields() {
		names = append(names, c.Name())
	}
	if got := strings.Join(names, " "); got != "event_id event_time received_at payload a_bool b_double c_int d_time user_id conflict" {
		t.Errorf("columns %s", got)
	}
	for _, g := range file.Metadata().RowGroups {
		if s := g.SortingColumns; len(s) != 3 || s[0].ColumnIdx != 8 || !s[0].NullsFirst || s[1].ColumnIdx != 1 || s[2].ColumnIdx != 0 {
			t.Errorf("sorting columns %+v", s)
		}
		for _, c := range g.Columns {
			if c.MetaData.Codec.String() != "ZSTD" {
				t.Errorf("%v: codec %s", c.MetaData.PathInSchema, c.MetaData.Codec)
			}
			for _, e := range c.MetaData.Encoding {
				if !strings.Contains("PLAIN RLE RLE_DICTIONARY", e.String()) {
					t.Errorf("%v: encoding %s", c.MetaData.PathInSchema, e)
				}
			}
			for _, e := range c.MetaData.EncodingStats {
				if e.PageType.String() == "DATA_PAGE_V2" {
					t.Errorf("%v: page version 2", c.MetaData.PathInSchema)
				}
			}
		}
	}
	if s := file.Schema().String(); strings.Count(s, "TIMESTAMP(isAdjustedToUTC=true,unit=MICROS)") != 3 {
		t.Errorf("schema %s", s)
	}
	for _, g := range file.RowGroups() {
		for i, c := range g.ColumnChunks() {
			if i != colPayload { // has no bounds, which no reader has a use for
				checkPageIndex(t, c)
			}
		}
	}
}

// checkPageIndex compares the bounds and null counts of a column's page index
// with its pages: a reader skips pages by them.
func checkPageIndex(t *testing.T, c parquet.ColumnChunk) {
	t.Helper()
	index, err := c.ColumnIndex()
	if err != nil {
		t.Fatal(err)
	}
	pages := c.Pages()
	defer pages.Close()
	compare := c.Type().Compare
	for i := range index.NumPages() {
		p, err := pages.ReadPage()
		if err != nil {
			t.Fatal(err)
		}
		values := make([]parquet.Value, p.NumValues())
		if _, err := p.Values().ReadValues(values); err != nil && err.Error() != "EOF" {
			t.Fatal(err)
		}
		nulls := int64(0)
		for _, v := range values {
			if v.IsNull() {
				nulls++
				continue
			}
			if compare(index.MinValue(i), v) > 0 || compare(v, index.MaxValue(i)) > 0 {
				t.Fatalf("column %d, page %d: %v is outside %v … %v", c.Column(), i, v, index.MinValue(i), index.MaxValue(i))
			}
		}
		if index.NullCount(i) != nulls || index.NullPage(i) != (nulls == int64(len(values))) {
			t.Errorf("column %d, page %d: %d nulls, index says %d, null page %t", c.Column(), i, nulls, index.NullCount(i), index.NullPage(i))
		}
		parquet.Release(p)
	}
}
