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

	"pgregory.net/rapid"

	"github.com/afterhours/afterhours"
)

// oracle is what a partition must hold: the naive way.
func oracle(rows []row, user func(payload []byte) any) []afterhours.Copies {
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

// Any split of any rows into rewrites of any kind, in any order and under any
// memory budget, gives the rows and the books of a naive merge, and the same rows
// as one rewrite. Nothing is published exactly if no row would change.
func TestRewritesEqualOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, err := Open(context.Background(), "file://"+tempDir(t), Options{BlockRows: rapid.SampledFrom([]int{1, 2, 3, 8, 32, 64, 0}).Draw(t, "rows of a block")})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		m := &model{lake: l, rows: drawRows(t), where: map[afterhours.RowID]place{}, erased: map[string]bool{}}
		m.user = rapid.SampledFrom([]afterhours.ColumnType{"", afterhours.String, afterhours.Double}).Draw(t, "user")
		all := drawColumns(t, m.user)
		known := 0
		for range rapid.IntRange(1, 6).Draw(t, "rewrites") {
			known = rapid.IntRange(known, len(all)).Draw(t, "known columns")
			m.step(t, RewriteOptions{Columns: all[:known], Memory: int64(rapid.SampledFrom([]int{1, 500, 4000, 1 << 20}).Draw(t, "memory"))})
			if m.manifest != nil {
				m.check(t)
			}
		}
	})
}

// place is where the model has a stored row.
type place int

const (
	unread place = iota // in no partition
	noted               // judged to be a mere copy
	merged              // in the manifest
	pruned              // was in the manifest, and cannot be read any more
	gone                // cannot be read any more, and its partition was discarded
)

// model is what the store and the lake hold after some rewrites.
type model struct {
	lake     *Lake
	rows     []row
	where    map[afterhours.RowID]place
	erased   map[string]bool
	user     afterhours.ColumnType
	manifest *Manifest // nil before the first publish
}

// in returns the rows at these places.
func (m *model) in(places ...place) []row {
	return slices.DeleteFunc(slices.Clone(m.rows), func(r row) bool { return !slices.Contains(places, m.where[r.id]) })
}

// published is what the partition must hold if these rows are in it.
func (m *model) published(rows []row) []afterhours.Copies {
	rows = slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return m.erased[r.e.ID] })
	sorted := m.manifest != nil && m.manifest.Sort[0] == userColumn
	return oracle(rows, func(payload []byte) any {
		for _, u := range users {
			switch {
			case !sorted || u.payload != string(payload):
			case m.user == afterhours.String:
				return u.text
			default:
				return u.number
			}
		}
		return nil
	})
}

// originOf gives half of the segments a shared lane.
func originOf(r row) afterhours.Origin {
	if r.id.Segment[0] > 2 {
		return afterhours.Origin{Day: 20_000, Shared: true}
	}
	return afterhours.Origin{Day: afterhours.DayOf(r.e.Received)}
}

// step does one rewrite as a compactor would.
func (m *model) step(t *rapid.T, o RewriteOptions) {
	kind := rapid.SampledFrom([]string{"merge", "merge", "merge", "merge", "rebuild", "discard", "force", "lineage", "erase", "prune"}).Draw(t, "kind")
	if kind == "lineage" {
		m.move(noted, unread)
	}
	add := m.in(unread)
	add = add[:rapid.IntRange(0, len(add)).Draw(t, "new")]
	o.Settled = afterhours.Day(rapid.IntRange(0, 5).Draw(t, "settled"))
	switch kind {
	case "rebuild":
		o.Rebuild = true
		add = append(m.in(merged, noted), add...)
	case "discard":
		o.Rebuild, o.Discard = true, true
		old := m.in(merged, noted)
		add = append(old[rapid.IntRange(0, len(old)).Draw(t, "expired"):], add...)
	case "force":
		o.Force = true
	case "lineage":
		o.NewLineage, o.After = true, rapid.Int64Range(0, 9).Draw(t, "after")
	case "erase":
		o.Erase = rapid.SliceOfN(rapid.SampledFrom(drawnIDs), 1, 3).Draw(t, "erase")
	case "prune":
		o.Prune = func(s afterhours.Segment, _ afterhours.Origin) bool { return s[0]%2 == 0 }
	}
	for _, r := range m.in(noted) {
		o.Noted = append(o.Noted, NotedRows{r.id.Segment, afterhours.Range{First: r.id.Seq, Last: r.id.Seq}, originOf(r)})
	}
	res, err := m.rewrite(o, add)
	if kind == "rebuild" && m.manifest != nil && (m.manifest.Pruned > 0 || m.manifest.Erased > 0) {
		if !errors.Is(err, ErrNotCovered) {
			t.Fatalf("rebuild of pruned or erased rows: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatalf("%s: %v", kind, err)
	}
	if want := m.mayStay(kind, o, add); res.Unchanged != want {
		t.Fatalf("%s of %v: unchanged is %t, want %t", kind, add, res.Unchanged, want)
	}
	m.checkResult(t, o, res, add)
	m.apply(o, res, add)
}

// mayStay reports whether the object may stay as it is.
func (m *model) mayStay(kind string, o RewriteOptions, add []row) bool {
	if m.manifest == nil || kind != "merge" && kind != "prune" || !slices.Equal(m.manifest.Columns, sortedColumns(o.Columns)) {
		return false
	}
	before := m.in(noted, merged, pruned)
	return !slices.ContainsFunc(add, func(r row) bool { return m.erased[r.e.ID] }) &&
		slices.EqualFunc(m.published(before), m.published(append(before, add...)), sameCopies)
}

func sortedColumns(cols []afterhours.Column) []afterhours.Column {
	return slices.SortedFunc(slices.Values(cols), func(a, b afterhours.Column) int { return cmp.Compare(a.Name, b.Name) })
}

func (m *model) rewrite(o RewriteOptions, add []row) (res Result, err error) {
	b, err := m.lake.Base(context.Background(), hour)
	if err != nil {
		return res, err
	}
	defer b.Close()
	r, err := m.lake.Rewrite(b, o)
	if err != nil {
		return res, err
	}
	defer r.Close()
	if !o.Rebuild {
		add = append(m.in(noted), add...) // noted ones must be ignored
	}
	for _, x := range add {
		if err := r.Add(x.id, originOf(x), x.e); err != nil {
			return res, err
		}
	}
	return r.Publish(context.Background())
}

// checkResult compares what a publish says with what was there and added.
func (m *model) checkResult(t *rapid.T, o RewriteOptions, res Result, add []row) {
	if res.Added != int64(len(add)) || res.Unchanged && res.Duplicates != res.Added {
		t.Fatalf("added %d rows: %+v", len(add), res)
	}
	was, now := m.manifest, res.Manifest
	if res.Unchanged {
		if fmt.Sprint(was) != fmt.Sprint(now) {
			t.Fatalf("unchanged manifest %+v, was %+v", now, was)
		}
		return
	}
	want := Publish{Generation: 1 + o.After, Added: int64(len(add)), Duplicates: res.Duplicates}
	settled := o.Settled
	if was != nil {
		want.Generation = max(want.Generation, was.Generation+1)
		if same := was.Lineage == now.Lineage; same == (o.NewLineage || o.Rebuild) {
			t.Fatalf("lineage %s became %s", was.Lineage, now.Lineage)
		}
		if !o.Rebuild {
			settled = max(settled, was.Settled)
		}
	}
	got := now.History[len(now.History)-1]
	want.At = got.At
	if got != want || now.Generation != want.Generation || now.Settled != settled {
		t.Fatalf("manifest %+v, want %+v and settled %s", now, want, settled)
	}
}

// apply moves rows where a rewrite has put them.
func (m *model) apply(o RewriteOptions, res Result, add []row) {
	m.manifest = res.Manifest
	to := merged
	if res.Unchanged {
		to = noted
	} else {
		used := map[afterhours.Segment]bool{}
		for _, r := range append(m.in(noted), add...) {
			used[r.id.Segment] = true
		}
		for _, r := range m.in(merged) {
			if o.Prune != nil && !used[r.id.Segment] && o.Prune(r.id.Segment, originOf(r)) {
				m.where[r.id] = pruned
			}
		}
		m.move(noted, merged)
	}
	if o.Rebuild {
		m.move(merged, unread)
		m.move(pruned, gone)
	}
	for _, r := range add {
		m.where[r.id] = to
	}
	for _, id := range o.Erase {
		m.erased[id] = true
	}
}

func (m *model) move(from, to place) {
	for _, r := range m.in(from) {
		m.where[r.id] = to
	}
}

// check compares the partition with the model.
func (m *model) check(t *rapid.T) {
	inside := m.in(noted, merged, pruned)
	want := m.published(inside)
	got, b := read(t, m.lake, hour)
	if !slices.EqualFunc(got, want, sameCopies) {
		t.Fatalf("partition holds\n%v, want\n%v", got, want)
	}
	var conflicts, late int64
	for _, c := range want {
		conflicts += one(c.Conflict)
		late += one(c.Late())
	}
	seen, away := int64(len(m.in(merged, pruned))), int64(len(m.in(pruned)))
	if b.Rows != int64(len(want)) || b.Seen != seen || b.Pruned != away || b.Conflicts != conflicts || b.Late != late {
		t.Fatalf("books %+v of %d rows, %d events, %d pruned, %d conflicts, %d late", b, seen, len(want), away, conflicts, late)
	}
	if len(m.erased) == 0 && b.Erased != 0 {
		t.Fatalf("%d rows erased of none", b.Erased)
	}
	inManifest, origins := afterhours.RowSet{}, map[afterhours.Segment]afterhours.Origin{}
	for _, r := range m.in(merged) {
		inManifest.Add(r.id)
		o := originOf(r)
		o.Day = max(o.Day, origins[r.id.Segment].Day)
		origins[r.id.Segment] = o
	}
	if fmt.Sprint(b.Merged) != fmt.Sprint(inManifest) || fmt.Sprint(b.Origins) != fmt.Sprint(origins) {
		t.Fatalf("merged %v of %v, want %v of %v", b.Merged, b.Origins, inManifest, origins)
	}
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

var drawnIDs = []string{"e1", "e2", "e3", "e10", "e", "e\x00", "é", strings.Repeat("long", 200), "e4", "e5", "e6"}

func drawRows(t *rapid.T) []row {
	gen := rapid.Custom(func(t *rapid.T) afterhours.Event {
		at := hour.Start + afterhours.Micros(rapid.SampledFrom([]int64{0, 1, 2, 3_599_999_999}).Draw(t, "time"))
		received := hour.End() + afterhours.Micros(rapid.Int64Range(-2, 2).Draw(t, "received"))
		return afterhours.Event{
			ID: rapid.SampledFrom(drawnIDs).Draw(t, "id"), Type: hour.Type, Time: at, Received: received,
			Payload: []byte(users[rapid.IntRange(0, len(users)-1).Draw(t, "payload")].payload),
		}
	})
	var rows []row
	for i, e := range rapid.SliceOfN(gen, 0, 40).Draw(t, "events") {
		rows = append(rows, row{afterhours.RowID{Segment: afterhours.Segment{1 + byte(i%4)}, Seq: uint32(i / 4)}, e})
	}
	return rows
}

func sameCopies(a, b afterhours.Copies) bool {
	return a.ID == b.ID && a.Type == b.Type && a.Time == b.Time && a.Received == b.Received && string(a.Payload) == string(b.Payload) && a.Conflict == b.Conflict
}
