// Package storetest is the conformance suite of [store.Store]: what the contract
// promises, as cases that every backend passes.
//
// A backend's test calls [Run]. Most cases share one store and keep apart by
// event type, so that a backend whose opening is dear is tested quickly; the
// suite leaves nothing behind that it would remove.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// suite is one store, the board of one lake and the event types that the running
// case owns.
type suite struct {
	store.Store
	board store.Board
	Type  string // a type that no other case uses; cases may append to it
}

// cases are the requirements that can be shown on a store that is not empty.
var cases = []struct {
	name string
	run  func(t *testing.T, s suite)
}{
	{"rows come back as they were written", rowsComeBack},
	{"a row written again stays one row", appendIsIdempotent},
	{"rows are read in order of segment and number", rowsInOrder},
	{"rows that the reader has may be left out, all others are visited", havesAreHoles},
	{"payloads belong to the visitor", payloadsAreOwned},
	{"an error of the visitor ends the reading and comes back as it is", visitErrors},
	{"the largest rows fit", largeRows},
	{"a lane of many rows is read whole", manyRows},
	{"lanes do not see each other's rows", lanesAreApart},
	{"hours do not see each other's rows", hoursAreApart},
	{"a type may have any name that is valid", oddTypes},
	{"rows may be written before their lane", rowsBeforeLane},
	{"a lane that many writers share is read whole", sharedLane},
	{"a lane of rows of all sizes is read whole", mixedSizes},
	{"expired rows are no rows, and no error", expiredRows},
	{"an unknown hour has no lanes, rows or requests", unknownHour},
	{"lanes are listed in order of name", lanesInOrder},
	{"a lane is renewed and closed by writing it again", lanesAreRenewed},
	{"a lane tells how long its rows can last", lanesTellUntil},
	{"of a lane that several put at once one word is kept, and later ones win", lanesPutAtOnce},
	{"every hour with a lane is visited once", everyHourOnce},
	{"the index is visited by hour, with all lanes", indexByHour},
	{"notes are kept by lineage", notesStay},
	{"types are listed once they are declared", typesAreListed},
	{"columns are declared once and for all", columnsStay},
	{"only one of two declarations at once wins", columnsRace},
	{"requests are kept until they are served", requestsStay},
	{"the newest word on a partition is kept", partitionsAreReplaced},
	{"the rows settled in a partition come back", settledComesBack},
	{"publishes are told in order of time", feedInOrder},
	{"a sweep is remembered", sweptIsRemembered},
	{"lakes do not see each other's boards", lakesAreApart},
	{"a stuck hour is listed until it is cleared", stuckUntilCleared},
	{"writers and readers may work at once", atOnce},
	{"a cancelled call is an error", cancelledCalls},
	{"a reading that is cancelled is never short without an error", cancelledReading},
}

// Run runs the suite. Every call of open gives a new, empty store, which the
// suite closes.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	t.Run("a new store is empty", func(t *testing.T) { newStoreIsEmpty(t, open(t)) })
	t.Run("a closed store answers with errors", func(t *testing.T) { closedStore(t, open(t)) })

	shared := open(t)
	t.Cleanup(func() {
		if err := shared.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, suite{shared, shared.Board("file:///lake"), fmt.Sprintf("case%02d", i)}) })
	}
}

// newStoreIsEmpty shows that nothing is listed before it was written.
func newStoreIsEmpty(t *testing.T, s store.Store) {
	ctx, b := t.Context(), s.Board("file:///lake")
	check(t, s.Hours(ctx, func(h afterhours.Hour) error { return fmt.Errorf("hour %s", h) }))
	check(t, s.Index(ctx, func(h afterhours.Hour, _ []store.Lane) error { return fmt.Errorf("index of %s", h) }))
	check(t, s.Types(ctx, func(eventType string) error { return fmt.Errorf("type %s", eventType) }))
	check(t, b.Partitions(ctx, func(p store.Partition) error { return fmt.Errorf("partition %s", p.Hour) }))
	check(t, b.Settled(ctx, func(p store.Partition) error { return fmt.Errorf("settled rows of %s", p.Hour) }))
	check(t, b.Feed(ctx, math.MinInt64, math.MaxInt64, func(p store.Publication) error { return fmt.Errorf("publication of %s", p.Hour) }))
	if stuck := must(b.StuckHours(ctx))(t); len(stuck) > 0 {
		t.Errorf("stuck hours: %v", stuck)
	}
	if at := must(b.Swept(ctx))(t); at != 0 {
		t.Errorf("swept at %s", at)
	}
	check(t, s.Close())
}

// closedStore shows that work after Close fails instead of being lost.
func closedStore(t *testing.T, s store.Store) {
	ctx, h, seg := t.Context(), hour("closed", "2026-11-20T10"), afterhours.NewSegment()
	check(t, s.PutLane(ctx, h, store.OwnLane(seg)))
	check(t, s.Append(ctx, h, seg.String(), now(), numbered(h, seg, 0, 3)))
	check(t, s.Close())
	if s.PutLane(ctx, h, store.OwnLane(seg)) == nil {
		t.Error("a lane was put into a closed store")
	}
	if s.Append(ctx, h, seg.String(), now(), numbered(h, seg, 3, 3)) == nil {
		t.Error("rows were appended to a closed store")
	}
	if s.ReadRows(ctx, h, store.OwnLane(seg), nil, func(store.Row) error { return nil }) == nil {
		t.Error("a closed store was read")
	}
}

// unknownHour shows that nothing is not an error.
func unknownHour(t *testing.T, s suite) {
	ctx, h := t.Context(), hour(s.Type, "2026-11-20T10")
	if lanes := must(s.Lanes(ctx, h))(t); len(lanes) > 0 {
		t.Errorf("lanes: %v", lanes)
	}
	if rows := read(t, s, h, store.OwnLane(afterhours.NewSegment()), nil); len(rows) > 0 {
		t.Errorf("rows: %v", rows)
	}
	if notes := must(s.Notes(ctx, h, "lineage"))(t); len(notes) > 0 {
		t.Errorf("notes: %v", notes)
	}
	if p, ok, err := s.board.Partition(ctx, h); ok || err != nil {
		t.Errorf("partition: %+v, %v", p, err)
	}
	if reqs := must(s.board.Requests(ctx, h))(t); len(reqs) > 0 {
		t.Errorf("requests: %v", reqs)
	}
	if cols := must(s.Columns(ctx, s.Type))(t); len(cols) > 0 {
		t.Errorf("columns: %v", cols)
	}
	check(t, s.board.DeleteRequest(ctx, store.Request{Hour: h, ID: "none"}))
	check(t, s.board.ClearStuck(ctx, h))
}

// hour is the hour of a type that a span such as 2026-11-20T10 names.
func hour(eventType, span string) afterhours.Hour {
	h, err := afterhours.ParseSpan(eventType, span)
	if err != nil {
		panic(err)
	}
	return h
}

// errStop is what visitors end a reading with.
var errStop = errors.New("stop")

// today is the receipt day of rows that are written now.
func today() afterhours.Day { return afterhours.DayOf(now()) }

// now is when rows are written: expiry counts from it.
func now() afterhours.Micros { return afterhours.MicrosOf(time.Now()) }

// row makes the row of a number: its event depends on nothing else.
func row(h afterhours.Hour, seg afterhours.Segment, seq uint32) store.Row {
	at := h.Start + afterhours.Micros(seq%3_600)*1e6
	return store.Row{
		ID: afterhours.RowID{Segment: seg, Seq: seq},
		Event: afterhours.Event{
			ID: fmt.Sprintf("%s-%d", seg, seq), Type: h.Type, Time: at, Received: at + 7,
			Payload: fmt.Appendf(nil, `{"segment": %q, "n": %d}`, seg, seq),
		},
	}
}

// numbered makes n rows of a segment, from a number on.
func numbered(h afterhours.Hour, seg afterhours.Segment, first, n uint32) []store.Row {
	rows := make([]store.Row, 0, n)
	for i := range n {
		rows = append(rows, row(h, seg, first+i))
	}
	return rows
}

// write appends rows in batches as large as callers make them.
func write(t *testing.T, s store.Store, h afterhours.Hour, lane string, rows []store.Row) {
	t.Helper()
	wrote := now()
	for batch := range slices.Chunk(rows, 100) {
		if err := s.Append(t.Context(), h, lane, wrote, batch); err != nil {
			t.Fatal(err)
		}
	}
}

// read returns what is visited.
func read(t *testing.T, s store.Store, h afterhours.Hour, l store.Lane, have afterhours.RowSet) []store.Row {
	t.Helper()
	rows, err := collect(t.Context(), s, h, l, have)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func collect(ctx context.Context, s store.Store, h afterhours.Hour, l store.Lane, have afterhours.RowSet) ([]store.Row, error) {
	var rows []store.Row
	err := s.ReadRows(ctx, h, l, have, func(r store.Row) error {
		rows = append(rows, r)
		return nil
	})
	return rows, err
}

// shuffled returns the rows in another order, the same in every run.
func shuffled(rows []store.Row) []store.Row {
	rows = slices.Clone(rows)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	return rows
}

// segments returns n segments in order.
func segments(n int) []afterhours.Segment {
	segs := make([]afterhours.Segment, n)
	for i := range segs {
		segs[i] = afterhours.NewSegment()
	}
	slices.SortFunc(segs, func(a, b afterhours.Segment) int { return bytes.Compare(a[:], b[:]) })
	return segs
}

func compareRows(a, b store.Row) int {
	if c := bytes.Compare(a.ID.Segment[:], b.ID.Segment[:]); c != 0 {
		return c
	}
	return int(int64(a.ID.Seq) - int64(b.ID.Seq))
}

func sameRow(a, b store.Row) bool {
	e, f := a.Event, b.Event
	return a.ID == b.ID && e.ID == f.ID && e.Type == f.Type && e.Time == f.Time && e.Received == f.Received &&
		bytes.Equal(e.Payload, f.Payload)
}

// wantRows compares what was read with what was written, in order.
func wantRows(t *testing.T, got, want []store.Row) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if !sameRow(got[i], want[i]) {
			t.Fatalf("row %d is %.300v, want %.300v", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
}

func wantEqual[T any](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.EqualFunc(got, want, func(a, b T) bool { return reflect.DeepEqual(a, b) }) {
		t.Errorf("%s: %+v, want %+v", what, got, want)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// must is used as must(f())(t): it returns f's value or ends the test.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
