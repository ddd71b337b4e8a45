package cassandra

import (
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/internal/testenv"
	"github.com/afterhours/afterhours/store"
)

// Rows go when their time is over, and the index row tells of them still.
func TestRowsExpireBeforeTheirLane(t *testing.T) {
	ctx, s := t.Context(), open(t, testenv.Keyspace(t)+"?ttl=4s")
	lane := store.OwnLane(segment)
	if err := s.PutLane(ctx, tenOClock, lane); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(ctx, tenOClock, lane.Name, now(), testRows(0, 5)); err != nil {
		t.Fatal(err)
	}
	if n := len(readAll(t, s, lane.Name)); n != 5 {
		t.Fatalf("%d rows before they expire", n)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); len(readAll(t, s, lane.Name)) > 0; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("the rows do not expire")
		}
	}
	if lanes, err := s.Lanes(ctx, tenOClock); err != nil || len(lanes) != 1 {
		t.Errorf("lanes when the rows are gone: %v, %v", lanes, err)
	}
	hours := 0
	if err := s.Hours(ctx, func(afterhours.Hour) error { hours++; return nil }); err != nil || hours != 1 {
		t.Errorf("%d hours, %v", hours, err)
	}
}

// Stuck hours are in order of type and time, although Cassandra has its own order
// of types.
func TestStuckHoursInOrder(t *testing.T) {
	ctx, s := t.Context(), open(t, testenv.Keyspace(t)).Board("lake")
	var want []store.Stuck
	for _, eventType := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		for _, at := range []afterhours.Micros{-1, 0, tenOClock.Start} {
			want = append(want, store.Stuck{Hour: afterhours.HourOf(eventType, at), Since: at, Reason: eventType})
		}
	}
	for _, x := range want {
		if err := s.PutStuck(ctx, x); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.StuckHours(ctx); err != nil || !slices.Equal(got, want) {
		t.Errorf("stuck hours: %v, %v", got, err)
	}
}

// Of a lane of its own only what comes after the known beginning is fetched.
func TestKnownRowsAreNotFetched(t *testing.T) {
	ctx, s := t.Context(), open(t, testenv.Keyspace(t))
	lane := store.OwnLane(segment)
	for _, first := range []uint32{0, 100, 200} {
		if err := s.Append(ctx, tenOClock, lane.Name, now(), testRows(first, 100)); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]int64{"": 300, "0-249": 50, "0-299": 0, "1-249": 300, "0,5-298": 299, "0-4294967295": 0} {
		have, err := afterhours.ParseRanges(text)
		if err != nil {
			t.Fatal(err)
		}
		r := s.laneReader(tenOClock, lane, afterhours.RowSet{segment: have}, func(store.Row) error { return nil })
		if err := r.run(ctx); err != nil || r.rows != want {
			t.Errorf("with rows %q: fetched %d, %v; want %d", text, r.rows, err, want)
		}
	}
}

// An hour's lanes come together also when they are on several pages, whatever
// the edges of the pages, and the scan goes on where it was.
func TestIndexPages(t *testing.T) {
	ctx, s := t.Context(), open(t, testenv.Keyspace(t))
	want := map[string]int{}
	for i := range 12 {
		h := afterhours.HourOf("purchase", afterhours.Micros(i)*3600e6)
		for range 1 + i*i%11 {
			want[h.String()]++
			if err := s.PutLane(ctx, h, store.OwnLane(afterhours.NewSegment())); err != nil {
				t.Fatal(err)
			}
		}
	}
	for page := 1; page < 70; page += 1 + page/4 {
		got := map[string]int{}
		err := s.index(page, func(h afterhours.Hour, lanes []store.Lane) error {
			if got[h.String()] > 0 {
				t.Errorf("pages of %d: %s is visited twice", page, h)
			}
			got[h.String()] = len(lanes)
			return nil
		}).run(ctx)
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("pages of %d: lanes %v, %v; want %v", page, got, err, want)
		}
	}
}

// The time of a publish's record starts with the publish, however late it is
// written, and a record that is written again is the same.
func TestFeedLivesFromPublish(t *testing.T) {
	ctx, s := t.Context(), open(t, testenv.Keyspace(t)+"?ttl=10h")
	p := store.Publication{Hour: tenOClock, Lineage: "lineage", Generation: 1, At: now() - 2*3600e6, Cause: "merge"}
	for range 2 {
		if err := s.Board("lake").PutPublications(ctx, []store.Publication{p}); err != nil {
			t.Fatal(err)
		}
		var wrote int64
		var ttl int
		err := s.session.Query("SELECT WRITETIME(cause), TTL(cause) FROM feed").ScanContext(ctx, &wrote, &ttl)
		if err != nil || wrote != int64(p.At) || ttl > 18*3600 || ttl < 18*3600-60 {
			t.Errorf("written at %d for %d s, %v; want %d and 18 hours", wrote, ttl, err, p.At)
		}
	}
	p.At -= 19 * 3600e6
	if err := s.Board("lake").PutPublications(ctx, []store.Publication{p}); err != nil {
		t.Errorf("a record that has expired already: %v", err)
	}
	n := 0
	err := s.Board("lake").Feed(ctx, math.MinInt64, math.MaxInt64, func(store.Publication) error { n++; return nil })
	if err != nil || n != 1 {
		t.Errorf("feed of %d records, %v", n, err)
	}
}

// Nobody's hints on a lane that many share make its pages larger.
func TestSharedPages(t *testing.T) {
	for _, l := range []store.Lane{{}, {Rows: 1_000, Bytes: 1_000}, {Rows: 1, Bytes: 1 << 30}} {
		l.Name = "2026-11-20"
		if r := (&Store{}).laneReader(tenOClock, l, nil, nil); r.page != sharedPage {
			t.Errorf("%+v: pages of %d rows, want %d", l, r.page, sharedPage)
		}
	}
}

// Pages are about a mebibyte, whatever the size of the rows.
func TestPageSize(t *testing.T) {
	for _, c := range []struct {
		rows, bytes int64
		want        int
	}{
		{0, 0, 0}, {10, 0, 0}, {0, 10, 0}, {-1, 5, 0},
		{50_000, 50_000 * 300, 3495}, {1000, 1000 << 10, 1024},
		{50_000, 50_000, maxPage}, {3, 3 << 20, minPage}, {math.MaxInt64 >> 21, 1, maxPage},
	} {
		if got := pageSize(c.rows, c.bytes); got != c.want {
			t.Errorf("%d rows of %d bytes: pages of %d, want %d", c.rows, c.bytes, got, c.want)
		}
	}
}

// A row that nobody of ours can have written is an error that names it, never
// left out.
func TestCorruptRowsAreErrors(t *testing.T) {
	ctx, s := t.Context(), open(t, testenv.Keyspace(t))
	good := store.AppendEvent(nil, testRows(0, 1)[0].Event)
	elsewhere := testRows(0, 1)[0].Event
	elsewhere.Time = tenOClock.End()
	for want, values := range map[string][]any{
		"no valid row number":                       {segment[:15], int64(0), good},
		"row 010203000000000000000000000000000a -1": {append(segment[:15:15], 10), int64(-1), good},
		"4294967296: no valid row number":           {segment[:], int64(1 << 32), good},
		"truncated":                                 {segment[:], int64(1), good[:3]},
		"not in hour":                               {segment[:], int64(1), store.AppendEvent(nil, elsewhere)},
		"format 9":                                  {segment[:], int64(1), append([]byte{9}, good[1:]...)},
		"decode event: truncated":                   {segment[:], int64(1), []byte(nil)},
	} {
		exec(t, s, s.insertRow, append([]any{tenOClock.Type, tenOClock.Span(), want}, values...)...)
		err := s.ReadRows(ctx, tenOClock, store.Lane{Name: want}, nil, func(store.Row) error { return nil })
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), tenOClock.String()) {
			t.Errorf("%v\nwant a word on %q", err, want)
		}
	}
	exec(t, s, s.insertLane, "purchase", "yesterday", "lane", false, int64(0), int64(0))
	if err := s.Hours(ctx, func(afterhours.Hour) error { return nil }); err == nil || !strings.Contains(err.Error(), "yesterday") {
		t.Errorf("hours: %v", err)
	}
	exec(t, s, s.insertNote, tenOClock.Type, tenOClock.Span(), "lineage", "lane", segment[:], int64(2), int64(1))
	if notes, err := s.Notes(ctx, tenOClock, "lineage"); err == nil || !strings.Contains(err.Error(), "rows 2 to 1") {
		t.Errorf("notes: %v, %v", notes, err)
	}
	exec(t, s, insertPartitionType, "lake", "purchase")
	exec(t, s, "INSERT INTO partitions (lake, event_type, hour, settled) VALUES ('lake', 'purchase', ?, 'x')", tenOClock.Span())
	if err := s.Board("lake").Settled(ctx, func(store.Partition) error { return nil }); err == nil || !strings.Contains(err.Error(), tenOClock.String()) {
		t.Errorf("settled rows: %v", err)
	}
	if p, ok, err := s.Board("lake").Partition(ctx, tenOClock); ok || err == nil || !strings.Contains(err.Error(), tenOClock.String()) {
		t.Errorf("partition: %+v, %v", p, err)
	}
}
