package storetest

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// rowsComeBack shows every field of an event, with the values at their limits.
func rowsComeBack(t *testing.T, s suite) {
	seg := afterhours.NewSegment()
	for _, span := range []string{"2026-11-20T10", "1970-01-01T00", "1969-12-31T23", "1815-06-18T11", "0001-01-01T00", "9999-12-31T23", "2026-11-20"} {
		t.Run(span, func(t *testing.T) {
			h := hour(s.Type, span)
			rows := []store.Row{
				{Event: afterhours.Event{ID: "first instant", Time: h.Start, Received: h.Start, Payload: []byte("{}")}},
				{Event: afterhours.Event{ID: "last instant", Time: h.End() - 1, Received: math.MaxInt64, Payload: []byte("{}")}},
				{Event: afterhours.Event{ID: "received before", Time: h.Start, Received: math.MinInt64, Payload: []byte("{}")}},
				{Event: afterhours.Event{ID: "no payload", Time: h.Start}},
				{Event: afterhours.Event{ID: "zero bytes \x00 and ünïcödé", Time: h.Start, Payload: []byte("\x00\x00\n'\"✓")}},
				{Event: afterhours.Event{ID: strings.Repeat("i", afterhours.MaxID), Time: h.Start, Payload: []byte(" ")}},
			}
			for i := range rows {
				rows[i].ID, rows[i].Event.Type = afterhours.RowID{Segment: seg, Seq: uint32(i)}, h.Type
			}
			rows[5].ID.Seq = math.MaxUint32
			check(t, s.PutLane(t.Context(), h, store.OwnLane(seg)))
			write(t, s, h, seg.String(), rows)
			wantRows(t, read(t, s, h, store.OwnLane(seg), nil), rows)
		})
	}
}

// appendIsIdempotent repeats batches as a writer does after an error: whole, in
// parts, overlapping, and after later rows.
func appendIsIdempotent(t *testing.T, s suite) {
	ctx, h, seg, wrote := t.Context(), hour(s.Type, "2026-11-20T10"), afterhours.NewSegment(), now()
	rows := numbered(h, seg, 0, 60)
	check(t, s.PutLane(ctx, h, store.OwnLane(seg)))
	for _, batch := range [][]store.Row{rows[:40], rows[:40], rows[30:60], rows[:5], nil, rows} {
		check(t, s.Append(ctx, h, seg.String(), wrote, batch))
	}
	wantRows(t, read(t, s, h, store.OwnLane(seg), nil), rows)
}

// rowsInOrder writes a shared lane in no order, with numbers that leave gaps and
// need all their bits.
func rowsInOrder(t *testing.T, s suite) {
	h, lane := hour(s.Type, "2026-11-20T10"), store.SharedLane(today())
	var rows []store.Row
	for _, seg := range segments(5) {
		for _, seq := range []uint32{0, 1, 9, 10, 255, 256, 65_536, math.MaxInt32, math.MaxInt32 + 1, math.MaxUint32} {
			rows = append(rows, row(h, seg, seq))
		}
	}
	check(t, s.PutLane(t.Context(), h, lane))
	write(t, s, h, lane.Name, shuffled(rows))
	wantRows(t, read(t, s, h, lane, nil), rows)
}

// havesAreHoles reads with all kinds of sets: whatever is outside must come.
func havesAreHoles(t *testing.T, s suite) {
	h, lane, segs := hour(s.Type, "2026-11-20T10"), store.SharedLane(today()), segments(3)
	var rows []store.Row
	for _, seg := range segs {
		rows = append(rows, numbered(h, seg, 0, 250)...)
		rows = append(rows, numbered(h, seg, 1_000, 50)...)
		rows = append(rows, numbered(h, seg, math.MaxUint32-9, 10)...)
	}
	check(t, s.PutLane(t.Context(), h, lane))
	write(t, s, h, lane.Name, rows)

	odd := afterhours.Ranges{}
	for n := uint32(1); n < 400; n += 2 {
		odd = odd.Add(n, n)
	}
	for name, have := range map[string]afterhours.RowSet{
		"nothing":             nil,
		"another segment":     {afterhours.NewSegment(): {{First: 0, Last: math.MaxUint32}}},
		"the beginning":       {segs[0]: {{First: 0, Last: 99}}},
		"all but the first":   {segs[0]: {{First: 1, Last: math.MaxUint32}}},
		"all but the last":    {segs[2]: {{First: 0, Last: math.MaxUint32 - 1}}},
		"all but one within":  {segs[1]: {{First: 0, Last: 117}, {First: 119, Last: math.MaxUint32}}},
		"a whole segment":     {segs[1]: {{First: 0, Last: math.MaxUint32}}},
		"the last segment":    {segs[2]: {{First: 0, Last: math.MaxUint32}}},
		"two whole segments":  {segs[0]: {{First: 0, Last: math.MaxUint32}}, segs[1]: {{First: 0, Last: math.MaxUint32}}},
		"every second row":    {segs[0]: odd, segs[2]: odd},
		"runs across a gap":   {segs[0]: {{First: 200, Last: 1_010}}, segs[1]: {{First: 240, Last: math.MaxUint32 - 5}}},
		"numbers in the gap":  {segs[0]: {{First: 500, Last: 700}}},
		"the very last row":   {segs[2]: {{First: math.MaxUint32, Last: math.MaxUint32}}},
		"everything there is": {segs[0]: {{First: 0, Last: math.MaxUint32}}, segs[1]: {{First: 0, Last: math.MaxUint32}}, segs[2]: {{First: 0, Last: math.MaxUint32}}},
	} {
		t.Run(name, func(t *testing.T) {
			wantOutside(t, read(t, s, h, lane, have), rows, have)
		})
	}
}

// wantOutside checks that got is in order, part of rows, and has every row that
// is not in have.
func wantOutside(t *testing.T, got, rows []store.Row, have afterhours.RowSet) {
	t.Helper()
	outside := func(r store.Row) bool { return !have.Has(r.ID) }
	inside := func(r store.Row) bool { return have.Has(r.ID) }
	wantRows(t, slices.DeleteFunc(slices.Clone(got), inside), slices.DeleteFunc(slices.Clone(rows), inside))
	for i, r := range slices.DeleteFunc(slices.Clone(got), outside) {
		if j, ok := slices.BinarySearchFunc(rows, r, compareRows); !ok || !sameRow(rows[j], r) {
			t.Fatalf("row %d of those the reader had is %.300v, which nobody wrote", i, r)
		}
	}
	if !slices.IsSortedFunc(got, compareRows) {
		t.Error("rows are out of order")
	}
}

// payloadsAreOwned keeps all payloads and scribbles over them: reading on must
// neither change them nor notice.
func payloadsAreOwned(t *testing.T, s suite) {
	h, seg := hour(s.Type, "2026-11-20T10"), afterhours.NewSegment()
	rows := numbered(h, seg, 0, 500)
	check(t, s.PutLane(t.Context(), h, store.OwnLane(seg)))
	write(t, s, h, seg.String(), rows)

	kept := read(t, s, h, store.OwnLane(seg), nil)
	wantRows(t, kept, rows)
	for _, r := range kept {
		for i := range r.Event.Payload {
			r.Event.Payload[i] = '!'
		}
	}
	for i, r := range kept {
		if want := bytes.Repeat([]byte("!"), len(rows[i].Event.Payload)); !bytes.Equal(r.Event.Payload, want) {
			t.Fatalf("payload %d shares its memory: %q", i, r.Event.Payload)
		}
	}
	wantRows(t, read(t, s, h, store.OwnLane(seg), nil), rows)
}

// visitErrors stops at each of the first rows, and at the last.
func visitErrors(t *testing.T, s suite) {
	h, seg, stop := hour(s.Type, "2026-11-20T10"), afterhours.NewSegment(), errors.New("stop")
	const n = 300
	check(t, s.PutLane(t.Context(), h, store.OwnLane(seg)))
	write(t, s, h, seg.String(), numbered(h, seg, 0, n))
	for _, at := range []int{1, 2, 3, n} {
		visited := 0
		err := s.ReadRows(t.Context(), h, store.OwnLane(seg), nil, func(store.Row) error {
			if visited++; visited == at {
				return stop
			}
			return nil
		})
		if err != stop || visited != at { // as it is, not wrapped
			t.Errorf("stopped at row %d: visited %d, error %v", at, visited, err)
		}
	}
	if err := s.Hours(t.Context(), func(afterhours.Hour) error { return stop }); err != stop {
		t.Errorf("Hours: %v", err)
	}
}

// largeRows writes the largest payload an event may have, and the largest
// quarantine envelope, each a batch of its own.
func largeRows(t *testing.T, s suite) {
	ctx := t.Context()
	for eventType, size := range map[string]int{s.Type: afterhours.MaxPayload, afterhours.QuarantineType: afterhours.MaxEnvelope} {
		h, seg := hour(eventType, "2026-11-20T10"), afterhours.NewSegment()
		check(t, s.PutLane(ctx, h, store.OwnLane(seg)))
		rows := numbered(h, seg, 0, 4)
		for i := range rows {
			rows[i].Event.Payload = bytes.Repeat([]byte{byte('a' + i)}, size)
			check(t, s.Append(ctx, h, seg.String(), now(), rows[i:i+1]))
		}
		wantRows(t, read(t, s, h, store.Lane{Name: seg.String(), Rows: 4, Bytes: int64(4 * size)}, nil), rows)
	}
}

// manyRows needs many pages, whether the hints are right, absent or wrong.
func manyRows(t *testing.T, s suite) {
	h, seg := hour(s.Type, "2026-11-20T10"), afterhours.NewSegment()
	rows := numbered(h, seg, 0, 20_000)
	check(t, s.PutLane(t.Context(), h, store.OwnLane(seg)))
	write(t, s, h, seg.String(), rows)
	for _, l := range []store.Lane{
		{Closed: true, Rows: 20_000, Bytes: 20_000 * 100},
		{},
		{Rows: 7, Bytes: 700},
		{Rows: 1, Bytes: 64 << 20},
	} {
		l.Name = seg.String()
		wantRows(t, read(t, s, h, l, nil), rows)
	}
	have := afterhours.RowSet{seg: {{First: 0, Last: 9_999}, {First: 10_001, Last: 19_000}}}
	wantOutside(t, read(t, s, h, store.OwnLane(seg), have), rows, have)
}

// lanesAreApart writes rows of one segment to lanes whose names are close.
func lanesAreApart(t *testing.T, s suite) {
	h, seg := hour(s.Type, "2026-11-20T10"), afterhours.NewSegment()
	names := []string{"2026-11-20", "2026-11-2", "2026-11-200", "2026-11-21", seg.String()}
	for i, name := range names {
		check(t, s.PutLane(t.Context(), h, store.Lane{Name: name}))
		write(t, s, h, name, numbered(h, seg, uint32(i*10), 10))
	}
	for i, name := range names {
		wantRows(t, read(t, s, h, store.Lane{Name: name}, nil), numbered(h, seg, uint32(i*10), 10))
	}
}

// hoursAreApart writes to hours that are neighbours, by type, time and width.
func hoursAreApart(t *testing.T, s suite) {
	seg := afterhours.NewSegment()
	hours := []afterhours.Hour{
		hour(s.Type, "2026-11-20T10"), hour(s.Type, "2026-11-20T11"), hour(s.Type, "2026-11-20T00"), hour(s.Type, "2026-11-20"),
		hour(s.Type+"x", "2026-11-20T10"), hour(s.Type+"/", "2026-11-20T10"), hour(s.Type+"/2026-11-20T10", "2026-11-20T10"),
	}
	for i, h := range hours {
		check(t, s.PutLane(t.Context(), h, store.OwnLane(seg)))
		write(t, s, h, seg.String(), numbered(h, seg, uint32(i*10), 10))
	}
	for i, h := range hours {
		wantRows(t, read(t, s, h, store.OwnLane(seg), nil), numbered(h, seg, uint32(i*10), 10))
	}
}

// rowsBeforeLane shows that the two may be written in parallel: rows that were
// first are read once the lane is known.
func rowsBeforeLane(t *testing.T, s suite) {
	h, seg := hour(s.Type, "2026-11-20T10"), afterhours.NewSegment()
	rows := numbered(h, seg, 0, 150)
	write(t, s, h, seg.String(), rows[:100])
	check(t, s.PutLane(t.Context(), h, store.OwnLane(seg)))
	write(t, s, h, seg.String(), rows[100:])
	wantRows(t, read(t, s, h, store.OwnLane(seg), nil), rows)
}

// sharedLane has several segments of several writers, whose numbers leave gaps,
// with rows that come while it is read before.
func sharedLane(t *testing.T, s suite) {
	h, lane, segs := hour(s.Type, "2026-11-20T10"), store.SharedLane(today()), segments(24)
	check(t, s.PutLane(t.Context(), h, lane))
	var rows []store.Row
	have := afterhours.RowSet{}
	for i, seg := range segs {
		for n := range uint32(40 + 10*i) {
			seq := n*n*17 + uint32(i)
			rows = append(rows, row(h, seg, seq))
			if i%3 > 0 && (n*7+uint32(i))%5 > 0 { // nothing is known of every third
				have.Add(rows[len(rows)-1].ID)
			}
		}
	}
	write(t, s, h, lane.Name, shuffled(rows))
	wantRows(t, read(t, s, h, lane, nil), rows)
	for _, hint := range []store.Lane{{}, {Rows: 1, Bytes: 1}, {Rows: 1, Bytes: 8 << 20}, {Rows: 1 << 40, Bytes: 1 << 50}} {
		hint.Name = lane.Name
		wantOutside(t, read(t, s, h, hint, have), rows, have)
	}
	have.AddAll(afterhours.RowSet{segs[0]: {{First: 0, Last: math.MaxUint32}}, segs[23]: {{First: 0, Last: math.MaxUint32}}})
	wantOutside(t, read(t, s, h, lane, have), rows, have)
}

// mixedSizes puts the largest rows among many small ones.
func mixedSizes(t *testing.T, s suite) {
	ctx, h, seg := t.Context(), hour(s.Type, "2026-11-20T10"), afterhours.NewSegment()
	rows := numbered(h, seg, 0, 1_000)
	for i := range rows {
		if i%250 == 200 || i >= 996 {
			rows[i].Event.Payload = bytes.Repeat([]byte{'a' + byte(i%26)}, afterhours.MaxPayload)
		}
	}
	for _, lane := range []store.Lane{store.OwnLane(seg), store.SharedLane(today())} {
		check(t, s.PutLane(ctx, h, lane))
		wrote := now()
		for begin := 0; begin < len(rows); {
			end := begin + 1
			for end < len(rows) && end-begin < 100 && len(rows[begin].Event.Payload)+len(rows[end].Event.Payload) < 64<<10 {
				end++
			}
			check(t, s.Append(ctx, h, lane.Name, wrote, rows[begin:end]))
			begin = end
		}
		wantRows(t, read(t, s, h, lane, nil), rows)
		lane.Rows, lane.Bytes = 100, 10_000 // misleading
		wantRows(t, read(t, s, h, lane, nil), rows)
	}
}

// expiredRows writes rows whose time was over before they came, alone and among
// others. Their lane is still listed.
func expiredRows(t *testing.T, s suite) {
	ctx, h, seg := t.Context(), hour(s.Type, "2026-11-20T10"), afterhours.NewSegment()
	long := now() - afterhours.Micros(s.TTL().Microseconds()) - 60e6
	rows := numbered(h, seg, 0, 900)
	var live []store.Row
	for _, lane := range []store.Lane{store.OwnLane(seg), store.SharedLane(today())} {
		check(t, s.PutLane(ctx, h, lane))
		live = nil
		for i, batch := range slices.Collect(slices.Chunk(rows, 50)) {
			check(t, s.Append(ctx, h, lane.Name, long, batch[:25]))
			if i%2 == 0 {
				check(t, s.Append(ctx, h, lane.Name, now(), batch[25:]))
				live = append(live, batch[25:]...)
			}
		}
		wantRows(t, read(t, s, h, lane, nil), live)
		have := afterhours.RowSet{seg: {{First: 0, Last: 60}, {First: 400, Last: 449}}}
		wantOutside(t, read(t, s, h, lane, have), live, have)
	}
	gone := store.OwnLane(afterhours.NewSegment())
	check(t, s.PutLane(ctx, h, gone))
	expired := numbered(h, seg, 0, 300)
	for batch := range slices.Chunk(expired, 100) {
		check(t, s.Append(ctx, h, gone.Name, long, batch))
		check(t, s.Append(ctx, h, gone.Name, long, batch))
	}
	wantRows(t, read(t, s, h, gone, nil), nil)
	if lanes := listed(t, s, h); len(lanes) != 3 {
		t.Errorf("lanes: %v, want 3", lanes)
	}
}
