package storetest

import (
	"context"
	"fmt"

	"math"
	"slices"
	"strings"
	"testing"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// partitionsAreReplaced records partitions of two types, some twice.
func partitionsAreReplaced(t *testing.T, s suite) {
	ctx := t.Context()
	var want []store.Partition
	for _, eventType := range []string{s.Type, s.Type + "2"} {
		for i, span := range []string{"1969-12-31T22", "1969-12-31T23", "2025-11-20T10", "2026-11-20T10"} {
			n := int64(i + 1)
			want = append(want, store.Partition{
				Hour: hour(eventType, span), Lineage: "lineage", Generation: n, Rows: 10 * n, Seen: 15 * n, Duplicates: 5 * n, Erased: 3 * n,
				Conflicts: n, Late: 2 * n, Bytes: n << 40, Manifest: n << 10, Published: now(), Version: "\"version\" " + span,
				Settled: afterhours.RowSet{afterhours.NewSegment(): {{First: 0, Last: uint32(n)}}},
			})
		}
	}
	for i := range want {
		p := want[(i*3)%len(want)]
		old := p
		old.Generation, old.Rows, old.Lineage, old.Version, old.Settled = 0, 1, "older", "older", nil
		check(t, s.board.PutPartition(ctx, old))
		check(t, s.board.PutPartition(ctx, p))
	}
	for i, p := range want {
		got, ok, err := s.board.Partition(ctx, p.Hour)
		if err != nil || !ok {
			t.Fatalf("partition %s: %v, %v", p.Hour, ok, err)
		}
		wantEqual(t, "partition", []store.Partition{got}, want[i:i+1])
		want[i].Settled = nil // is left out of the list
	}
	got := ownPartitions(t, s, s.board.Partitions)
	// The order of types is not promised, that of hours within one is.
	slices.SortStableFunc(got, func(a, b store.Partition) int { return strings.Compare(a.Hour.Type, b.Hour.Type) })
	wantEqual(t, "partitions", got, want)
	if err := s.board.Partitions(ctx, func(store.Partition) error { return errStop }); err != errStop {
		t.Errorf("Partitions: %v", err)
	}
}

// ownPartitions returns what a visiting method tells of the case's types. No
// settled rows are none.
func ownPartitions(t *testing.T, s suite, list func(context.Context, func(store.Partition) error) error) []store.Partition {
	t.Helper()
	var got []store.Partition
	check(t, list(t.Context(), func(p store.Partition) error {
		if len(p.Settled) == 0 {
			p.Settled = nil
		}
		if strings.HasPrefix(p.Hour.Type, s.Type) {
			got = append(got, p)
		}
		return nil
	}))
	return got
}

// settledComesBack records few settled rows for many hours, and very many rows
// for some.
func settledComesBack(t *testing.T, s suite) {
	ctx := t.Context()
	var want []store.Partition
	for i := range 300 {
		p := store.Partition{Hour: afterhours.HourOf(s.Type, afterhours.Micros(i)*3600e6), Version: fmt.Sprint("v", i)}
		if i > 0 {
			p.Settled = afterhours.RowSet{}
			for range i % 5 * (1 + i%100) {
				p.Settled[afterhours.NewSegment()] = afterhours.Ranges{{First: 0, Last: uint32(i)}, {First: math.MaxUint32, Last: math.MaxUint32}}
			}
		}
		put := p
		put.Lineage, put.Rows, put.Published = "lineage", int64(i), now()
		check(t, s.board.PutPartition(ctx, put))
		if len(p.Settled) == 0 {
			p.Settled = nil
		}
		want = append(want, p)
	}
	got := ownPartitions(t, s, s.board.Settled)
	slices.SortFunc(got, func(a, b store.Partition) int { return a.Hour.Compare(b.Hour) })
	wantEqual(t, "settled rows", got, want)
	if err := s.board.Settled(ctx, func(store.Partition) error { return errStop }); err != errStop {
		t.Errorf("Settled: %v", err)
	}
}

// feedInOrder tells of publishes within some hours, in no order, some twice.
func feedInOrder(t *testing.T, s suite) {
	ctx, end := t.Context(), now()
	var want []store.Publication
	for i := range 40 {
		want = append(want, store.Publication{
			Hour: afterhours.HourOf(s.Type, afterhours.Micros(i%7)*3600e6), Lineage: "lineage", Generation: int64(i), At: end - afterhours.Micros(40-i)*600e6,
			Cause: []string{"merge", "refresh", "rebuild", "discard", "restore"}[i%5], Added: int64(i), Duplicates: int64(i / 2),
		})
	}
	for i := range want {
		part := []store.Publication{want[(i*7)%40], want[(i*11)%40]}
		check(t, s.board.PutPublications(ctx, part))
	}
	check(t, s.board.PutPublications(ctx, nil))
	wantEqual(t, "feed", feed(t, s, want[0].At, end), want)
	wantEqual(t, "feed from the beginning", feed(t, s, math.MinInt64, math.MaxInt64), want)
	wantEqual(t, "part of the feed", feed(t, s, want[3].At, want[30].At), want[3:30])
	wantEqual(t, "one instant", feed(t, s, want[5].At, want[5].At+1), want[5:6])
	wantEqual(t, "nothing", feed(t, s, want[5].At+1, want[6].At), nil)
	wantEqual(t, "nothing", feed(t, s, want[6].At, want[5].At), nil)

	// What happened at one instant is told in full, in any order.
	same := []store.Publication{want[20], want[20], want[20]}
	same[1].Generation++
	same[2].Hour = hour(s.Type+"2", "2026-11-20T10")
	check(t, s.board.PutPublications(ctx, same))
	if got := feed(t, s, want[20].At, want[21].At); len(got) != 3 {
		t.Errorf("at one instant: %v", got)
	}
	if err := s.board.Feed(ctx, want[0].At, end, func(store.Publication) error { return errStop }); err != errStop {
		t.Errorf("Feed: %v", err)
	}
}

// feed returns the publications of the case's types.
func feed(t *testing.T, s suite, from, to afterhours.Micros) []store.Publication {
	t.Helper()
	var got []store.Publication
	check(t, s.board.Feed(t.Context(), from, to, func(p store.Publication) error {
		if strings.HasPrefix(p.Hour.Type, s.Type) {
			got = append(got, p)
		}
		return nil
	}))
	return got
}

// sweptIsRemembered keeps the last word, whatever it is.
func sweptIsRemembered(t *testing.T, s suite) {
	for _, at := range []afterhours.Micros{now(), now(), 5, math.MaxInt64} {
		check(t, s.board.PutSwept(t.Context(), at))
		if got := must(s.board.Swept(t.Context()))(t); got != at {
			t.Errorf("swept at %d, want %d", got, at)
		}
	}
}

// lakesAreApart has boards whose lakes' names are close, with the same hour.
func lakesAreApart(t *testing.T, s suite) {
	ctx, h, at := t.Context(), hour(s.Type, "2026-11-20T10"), now()
	lakes := []string{"s3://bucket/a", "s3://bucket/a/", "s3://bucket/a?region=eu", "S3://bucket/a", "file:///ü '\"x", s.Type}
	for i, lake := range lakes {
		b, n := s.Board(lake), int64(i)
		check(t, b.PutRequest(ctx, store.Request{Hour: h, ID: "r", Made: at + afterhours.Micros(n)}))
		check(t, b.PutPartition(ctx, store.Partition{Hour: h, Rows: n}))
		check(t, b.PutPublications(ctx, []store.Publication{{Hour: h, At: at, Generation: n}}))
		check(t, b.PutStuck(ctx, store.Stuck{Hour: h, Reason: lake}))
		check(t, b.PutSwept(ctx, at+afterhours.Micros(n)))
	}
	first := s.Board(lakes[0]) // what it removes stays with the others
	check(t, first.DeleteRequest(ctx, store.Request{Hour: h, ID: "r"}))
	check(t, first.ClearStuck(ctx, h))
	for i, lake := range lakes {
		n, b := int64(i), s
		b.board = s.Board(lake) // another board of the same name is the same
		var requests []store.Request
		var stuck []store.Stuck
		if i > 0 {
			requests = []store.Request{{Hour: h, ID: "r", Made: at + afterhours.Micros(n)}}
			stuck = []store.Stuck{{Hour: h, Reason: lake}}
		}
		wantEqual(t, lake+" requests", must(b.board.Requests(ctx, h))(t), requests)
		wantEqual(t, lake+" stuck", ownStuck(t, b), stuck)
		check(t, b.board.ClearStuck(ctx, h))
		partition := []store.Partition{{Hour: h, Rows: n}}
		wantEqual(t, lake+" partitions", ownPartitions(t, b, b.board.Partitions), partition)
		wantEqual(t, lake+" settled", ownPartitions(t, b, b.board.Settled), []store.Partition{{Hour: h}})
		if p, ok, err := b.board.Partition(ctx, h); err != nil || !ok || p.Rows != n {
			t.Errorf("%s: partition %+v, %v, %v", lake, p, ok, err)
		}
		wantEqual(t, lake+" feed", feed(t, b, at, at+1), []store.Publication{{Hour: h, At: at, Generation: n}})
		if got := must(b.board.Swept(ctx))(t); got != at+afterhours.Micros(n) {
			t.Errorf("%s: swept at %s", lake, got)
		}
	}
	if p, ok, err := s.board.Partition(ctx, h); ok || err != nil {
		t.Errorf("the board of the other cases: %+v, %v", p, err)
	}
}
