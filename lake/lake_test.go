package lake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/afterhours/afterhours"
)

// hour is what most tests publish.
var hour, _ = afterhours.ParseHour("purchase/2026-11-20T10")

func openTest(tb testing.TB, url string) *Lake {
	tb.Helper()
	l, err := Open(context.Background(), url, Options{TempDir: tb.TempDir(), Now: func() time.Time { return time.Unix(1_800_000_000, 0) }})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	return l
}

func openDirTest(tb testing.TB) *Lake {
	tb.Helper()
	return openTest(tb, "file://"+tb.TempDir())
}

// row is a stored copy of an event.
type row struct {
	id afterhours.RowID
	e  afterhours.Event
}

// rewrite publishes rows once. The error is not a failure.
func rewrite(l *Lake, h afterhours.Hour, o RewriteOptions, rows ...row) (res Result, err error) {
	ctx := context.Background()
	b, err := l.Base(ctx, h)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	r, err := l.Rewrite(b, o)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for _, x := range rows {
		if err := r.Add(x.id, x.e); err != nil {
			return res, err
		}
	}
	return r.Publish(ctx)
}

// read returns a partition's rows and manifest.
func read(tb rapid.TB, l *Lake, h afterhours.Hour) ([]afterhours.Copies, *Manifest) {
	tb.Helper()
	b, err := l.Base(context.Background(), h)
	if err != nil {
		tb.Fatal(err)
	}
	defer b.Close()
	if err := b.Verify(); err != nil {
		tb.Fatal(err)
	}
	var rows []afterhours.Copies
	if err := b.Rows(func(c afterhours.Copies) error { rows = append(rows, c); return nil }); err != nil {
		tb.Fatal(err)
	}
	return rows, b.Manifest
}

// oracle is what a partition must hold: the naive way.
func oracle(rows []row, userType afterhours.ColumnType, user func(payload []byte) any) []afterhours.Copies {
	byID := map[string]afterhours.Copies{}
	for _, r := range rows {
		c := afterhours.Copies{Event: r.e}
		if old, ok := byID[r.e.ID]; ok {
			c = afterhours.Dedup(old, c)
		}
		byID[r.e.ID] = c
	}
	var want []afterhours.Copies
	for _, c := range byID {
		want = append(want, c)
	}
	slices.SortFunc(want, func(a, b afterhours.Copies) int {
		return cmp.Or(compareUsers(user(a.Payload), user(b.Payload)), cmp.Compare(a.Time, b.Time), cmp.Compare(a.ID, b.ID))
	})
	return want
}

func compareUsers(a, b any) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	switch a := a.(type) {
	case string:
		return strings.Compare(a, b.(string))
	case float64:
		return cmp.Compare(a, b.(float64))
	}
	panic("no such user")
}

// users are payloads by what their user_id is, as a string and as a number.
var users = []struct {
	payload string
	text    any
	number  any
}{
	{`{"u":{"id":"a"}}`, "a", nil},
	{`{"u":{"id":"a"},"x":1}`, "a", nil},
	{`{"u":{"id":"a\u0000"}}`, "a\x00", nil},
	{`{"u":{"id":"a\u0000b"}}`, "a\x00b", nil},
	{`{"u":{"id":"\u0001é"}}`, "\x01é", nil},
	{`{"u":{"id":""}}`, "", nil},
	{`{"u":{"id":"😀"}}`, "😀", nil},
	{`{"u":{"id":7}}`, nil, 7.0},
	{`{"u":{"id":-7.5}}`, nil, -7.5},
	{`{"u":{"id":1e300}}`, nil, 1e300},
	{`{"u":{"id":-0}}`, nil, 0.0},
	{`{"u":{"id":-1e-300}}`, nil, -1e-300},
	{`{"u":{"id":null}}`, nil, nil},
	{`{"u":1}`, nil, nil},
	{`not JSON`, nil, nil},
	{`{"u":{"id":"a"},"u":2}`, nil, nil},
	{``, nil, nil},
}

// Any split of any rows into rewrites, in any order and under any memory budget,
// gives the rows and the books of a naive merge, and the same rows as one rewrite.
func TestRewritesEqualOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, err := Open(context.Background(), "file://"+tempDir(t), Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		rows := drawRows(t)
		userType := rapid.SampledFrom([]afterhours.ColumnType{"", afterhours.String, afterhours.Double}).Draw(t, "user")
		all := drawColumns(t, userType)
		known := rapid.IntRange(0, len(all)).Draw(t, "known columns")
		seen := 0
		for parts := rapid.IntRange(1, 5).Draw(t, "parts"); parts > 0; parts-- {
			n := len(rows) - seen
			if parts > 1 {
				n = rapid.IntRange(0, n).Draw(t, "rows")
				known = rapid.IntRange(known, len(all)).Draw(t, "known columns")
			} else {
				known = len(all)
			}
			o := RewriteOptions{Columns: all[:known], Memory: int64(rapid.SampledFrom([]int{1, 500, 4000, 1 << 20}).Draw(t, "memory"))}
			add := rows[seen : seen+n]
			if o.Rebuild = rapid.Bool().Draw(t, "rebuild"); o.Rebuild {
				add = rows[:seen+n]
			}
			res, err := rewrite(l, hour, o, add...)
			if err != nil {
				t.Fatal(err)
			}
			if res.Added != int64(len(add)) {
				t.Fatalf("added %d of %d rows", res.Added, len(add))
			}
			seen += n
			checkPartition(t, l, rows[:seen], userType, known > 0 && userType != "")
		}
	})
}

// tempDir is TempDir for one check of rapid.
func tempDir(t *rapid.T) string {
	dir, err := os.MkdirTemp("", "lake-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// drawColumns returns columns of which the first, if a type is given, is the
// user: it sorts last by name only if the others are c…, so any prefix of the
// list is a set of columns to have been declared first.
func drawColumns(t *rapid.T, userType afterhours.ColumnType) []afterhours.Column {
	var cols []afterhours.Column
	if userType != "" {
		cols = append(cols, afterhours.Column{Name: userColumn, Field: "u.id", Type: userType})
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "columns") {
		cols = append(cols, afterhours.Column{Name: fmt.Sprintf("c%d", i), Field: "x", Type: rapid.SampledFrom(afterhours.ColumnTypes).Draw(t, "type")})
	}
	return cols
}

func drawRows(t *rapid.T) []row {
	ids := rapid.SampledFrom([]string{"e1", "e2", "e3", "e10", "e", "e\x00", "é", strings.Repeat("long", 200), "e4", "e5", "e6"})
	segments := []afterhours.Segment{{1}, {2}}
	gen := rapid.Custom(func(t *rapid.T) afterhours.Event {
		at := hour.Start + afterhours.Micros(rapid.SampledFrom([]int64{0, 1, 2, 3_599_999_999}).Draw(t, "time"))
		received := hour.End() + afterhours.Micros(rapid.Int64Range(-2, 2).Draw(t, "received"))
		return afterhours.Event{
			ID: ids.Draw(t, "id"), Type: hour.Type, Time: at, Received: received,
			Payload: []byte(users[rapid.IntRange(0, len(users)-1).Draw(t, "payload")].payload),
		}
	})
	var rows []row
	for i, e := range rapid.SliceOfN(gen, 0, 40).Draw(t, "events") {
		rows = append(rows, row{afterhours.RowID{Segment: segments[i%2], Seq: uint32(i / 2)}, e})
	}
	return rows
}

func checkPartition(t *rapid.T, l *Lake, rows []row, userType afterhours.ColumnType, sorted bool) {
	want := oracle(rows, userType, func(payload []byte) any {
		for _, u := range users {
			switch {
			case !sorted || u.payload != string(payload):
			case userType == afterhours.String:
				return u.text
			default:
				return u.number
			}
		}
		return nil
	})
	got, m := read(t, l, hour)
	if !slices.EqualFunc(got, want, sameCopies) {
		t.Fatalf("partition holds\n%v, want\n%v", got, want)
	}
	var conflicts, late int64
	for _, c := range want {
		count(&conflicts, c.Conflict)
		count(&late, c.Late())
	}
	if m.Rows != int64(len(want)) || m.Seen != int64(len(rows)) || m.Duplicates != int64(len(rows)-len(want)) || m.Conflicts != conflicts || m.Late != late {
		t.Fatalf("books %+v of %d rows, %d events, %d conflicts, %d late", m, len(rows), len(want), conflicts, late)
	}
	merged := afterhours.RowSet{}
	for _, r := range rows {
		merged.Add(r.id)
	}
	if !merged.Covers(m.Merged) || !m.Merged.Covers(merged) {
		t.Fatalf("merged %v, want %v", m.Merged, merged)
	}
}

func sameCopies(a, b afterhours.Copies) bool {
	return a.ID == b.ID && a.Type == b.Type && a.Time == b.Time && a.Received == b.Received && string(a.Payload) == string(b.Payload) && a.Conflict == b.Conflict
}
