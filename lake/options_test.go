package lake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/afterhours/afterhours"
)

// begin begins a rewrite of the hour.
func begin(t *testing.T, l *Lake, o RewriteOptions) *Rewrite {
	t.Helper()
	b, err := l.Base(context.Background(), hour)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	r, err := l.Rewrite(b, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

var (
	ownDay    = func(d afterhours.Day) afterhours.Origin { return afterhours.Origin{Day: d} }
	sharedDay = func(d afterhours.Day) afterhours.Origin { return afterhours.Origin{Day: d, Shared: true} }
)

// The manifest says where each segment lies: of its own with the last day of its
// rows, in whatever order and in however many rewrites they come, or shared.
func TestManifestKnowsOrigins(t *testing.T) {
	l := openDirTest(t)
	rows := sample(hour, 7)
	own, shared := afterhours.Segment{1}, afterhours.Segment{2}
	add := func(r *Rewrite, i int, seg afterhours.Segment, o afterhours.Origin) {
		t.Helper()
		if err := r.Add(afterhours.RowID{Segment: seg, Seq: uint32(i)}, o, rows[i].e); err != nil {
			t.Fatal(err)
		}
	}
	check := func(r *Rewrite, text string) {
		t.Helper()
		if _, err := r.Publish(context.Background()); err != nil {
			t.Fatal(err)
		}
		if _, m := read(t, l, hour); formatMerged(m.Merged, m.Origins) != text {
			t.Errorf("merged\n%s\nwant\n%s", formatMerged(m.Merged, m.Origins), text)
		}
	}
	r := begin(t, l, RewriteOptions{})
	add(r, 0, own, ownDay(20_001))
	add(r, 1, own, ownDay(20_003))
	add(r, 2, own, ownDay(20_002))
	add(r, 4, shared, sharedDay(20_002))
	check(r, "01000000000000000000000000000000 2024-10-07 0-2\n02000000000000000000000000000000 @2024-10-06 4")
	r = begin(t, l, RewriteOptions{})
	add(r, 3, own, ownDay(20_000))
	add(r, 6, shared, sharedDay(20_002))
	check(r, "01000000000000000000000000000000 2024-10-07 0-3\n02000000000000000000000000000000 @2024-10-06 4,6")
	r = begin(t, l, RewriteOptions{})
	add(r, 5, own, ownDay(20_004))
	check(r, "01000000000000000000000000000000 2024-10-08 0-3,5\n02000000000000000000000000000000 @2024-10-06 4,6")
}

// A segment lies in one lane: rows, or notes, that say otherwise are refused.
func TestSegmentInTwoLanesIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ a, b afterhours.Origin }{
		"own, then shared":    {ownDay(1), sharedDay(1)},
		"shared, then own":    {sharedDay(1), ownDay(1)},
		"shared on two days":  {sharedDay(1), sharedDay(2)},
		"shared on a day ago": {sharedDay(2), sharedDay(1)},
	} {
		l := openDirTest(t)
		rows := sample(hour, 2)
		r := begin(t, l, RewriteOptions{})
		if err := r.Add(rows[0].id, c.a, rows[0].e); err != nil {
			t.Fatal(err)
		}
		if err := r.Add(rows[1].id, c.b, rows[1].e); err == nil {
			t.Errorf("%s: added", name)
		}
		if _, err := r.Publish(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := begin(t, l, RewriteOptions{}).Add(rows[1].id, c.b, rows[1].e); err == nil {
			t.Errorf("%s: added to the base's", name)
		}
		if err := begin(t, l, RewriteOptions{Rebuild: true}).Add(rows[1].id, c.b, rows[1].e); err != nil {
			t.Errorf("%s: a rebuild begins anew, but: %v", name, err)
		}
		b, err := l.Base(context.Background(), hour)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if _, err := l.Rewrite(b, RewriteOptions{Noted: []NotedRows{{Rows: afterhours.Range{First: 1, Last: 1}, Origin: c.b}}}); err == nil {
			t.Errorf("%s: noted", name)
		}
	}
}

// Noted rows count as merged, once, as duplicates, and not as added; they are
// ignored when they are read once more.
func TestNotedRowsAreFoldedIn(t *testing.T) {
	l := openDirTest(t)
	rows := sample(hour, 12)
	mustPublish(t, l, RewriteOptions{}, rows[:10]...)
	noted := afterhours.Segment{7}
	o := RewriteOptions{Noted: []NotedRows{
		{noted, afterhours.Range{First: 0, Last: 4}, sharedDay(20_000)},
		{noted, afterhours.Range{First: 3, Last: 6}, sharedDay(20_000)},           // overlaps
		{rows[0].id.Segment, afterhours.Range{First: 8, Last: 9}, ownDay(20_777)}, // merged before
	}}
	again := row{afterhours.RowID{Segment: noted, Seq: 2}, rows[2].e}
	if res := mustPublish(t, l, o, again); !res.Unchanged || res.Added != 0 {
		t.Errorf("noted rows alone were published: %+v", res)
	}
	res := mustPublish(t, l, o, again, rows[10], rows[11])
	m := res.Manifest
	if res.Added != 2 || res.Duplicates != 0 || m.Seen != 19 || m.Duplicates != 7 || m.Rows != 12 || m.Merged[noted].String() != "0-6" || m.Origins[noted] != sharedDay(20_000) {
		t.Errorf("result %+v with manifest %+v", res, m)
	}
	if last := m.History[len(m.History)-1]; last.Added != 2 || last.Duplicates != 0 {
		t.Errorf("history ends with %+v", last)
	}
	if m = mustPublish(t, l, RewriteOptions{Force: true, Noted: o.Noted}).Manifest; m.Seen != 19 || m.Duplicates != 7 {
		t.Errorf("folded in twice: %+v", m)
	}
}

// Notes are true of one partition's lineage: without its rows they are not, and
// the rows are taken when they are read again.
func TestNotesOfAnotherLineageAreIgnored(t *testing.T) {
	rows := sample(hour, 3)
	o := RewriteOptions{Noted: []NotedRows{{rows[2].id.Segment, afterhours.Range{First: 2, Last: 2}, ownDay(20_777)}}}
	for name, change := range map[string]func(*RewriteOptions){
		"no base":     nil,
		"new lineage": func(o *RewriteOptions) { o.NewLineage = true },
		"rebuild":     func(o *RewriteOptions) { o.Rebuild = true },
		"discard":     func(o *RewriteOptions) { o.Rebuild, o.Discard = true, true },
	} {
		l, o := openDirTest(t), o
		if change != nil {
			mustPublish(t, l, RewriteOptions{}, rows[:2]...)
			change(&o)
		}
		if m := mustPublish(t, l, o, rows...).Manifest; m.Seen != 3 || m.Rows != 3 || m.Duplicates != 0 {
			t.Errorf("%s: manifest %+v", name, m)
		}
	}
}

// A segment is forgotten if it may be, and its rows stay in the books; one that is
// in use is not even asked about.
func TestPrunedSegmentsLeaveTheManifest(t *testing.T) {
	l := openDirTest(t)
	rows := sample(hour, 10)
	for i := range rows {
		rows[i].id.Segment = afterhours.Segment{byte(i / 2)} // 0 … 4
	}
	mustPublish(t, l, RewriteOptions{}, rows[:9]...)
	asked := map[afterhours.Segment]afterhours.Origin{}
	o := RewriteOptions{
		Noted: []NotedRows{{afterhours.Segment{3}, afterhours.Range{First: 90, Last: 90}, ownDay(20_777)}},
		Prune: func(s afterhours.Segment, o afterhours.Origin) bool { asked[s] = o; return s != afterhours.Segment{1} },
	}
	m := mustPublish(t, l, o, rows[9]).Manifest
	if want := map[afterhours.Segment]afterhours.Origin{{0}: ownDay(20_777), {1}: ownDay(20_777), {2}: ownDay(20_777)}; !maps.Equal(asked, want) {
		t.Errorf("asked about %v, want %v", asked, want)
	}
	if m.Pruned != 4 || m.Seen != 11 || m.Rows != 10 || len(m.Merged) != 3 || len(m.Origins) != 3 {
		t.Errorf("manifest %+v", m)
	}
	if _, err := rewrite(l, hour, RewriteOptions{Rebuild: true}, rows...); !errors.Is(err, ErrNotCovered) {
		t.Errorf("rebuild of a pruned partition: %v, want not covered", err)
	}
}

// The day before which shared lanes are settled only grows, unless all is read
// again.
func TestSettledDayIsKept(t *testing.T) {
	l := openDirTest(t)
	for _, c := range []struct {
		o    RewriteOptions
		want afterhours.Day
	}{
		{RewriteOptions{Settled: 20_000}, 20_000},
		{RewriteOptions{Settled: 19_999, Force: true}, 20_000},
		{RewriteOptions{Settled: 20_001, Force: true}, 20_001},
		{RewriteOptions{Settled: 20_000, NewLineage: true}, 20_001},
		{RewriteOptions{Settled: 20_000, Rebuild: true}, 20_000},
	} {
		if m := mustPublish(t, l, c.o).Manifest; m.Settled != c.want {
			t.Errorf("%+v: settled %s, want %s", c.o, m.Settled, c.want)
		}
	}
	if _, m := read(t, l, hour); m.Settled != 20_000 {
		t.Errorf("settled %s was read", m.Settled)
	}
}

// A copy that changes the row, or is the first with another payload, is published;
// the same copy again is not.
func TestCopiesThatChangeARowArePublished(t *testing.T) {
	first := sample(hour, 1)[0]
	for name, change := range map[string]func(*afterhours.Event){
		"received earlier":            func(e *afterhours.Event) { e.Received-- },
		"another payload, later":      func(e *afterhours.Event) { e.Received++; e.Payload = []byte("{}") },
		"another payload, earlier":    func(e *afterhours.Event) { e.Received--; e.Payload = []byte("{}") },
		"event time of other mapping": func(e *afterhours.Event) { e.Time-- },
	} {
		l := openDirTest(t)
		first.e.Time = hour.Start + 5
		mustPublish(t, l, RewriteOptions{}, first)
		copied := first
		copied.id.Seq = 1
		change(&copied.e)
		if res := mustPublish(t, l, RewriteOptions{}, copied); res.Unchanged || res.Duplicates != 1 {
			t.Errorf("%s: %+v", name, res)
		}
		copied.id.Seq = 2
		r := begin(t, l, RewriteOptions{})
		if err := copied.addTo(r); err != nil {
			t.Fatal(err)
		}
		res, err := r.Publish(context.Background())
		if err != nil || !res.Unchanged || res.Manifest.Generation != 2 {
			t.Errorf("%s, again: %+v, %v", name, res, err)
		}
		if rows := r.AddedRows(); rows.Count() != 1 || !rows.Has(copied.id) {
			t.Errorf("%s: added rows %v", name, rows)
		}
	}
}

// Where copies conflict already, a further one still changes the row if it wins.
func TestSmallerPayloadWinsAfterAConflict(t *testing.T) {
	l := openDirTest(t)
	for i, payload := range []string{"b", "c", "a"} {
		x := sample(hour, 1)[0]
		x.id.Seq, x.e.Payload = uint32(i), []byte(payload)
		if res := mustPublish(t, l, RewriteOptions{}, x); res.Unchanged {
			t.Errorf("payload %s was not published", payload)
		}
	}
	if got, m := read(t, l, hour); string(got[0].Payload) != "a" || m.Conflicts != 1 {
		t.Errorf("rows %v, %d conflicts", got, m.Conflicts)
	}
}

// What is asked for is published although no row changes.
func TestPublishesWithoutNewRows(t *testing.T) {
	user := afterhours.Column{Name: "user_id", Field: "user_id", Type: afterhours.String}
	for name, o := range map[string]RewriteOptions{
		"force":       {Force: true},
		"new lineage": {NewLineage: true},
		"new column":  {Columns: []afterhours.Column{user}},
		"erasure":     {Erase: []string{"nobody"}},
	} {
		l := openDirTest(t)
		first := mustPublish(t, l, RewriteOptions{Cause: "one"}, sample(hour, 5)...).Manifest
		if res := mustPublish(t, l, RewriteOptions{}); !res.Unchanged {
			t.Errorf("published for nothing: %+v", res)
		}
		o.Cause = "two"
		res := mustPublish(t, l, o)
		m := res.Manifest
		if res.Unchanged || m.Generation != 2 || m.Rows != 5 || m.Seen != 5 || causes(m) != "one two" || (m.Lineage == first.Lineage) == o.NewLineage {
			t.Errorf("%s: %+v, manifest %+v", name, res, m)
		}
	}
}

// A generation that is known to have been published is not used again.
func TestGenerationFollowsWhatIsKnown(t *testing.T) {
	l := openDirTest(t)
	for _, c := range []struct{ after, want int64 }{{-5, 1}, {9, 10}, {4, 11}, {11, 12}, {0, 13}} {
		if m := mustPublish(t, l, RewriteOptions{NewLineage: true, After: c.after}).Manifest; m.Generation != c.want {
			t.Errorf("after %d: generation %d, want %d", c.after, m.Generation, c.want)
		}
	}
}

// A rebuild that discards the base holds what was read, and nothing else, even if
// the base is damaged or has a column that nobody knows. What was erased stays so.
func TestDiscardGivesUpTheBase(t *testing.T) {
	l := openDirTest(t)
	rows := sample(hour, 10)
	mustPublish(t, l, RewriteOptions{Columns: []afterhours.Column{{Name: "x", Field: "x", Type: afterhours.Int64}}, Cause: "one"}, rows...)
	first := mustPublish(t, l, RewriteOptions{Columns: []afterhours.Column{{Name: "x", Field: "x", Type: afterhours.Int64}}, Erase: []string{"event-9"}, Cause: "two"})
	damaged := objectBytes(t, l, keyOf(hour))
	copy(damaged[100:], make([]byte, 200)) // pages, not the footer
	put(t, l, keyOf(hour), damaged)
	if _, err := rewrite(l, hour, RewriteOptions{Rebuild: true}, rows...); !errors.Is(err, ErrNotCovered) {
		t.Errorf("rebuild: %v, want not covered", err)
	}
	res := mustPublish(t, l, RewriteOptions{Rebuild: true, Discard: true, Cause: "discard"}, rows[7:]...)
	m := res.Manifest
	if m.Generation != 3 || m.Lineage == first.Manifest.Lineage || m.Seen != 3 || m.Rows != 2 || m.Erased != 1 || causes(m) != "one two discard" || res.RowsBefore != 9 {
		t.Errorf("result %+v, manifest %+v", res, m)
	}
	if got, _ := read(t, l, hour); len(got) != 2 {
		t.Errorf("%d rows, want 2", len(got))
	}
}

// Erased events leave the partition at once, down to the last one; their copies do
// not come back in merges, rebuilds or discards, and the books show them.
func TestEraseDropsRowsForGood(t *testing.T) {
	l := openDirTest(t)
	rows := sample(hour, 3)
	again := rows[1]
	again.id.Seq = 100
	mustPublish(t, l, RewriteOptions{}, append(rows, again)...)
	m := mustPublish(t, l, RewriteOptions{Erase: []string{"event-1", "event-1"}}).Manifest
	if m.Rows != 2 || m.Erased != 1 || m.Duplicates != 1 || len(m.ErasedIDs) != 1 {
		t.Errorf("manifest %+v", m)
	}
	m = mustPublish(t, l, RewriteOptions{Erase: []string{"event-0", "event-2"}, Columns: []afterhours.Column{{Name: "user_id", Field: "user_id", Type: afterhours.String}}}).Manifest
	if m.Rows != 0 || m.Erased != 3 || m.Seen != 4 || len(m.ErasedIDs) != 3 {
		t.Errorf("manifest %+v", m)
	}
	cols := RewriteOptions{Columns: m.Columns}
	again.id.Seq = 101
	if res := mustPublish(t, l, cols, again); res.Unchanged || res.Manifest.Rows != 0 || res.Manifest.Erased != 4 || res.Duplicates != 0 {
		t.Errorf("a copy of an erased event: %+v, manifest %+v", res, res.Manifest)
	}
	fresh := sample(hour, 5)[3:]
	if m = mustPublish(t, l, cols, fresh...).Manifest; m.Rows != 2 {
		t.Errorf("events after the last one was erased: %+v", m)
	}
	cols.Rebuild, cols.Discard = true, true
	if m = mustPublish(t, l, cols, append(rows, fresh...)...).Manifest; m.Rows != 2 || m.Erased != 3 || m.Seen != 5 || len(m.ErasedIDs) != 3 {
		t.Errorf("after a rebuild %+v", m)
	}
	if got, _ := read(t, l, hour); len(got) != 2 || got[0].ID != "event-3" {
		t.Errorf("rows %v", got)
	}
}

// A rebuild may erase as well.
func TestRebuildErases(t *testing.T) {
	l := openDirTest(t)
	rows := sample(hour, 4)
	mustPublish(t, l, RewriteOptions{}, rows...)
	m := mustPublish(t, l, RewriteOptions{Rebuild: true, Erase: []string{"event-2"}}, rows...).Manifest
	if m.Rows != 3 || m.Erased != 1 || m.Seen != 4 {
		t.Errorf("manifest %+v", m)
	}
}

// A file that is not a whole partition of the hour is not restored.
func TestRestoreRefusesOtherFiles(t *testing.T) {
	l := openDirTest(t)
	mustPublish(t, l, RewriteOptions{}, sample(hour, 30)...)
	good := objectBytes(t, l, keyOf(hour))
	damaged := slices.Clone(good)
	copy(damaged[60:], make([]byte, 100))
	other := hour
	other.Type = "click"
	if _, err := rewrite(l, other, RewriteOptions{}, sample(other, 3)...); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{
		"not Parquet": []byte("x"), "empty": nil, "damaged in a page": damaged, "truncated": good[:len(good)-1],
		"another hour": objectBytes(t, l, keyOf(other)), "wrong order": forge(t, nil, text(t, hour, 2), record{id: []byte("b"), time: hour.Start}, record{id: []byte("a"), time: hour.Start}),
	} {
		if _, err := l.RestoreBase(context.Background(), hour, save(t, file)); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "old.parquet") {
			t.Errorf("%s: %v, want a refusal that names the file", name, err)
		}
	}
	if _, err := l.RestoreBase(context.Background(), hour, t.TempDir()+"/none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if !bytes.Equal(good, objectBytes(t, l, keyOf(hour))) {
		t.Error("the object was changed")
	}
}

// The footer is read whole however long it is, and a damaged one is refused.
func TestManifestReadsAnyFooter(t *testing.T) {
	l := openDirTest(t)
	rows := sample(hour, 3000)
	for i := range rows {
		rows[i].id = afterhours.RowID{Segment: afterhours.NewSegment()}
	}
	res := mustPublish(t, l, RewriteOptions{}, rows...)
	if res.ManifestSize <= footerGuess {
		t.Fatalf("manifest of %d bytes is too small for this test", res.ManifestSize)
	}
	m, err := l.Manifest(context.Background(), listed(t, l, hour))
	if err != nil || fmt.Sprint(m) != fmt.Sprint(res.Manifest) {
		t.Errorf("manifest with %d segments, %v", len(m.Merged), err)
	}
	good := objectBytes(t, l, keyOf(hour))
	for name, bad := range map[string][]byte{
		"empty": {}, "short": []byte("PAR1"), "only the end": good[len(good)-8:], "not Parquet": bytes.Repeat([]byte("x"), 100),
		"footer cut off": good[len(good)-footerGuess:], "no footer": good[:len(good)-8],
		"checksum": bytes.Replace(good, []byte(`"rows":3000`), []byte(`"rows":3001`), 1),
	} {
		put(t, l, keyOf(hour), bad)
		if m, err := l.Manifest(context.Background(), listed(t, l, hour)); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %+v, %v; want a refusal", name, m, err)
		}
	}
}

// A year of weekly stragglers whose raw rows expire leaves a small manifest, and
// complete books.
func TestYearOfStragglersStaysSmall(t *testing.T) {
	const ttl = 30
	l := openDirTest(t)
	start := afterhours.DayOf(hour.Start)
	var largest int64
	for week := range 52 {
		today := start + afterhours.Day(7*week)
		r := begin(t, l, RewriteOptions{Settled: today - 2, Prune: func(_ afterhours.Segment, o afterhours.Origin) bool { return o.Day+1+ttl <= today }})
		for i := range 5 { // of as many workers
			e := sample(hour, 1)[0].e
			e.ID, e.Received = fmt.Sprint(week, "-", i), today.Start()
			if err := r.Add(afterhours.RowID{Segment: afterhours.NewSegment(), Seq: uint32(1000*week + i)}, sharedDay(today), e); err != nil {
				t.Fatal(err)
			}
		}
		res, err := r.Publish(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		largest = max(largest, res.ManifestSize)
	}
	_, m := read(t, l, hour)
	if m.Rows != 52*5 || m.Seen != 52*5 || m.Pruned != (52-5)*5 || len(m.Merged) != 5*5 || largest > ManifestLimit/10 {
		t.Errorf("largest manifest %d bytes; last %+v", largest, m)
	}
	t.Logf("largest manifest %d bytes", largest)
}
