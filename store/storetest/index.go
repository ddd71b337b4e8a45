package storetest

import (
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// lanesInOrder mixes own and shared lanes.
func lanesInOrder(t *testing.T, s suite) {
	ctx, h := t.Context(), hour(s.Type, "2026-11-20T10")
	want := []store.Lane{{Name: "2026-11-20"}, {Name: "2026-11-21", Rows: 12, Bytes: 3_000}, {Name: "2027-01-01"}}
	for _, seg := range segments(5) {
		want = append(want, store.Lane{Name: seg.String(), Closed: true, Rows: 50_000, Bytes: 32 << 20})
	}
	slices.SortFunc(want, func(a, b store.Lane) int { return strings.Compare(a.Name, b.Name) })
	for i := range want {
		check(t, s.PutLane(ctx, h, want[(i*3)%len(want)]))
	}
	wantEqual(t, "lanes", listed(t, s, h), want)
}

// lanesAreRenewed follows a lane of its own from open to closed.
func lanesAreRenewed(t *testing.T, s suite) {
	ctx, h, seg := t.Context(), hour(s.Type, "2026-11-20T10"), afterhours.NewSegment()
	other := store.OwnLane(afterhours.NewSegment())
	check(t, s.PutLane(ctx, h, other))
	write(t, s, h, seg.String(), numbered(h, seg, 0, 20))
	l := store.OwnLane(seg)
	for _, step := range []store.Lane{{}, {}, {Rows: 10, Bytes: 1_000}, {Rows: 20, Bytes: 2_000, Closed: true}, {Rows: 20, Bytes: 2_000, Closed: true}} {
		l.Closed, l.Rows, l.Bytes = step.Closed, step.Rows, step.Bytes
		check(t, s.PutLane(ctx, h, l))
		want := []store.Lane{l, other}
		slices.SortFunc(want, func(a, b store.Lane) int { return strings.Compare(a.Name, b.Name) })
		wantEqual(t, "lanes", listed(t, s, h), want)
	}
	wantRows(t, read(t, s, h, l, nil), numbered(h, seg, 0, 20))
}

// everyHourOnce lists hours with one lane and with many, in several days.
func everyHourOnce(t *testing.T, s suite) {
	ctx, want := t.Context(), map[afterhours.Hour]int{}
	for _, eventType := range []string{s.Type, s.Type + "/2026-11-20T10", s.Type + "é"} {
		for _, span := range []string{"1969-12-31T23", "2026-11-20T09", "2026-11-20T10", "2026-11-20"} {
			h := hour(eventType, span)
			want[h] = 1
			for range 1 + len(want)*len(want)%7 {
				check(t, s.PutLane(ctx, h, store.OwnLane(afterhours.NewSegment())))
			}
		}
	}
	got := map[afterhours.Hour]int{}
	check(t, s.Hours(ctx, func(h afterhours.Hour) error {
		if strings.HasPrefix(h.Type, s.Type) {
			got[h]++
		}
		// A visitor may use the store.
		_, err := s.Lanes(ctx, h)
		return err
	}))
	if !maps.Equal(got, want) {
		t.Errorf("hours: %v, want %v", got, want)
	}
}

// oddNames are valid event types that some storage might mangle.
var oddNames = []string{
	"a/b", "a/b/", "/", "//", "a//b", ".", "..", "a b", " ", " lead", "trail ", "a'b", `a"b`, "a`b", `a\b`, "a%2Fb", "a=b", "a;b--", "a:b", "a,b",
	"{a}", "[a]", "a?b&c", "$a", "a\u00a0b", "naïve", "nai\u0308ve", "事件", "событие", "🎉", "e\u202e", "\u2028", "\U0010ffff", "\ufffd", "A", "a",
	"null", "0", "-1", "2026-11-20T10", "a/2026-11-20", afterhours.QuarantineType,
}

// oddTypes writes and lists under every odd name, and under the longest.
func oddTypes(t *testing.T, s suite) {
	ctx, seg := t.Context(), afterhours.NewSegment()
	names := []string{strings.Repeat("x", afterhours.MaxType), strings.Repeat("é", afterhours.MaxType/2)}
	names = append(names, oddNames...)
	want := map[afterhours.Hour]int{}
	for i, name := range names {
		check(t, afterhours.ValidateType(name))
		h := hour(name, "1987-06-05T04")
		want[h] = 1
		check(t, s.PutLane(ctx, h, store.OwnLane(seg)))
		write(t, s, h, seg.String(), numbered(h, seg, uint32(i), 2))
		check(t, s.DeclareColumns(ctx, name, []afterhours.Column{{Name: "c", Field: name, Type: afterhours.Int64}}))
		check(t, s.board.PutStuck(ctx, store.Stuck{Hour: h, Reason: name}))
		check(t, s.board.PutPartition(ctx, store.Partition{Hour: h, Rows: int64(i)}))
		check(t, s.board.PutRequest(ctx, store.Request{Hour: h, ID: name}))
	}
	for i, name := range names {
		h := hour(name, "1987-06-05T04")
		wantRows(t, read(t, s, h, store.OwnLane(seg), nil), numbered(h, seg, uint32(i), 2))
		wantEqual(t, "columns", must(s.Columns(ctx, name))(t), []afterhours.Column{{Name: "c", Field: name, Type: afterhours.Int64}})
		wantEqual(t, "requests", must(s.board.Requests(ctx, h))(t), []store.Request{{Hour: h, ID: name}})
	}
	got := map[afterhours.Hour]int{}
	check(t, s.Hours(ctx, func(h afterhours.Hour) error {
		if want[h] > 0 {
			got[h]++
		}
		return nil
	}))
	if !maps.Equal(got, want) {
		t.Errorf("hours: %v, want %v", got, want)
	}
	oddTypesListed(t, s, want)
}

// oddTypesListed compares what is told of the hours, and clears them.
func oddTypesListed(t *testing.T, s suite, want map[afterhours.Hour]int) {
	stuck, parts := map[afterhours.Hour]int{}, map[afterhours.Hour]int{}
	for _, x := range must(s.board.StuckHours(t.Context()))(t) {
		if want[x.Hour] > 0 && x.Reason == x.Hour.Type {
			stuck[x.Hour]++
			check(t, s.board.ClearStuck(t.Context(), x.Hour))
		}
	}
	check(t, s.board.Partitions(t.Context(), func(p store.Partition) error {
		if want[p.Hour] > 0 {
			parts[p.Hour]++
		}
		return nil
	}))
	if !maps.Equal(stuck, want) || !maps.Equal(parts, want) {
		t.Errorf("stuck hours %v and partitions %v, want %v", stuck, parts, want)
	}
}

// listed returns the lanes of an hour, whose Until must be about now.
func listed(t *testing.T, s suite, h afterhours.Hour) []store.Lane {
	t.Helper()
	lanes := must(s.Lanes(t.Context(), h))(t)
	for i := range lanes {
		wantUntil(t, s, lanes[i])
		lanes[i].Until = 0
	}
	return lanes
}

// wantUntil checks a lane that was put a moment ago: rows may be acknowledged
// until it must be renewed, and live from then.
func wantUntil(t *testing.T, s suite, l store.Lane) {
	t.Helper()
	want := now() + afterhours.Micros((store.Renewal + s.TTL()).Microseconds())
	if off := want - l.Until; off < -60e6 || off > 60e6 {
		t.Errorf("lane %s has rows until %s, want about %s", l.Name, l.Until, want)
	}
}

// lanesTellUntil puts lanes again: their time starts anew each time.
func lanesTellUntil(t *testing.T, s suite) {
	h := hour(s.Type, "2026-11-20T10")
	if s.TTL() < time.Second {
		t.Fatalf("rows live %s", s.TTL())
	}
	for _, l := range []store.Lane{store.OwnLane(afterhours.NewSegment()), store.SharedLane(today())} {
		var last afterhours.Micros
		for range 3 {
			l.Until = 1 // is not looked at
			before := now()
			check(t, s.PutLane(t.Context(), h, l))
			lanes := must(s.Lanes(t.Context(), h))(t)
			i := slices.IndexFunc(lanes, func(x store.Lane) bool { return x.Name == l.Name })
			wantUntil(t, s, lanes[i])
			// Backends may count in milliseconds.
			earliest := before - 1_000 + afterhours.Micros((store.Renewal + s.TTL()).Microseconds())
			if lanes[i].Until < max(last, earliest) {
				t.Errorf("lane %s has rows until %s, want at least %s", l.Name, lanes[i].Until, max(last, earliest))
			}
			last = lanes[i].Until
		}
	}
}

// lanesPutAtOnce puts a shared lane by many writers, each with hints of its own.
func lanesPutAtOnce(t *testing.T, s suite) {
	h, lane := hour(s.Type, "2026-11-20T10"), store.SharedLane(today())
	var wg sync.WaitGroup
	for i := range int64(8) {
		wg.Go(func() {
			for n := range int64(5) {
				if err := s.PutLane(t.Context(), h, store.Lane{Name: lane.Name, Rows: 10*i + n, Bytes: 1_000 * (10*i + n)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := listed(t, s, h)
	if len(got) != 1 || got[0].Name != lane.Name || got[0].Rows%10 != 4 || got[0].Bytes != 1_000*got[0].Rows {
		t.Errorf("lanes: %+v, want the last word of one writer", got)
	}
	check(t, s.PutLane(t.Context(), h, lane))
	wantEqual(t, "lanes", listed(t, s, h), []store.Lane{lane})
}

// indexByHour lists hours with few lanes and one with very many.
func indexByHour(t *testing.T, s suite) {
	ctx, want := t.Context(), map[afterhours.Hour][]store.Lane{}
	start := hour(s.Type, "2026-11-20T10").Start
	for i := range 120 {
		h := afterhours.HourOf(s.Type+strings.Repeat("x", i%3), start+afterhours.Micros(i)*3600e6)
		n := 1 + i%4
		if i == 50 {
			n = 1_500
		}
		for range n {
			l := store.Lane{Name: afterhours.NewSegment().String(), Closed: i%2 == 0, Rows: int64(i), Bytes: int64(n)}
			want[h] = append(want[h], l)
		}
		want[h] = append(want[h], store.SharedLane(today()))
		putLanes(t, s, h, want[h])
		slices.SortFunc(want[h], func(a, b store.Lane) int { return strings.Compare(a.Name, b.Name) })
	}
	seen := 0
	check(t, s.Index(ctx, func(h afterhours.Hour, lanes []store.Lane) error {
		if !strings.HasPrefix(h.Type, s.Type) {
			return nil
		}
		seen++
		for i := range lanes {
			wantUntil(t, s, lanes[i])
			lanes[i].Until = 0 // the visitor may keep the lanes, and change them
		}
		wantEqual(t, "lanes of "+h.String(), lanes, want[h])
		return nil
	}))
	if seen != len(want) {
		t.Errorf("visited %d hours, want %d", seen, len(want))
	}
	if err := s.Index(ctx, func(afterhours.Hour, []store.Lane) error { return errStop }); err != errStop {
		t.Errorf("Index: %v", err)
	}
}

// putLanes puts lanes of an hour, several at once.
func putLanes(t *testing.T, s suite, h afterhours.Hour, lanes []store.Lane) {
	t.Helper()
	var wg sync.WaitGroup
	for part := range slices.Chunk(lanes, (len(lanes)+7)/8) {
		wg.Go(func() {
			for _, l := range part {
				if err := s.PutLane(t.Context(), h, l); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// notesStay records notes of two lineages and two hours in no order.
func notesStay(t *testing.T, s suite) {
	ctx, h, next, segs := t.Context(), hour(s.Type, "2026-11-20T10"), hour(s.Type, "2026-11-20T11"), segments(2)
	want := []store.Note{
		{Lane: "2026-11-20", Segment: segs[0], Rows: afterhours.Range{First: 0, Last: 0}},
		{Lane: "2026-11-20", Segment: segs[1], Rows: afterhours.Range{First: 9, Last: 10}},
		{Lane: "2026-11-20", Segment: segs[1], Rows: afterhours.Range{First: 256, Last: 300}},
		{Lane: "2026-11-21", Segment: segs[0], Rows: afterhours.Range{First: 0, Last: math.MaxUint32}},
		{Lane: "2026-11-21", Segment: segs[0], Rows: afterhours.Range{First: 1 << 31, Last: 1<<31 + 1}},
		{Lane: "2026-11-21", Segment: segs[0], Rows: afterhours.Range{First: math.MaxUint32, Last: math.MaxUint32}},
	}
	check(t, s.PutNotes(ctx, h, "a", []store.Note{want[4], want[1]}))
	check(t, s.PutNotes(ctx, h, "a", []store.Note{want[5], want[2], want[1], want[0], want[3]}))
	check(t, s.PutNotes(ctx, h, "a", nil))
	check(t, s.PutNotes(ctx, h, "b", want[2:3]))
	check(t, s.PutNotes(ctx, next, "a", want[3:4]))
	wantEqual(t, "notes", must(s.Notes(ctx, h, "a"))(t), want)
	wantEqual(t, "notes of the other lineage", must(s.Notes(ctx, h, "b"))(t), want[2:3])
	wantEqual(t, "notes of no lineage", must(s.Notes(ctx, h, ""))(t), nil)
	wantEqual(t, "notes of the next hour", must(s.Notes(ctx, next, "a"))(t), want[3:4])

	// Rows that differ in one end are another note: neither hides the other.
	wider := []store.Note{want[1], want[1]}
	wider[1].Rows.Last += 5
	check(t, s.PutNotes(ctx, next, "b", []store.Note{wider[1], wider[0]}))
	wantEqual(t, "overlapping notes", must(s.Notes(ctx, next, "b"))(t), wider)

	var many []store.Note
	for n := range uint32(3_000) {
		many = append(many, store.Note{Lane: segs[0].String(), Segment: segs[0], Rows: afterhours.Range{First: 2 * n, Last: 2 * n}})
	}
	check(t, s.PutNotes(ctx, next, "many", many))
	wantEqual(t, "many notes", must(s.Notes(ctx, next, "many"))(t), many)
}
