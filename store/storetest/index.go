package storetest

import (
	"maps"
	"slices"
	"strings"
	"testing"

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
	wantEqual(t, "lanes", must(s.Lanes(ctx, h))(t), want)
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
		wantEqual(t, "lanes", must(s.Lanes(ctx, h))(t), want)
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
		check(t, s.PutStuck(ctx, store.Stuck{Hour: h, Reason: name}))
		check(t, s.PutPartition(ctx, store.Partition{Hour: h, Rows: int64(i)}))
		check(t, s.PutRequest(ctx, store.Request{Hour: h, ID: name}))
	}
	for i, name := range names {
		h := hour(name, "1987-06-05T04")
		wantRows(t, read(t, s, h, store.OwnLane(seg), nil), numbered(h, seg, uint32(i), 2))
		wantEqual(t, "columns", must(s.Columns(ctx, name))(t), []afterhours.Column{{Name: "c", Field: name, Type: afterhours.Int64}})
		wantEqual(t, "requests", must(s.Requests(ctx, h))(t), []store.Request{{Hour: h, ID: name}})
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
	for _, x := range must(s.StuckHours(t.Context()))(t) {
		if want[x.Hour] > 0 && x.Reason == x.Hour.Type {
			stuck[x.Hour]++
			check(t, s.ClearStuck(t.Context(), x.Hour))
		}
	}
	check(t, s.Partitions(t.Context(), func(p store.Partition) error {
		if want[p.Hour] > 0 {
			parts[p.Hour]++
		}
		return nil
	}))
	if !maps.Equal(stuck, want) || !maps.Equal(parts, want) {
		t.Errorf("stuck hours %v and partitions %v, want %v", stuck, parts, want)
	}
}
