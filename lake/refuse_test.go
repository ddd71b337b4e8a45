package lake

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/afterhours/afterhours"
)

// objectBytes returns an object's bytes, and nil if there is none.
func objectBytes(t testing.TB, l *Lake, key string) []byte {
	t.Helper()
	o, err := l.objects.get(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	if o == nil {
		return nil
	}
	defer o.close()
	b := make([]byte, o.size)
	if err := readAt(o.reader(), b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// forge writes a sealed file of a partition's form whose manifest is whatever it
// is given.
func forge(t testing.TB, cols []afterhours.Column, text string, rows ...record) []byte {
	t.Helper()
	l, err := newLayout(cols)
	if err != nil {
		t.Fatal(err)
	}
	return sealedFile(t, l, func(f *partitionFile) error {
		if len(rows) > 0 {
			if err := f.put(forgeBlock(t, l, rows)); err != nil {
				return err
			}
			var hash hasher
			var sum content
			for _, r := range rows {
				sum = sum.add(hash.row(&r))
			}
			text = strings.Replace(text, content{}.String(), sum.String(), 1)
		}
		return f.close(text)
	})
}

// sealedFile is what write makes of a partition's file.
func sealedFile(t testing.TB, l *layout, write func(*partitionFile) error) []byte {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "partition"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	buffer := bufio.NewWriter(out)
	trail := newTrail(out)
	f, err := newPartitionFile(buffer, l, trail)
	if err == nil {
		err = errors.Join(write(f), buffer.Flush(), trail.wait())
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// forgeBlock is a block of rows in whatever order, of which its entry says that none
// is late or has a conflict.
func forgeBlock(t testing.TB, l *layout, rows []record) *encoded {
	t.Helper()
	var in batch
	for _, r := range rows {
		in.add(l.appendKey(nil, &r), &r)
	}
	filter := newFilter(len(rows))
	for _, r := range rows {
		filter.Insert(hashID(r.id))
	}
	b, err := l.assemble([]*strip{(&stripWriter{layout: l}).write(in.rows)}, filter)
	if err != nil {
		t.Fatal(err)
	}
	b.Rows = int64(len(rows))
	return b
}

// text returns a manifest of an hour with n rows as JSON.
func text(t testing.TB, h afterhours.Hour, n int64, cols ...afterhours.Column) string {
	t.Helper()
	m := newManifest(h, cols)
	m.Rows, m.Seen = n, n
	if n > 0 {
		m.Merged[afterhours.Segment{}] = afterhours.Ranges{{First: 0, Last: uint32(n - 1)}}
		m.Origins[afterhours.Segment{}] = afterhours.Origin{Day: afterhours.DayOf(h.Start)}
	}
	s, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A partition that this build must not rewrite is refused, with the reason, and
// stays as it is, byte for byte.
func TestRefusedPartitionsStay(t *testing.T) {
	upper, _ := afterhours.ParseHour("Purchase/2026-11-20T10")
	user := afterhours.Column{Name: "user_id", Field: "user_id", Type: afterhours.String}
	other := afterhours.Column{Name: "other", Field: "x", Type: afterhours.Int64}
	asInt := afterhours.Column{Name: "user_id", Field: "user_id", Type: afterhours.Int64}
	elsewhere := afterhours.Column{Name: "user_id", Field: "user.id", Type: afterhours.String}
	plain := text(t, hour, 0)
	e := func(id string, at afterhours.Micros) record {
		return record{id: []byte(id), time: hour.Start + at, received: hour.Start}
	}
	in := openDirTest(t)
	if _, err := rewrite(in, hour, RewriteOptions{}, sample(hour, 500)...); err != nil {
		t.Fatal(err)
	}
	good := objectBytes(t, in, keyOf(hour))
	cases := map[string]struct {
		object []byte
		want   string
	}{
		"newer format":            {forge(t, nil, strings.Replace(plain, `"format":1`, `"format":2,"new":true`, 1)), "format 2"},
		"unknown member":          {forge(t, nil, strings.Replace(plain, `"format":1`, `"format":1,"new":true`, 1)), "new"},
		"another hour":            {forge(t, nil, text(t, upper, 0)), "Purchase"},
		"undeclared column":       {forge(t, []afterhours.Column{other}, text(t, hour, 0, other)), "other=x:int64 is not declared"},
		"column of another type":  {forge(t, []afterhours.Column{asInt}, text(t, hour, 0, asInt)), "user_id=user_id:int64 is not declared"},
		"column of another field": {forge(t, []afterhours.Column{elsewhere}, text(t, hour, 0, elsewhere)), "user_id=user.id:string is not declared"},
		"column not in manifest":  {forge(t, []afterhours.Column{user}, plain), "not those that its manifest declares"},
		"column not in file":      {forge(t, nil, text(t, hour, 0, user)), "not those that its manifest declares"},
		"a row seen is nowhere":   {forge(t, nil, strings.NewReplacer(`"seen":0`, `"seen":1`, `"pruned":0`, `"pruned":1`).Replace(plain)), "published"},
		"a row seen has no name":  {forge(t, nil, strings.NewReplacer(`"seen":0`, `"seen":1`, `"erased":0`, `"erased":1`).Replace(plain)), "merged"},
		"settled on no day":       {forge(t, nil, strings.Replace(plain, `"settled":"1970-01-01"`, `"settled":"soon"`, 1)), "soon"},
		"merged rows of no day":   {forge(t, nil, strings.Replace(text(t, hour, 1), "2026-11-20 0", "0", 1), e("a", 0)), "parse day"},
		"erased IDs out of order": {forge(t, nil, strings.Replace(plain, `"erased_ids":[]`, `"erased_ids":["b","a"]`, 1)), "digest"},
		"fewer rows":              {forge(t, nil, text(t, hour, 2), e("a", 0)), "footer says 1 rows, manifest 2"},
		"no seal":                 {rekeyed(t, manifestKey, plain), "without a seal"},
		"no manifest":             {withEntry(t, "other", "x"), "without a manifest"},
		"not Parquet":             {[]byte(strings.Repeat("not Parquet ", 100)), "Parquet"},
		"empty":                   {[]byte{}, "Parquet"},
		"truncated":               {good[:len(good)-100], "Parquet"},
		"truncated in a page":     {append(slices.Clone(good[:100]), good[len(good)-3000:]...), ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l := openDirTest(t)
			put(t, l, keyOf(hour), c.object)
			_, err := rewrite(l, hour, RewriteOptions{Columns: []afterhours.Column{user}}, sample(hour, 3)...)
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("rewrite = %v, want a refusal for %q", err, c.want)
			}
			if errors.Is(err, ErrConflict) {
				t.Error("a refusal must not be tried again as a conflict")
			}
			if now := objectBytes(t, l, keyOf(hour)); !bytes.Equal(now, c.object) {
				t.Error("the object was changed")
			}
		})
	}
}

// withEntry is a sealed partition without rows, with one entry in its footer.
func withEntry(t *testing.T, key, value string) []byte {
	t.Helper()
	l, err := newLayout(nil)
	if err != nil {
		t.Fatal(err)
	}
	return sealedFile(t, l, func(f *partitionFile) error {
		return f.end([]format.KeyValue{{Key: key, Value: value}})
	})
}

// rekeyed is a Parquet file without rows that somebody else has written, with one
// entry in its footer.
func rekeyed(t *testing.T, key, value string) []byte {
	t.Helper()
	l, err := newLayout(nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := parquet.NewGenericWriter[any](&out, l.schema(), parquet.KeyValueMetadata(key, value))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// What only decoding finds is found by Verify.
func TestVerifyFindsWrongRows(t *testing.T) {
	e := func(id string, at afterhours.Micros) record {
		return record{id: []byte(id), time: hour.Start + at, received: hour.Start}
	}
	late := e("b", 2)
	late.received = hour.End()
	conflict := e("b", 2)
	conflict.conflict = true
	for name, c := range map[string]struct {
		rows []record
		want string
	}{
		"order":        {[]record{e("a", 2), e("b", 1)}, "out of order"},
		"twice":        {[]record{e("a", 1), e("a", 2)}, "twice"},
		"same row":     {[]record{e("a", 1), e("a", 1)}, "out of order"},
		"another hour": {[]record{e("a", 1), e("b", 3600e6)}, "another hour"},
		"late":         {[]record{e("a", 1), late}, "1 late"},
		"conflict":     {[]record{e("a", 1), conflict}, "1 conflicts"},
	} {
		l := openDirTest(t)
		put(t, l, keyOf(hour), forge(t, nil, text(t, hour, 2), c.rows...))
		b, err := l.Base(context.Background(), hour)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if err := b.Verify(); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Verify = %v, want something about %q", name, err, c.want)
		}
		// A rewrite verifies the strips that it makes anew, so it does not spread the
		// fault. That IDs are unique it must take the base's word for.
		if _, err := rewrite(l, hour, RewriteOptions{}, sample(hour, 3)...); err == nil && name != "twice" {
			t.Errorf("%s: the rewrite went through", name)
		}
	}
}

// An event that is invalid or of another hour is not published here.
func TestAddRefusesWrongEvents(t *testing.T) {
	good := sample(hour, 1)[0].e
	for name, change := range map[string]func(*afterhours.Event){
		"no ID":        func(e *afterhours.Event) { e.ID = "" },
		"another type": func(e *afterhours.Event) { e.Type = "Purchase" },
		"hour before":  func(e *afterhours.Event) { e.Time = hour.Start - 1 },
		"hour after":   func(e *afterhours.Event) { e.Time = hour.End() },
		"bad UTF-8":    func(e *afterhours.Event) { e.Payload = []byte{0xff} },
	} {
		e := good
		change(&e)
		l := openDirTest(t)
		if _, err := rewrite(l, hour, RewriteOptions{}, row{e: e}); err == nil {
			t.Errorf("%s: was added", name)
		}
	}
}

// A rebuild replaces the base only by all that the base was made of.
func TestRebuildMustCoverTheBase(t *testing.T) {
	l := openDirTest(t)
	rows := sample(hour, 10)
	first, err := rewrite(l, hour, RewriteOptions{Cause: "merge"}, rows...)
	if err != nil {
		t.Fatal(err)
	}
	o := RewriteOptions{Rebuild: true, Cause: "rebuild"}
	before := objectBytes(t, l, keyOf(hour))
	if _, err := rewrite(l, hour, o, rows[1:]...); !errors.Is(err, ErrNotCovered) {
		t.Errorf("rebuild of 9 of 10 rows: %v, want not covered", err)
	}
	if !bytes.Equal(before, objectBytes(t, l, keyOf(hour))) {
		t.Error("the object was changed")
	}
	res, err := rewrite(l, hour, o, rows...)
	if err != nil {
		t.Fatal(err)
	}
	m := res.Manifest
	if m.Lineage == first.Manifest.Lineage || m.Generation != 2 || m.Seen != 10 || len(m.History) != 2 || m.History[1].Cause != "rebuild" {
		t.Errorf("manifest after a rebuild: %+v", m)
	}
	for what, change := range map[string]func(*Manifest){
		"pruned": func(m *Manifest) { m.Pruned, m.Seen, m.Duplicates = 1, m.Seen+1, m.Duplicates+1 },
		"erased": func(m *Manifest) { m.Erased, m.Rows = 1, m.Rows-1 },
	} {
		m := *res.Manifest
		change(&m)
		b := &Base{Hour: hour, Manifest: &m}
		if _, err := l.Rewrite(b, o); !errors.Is(err, ErrNotCovered) {
			t.Errorf("rebuild over a base with %s rows: %v, want not covered", what, err)
		}
	}
}

// An erased event does not come back, and its rows are in the books.
func TestErasedEventsStayErased(t *testing.T) {
	l := openDirTest(t)
	rows := sample(hour, 6)
	m := newManifest(hour, nil)
	m.ErasedIDs = []string{digest([]byte(rows[1].e.ID)), digest([]byte(rows[5].e.ID))}
	slices.Sort(m.ErasedIDs)
	var recs []record
	for i, r := range rows[:3] { // one that is erased is still there
		recs = append(recs, record{id: []byte(r.e.ID), time: r.e.Time, received: r.e.Received, payload: r.e.Payload})
		m.Merged.Add(rows[i].id)
		m.Origins[rows[i].id.Segment] = afterhours.Origin{}
	}
	m.Rows, m.Seen = 3, 3
	text, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	put(t, l, keyOf(hour), forge(t, nil, text, recs...))
	again := rows[1]
	again.id.Seq = 100
	if _, err := rewrite(l, hour, RewriteOptions{}, rows[3], rows[4], rows[5]); err != nil {
		t.Fatal(err)
	}
	if _, err := rewrite(l, hour, RewriteOptions{}, again); err != nil {
		t.Fatal(err)
	}
	got, m := read(t, l, hour)
	var ids []string
	for _, c := range got {
		ids = append(ids, c.ID)
	}
	if want := []string{"event-0", "event-2", "event-3", "event-4"}; !slices.Equal(ids, want) {
		t.Errorf("events %v, want %v", ids, want)
	}
	if m.Seen != 7 || m.Rows != 4 || m.Erased != 3 || m.Duplicates != 0 {
		t.Errorf("books %+v", m)
	}
}
