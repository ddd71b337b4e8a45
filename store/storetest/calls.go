package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// atOnce lets writers share an hour, some of them a lane, while readers watch:
// nothing that was acknowledged before a reading began may be missing from it.
func atOnce(t *testing.T, s suite) {
	const writers, batches, size = 6, 20, 50
	h, shared := hour(s.Type, "2026-11-20T10"), store.SharedLane(today())
	var wg sync.WaitGroup
	segs := segments(writers)
	for i, seg := range segs {
		wg.Go(func() {
			lane := shared
			if i%2 == 0 {
				lane = store.OwnLane(seg)
			}
			if err := writeAndWatch(t.Context(), s, h, lane, seg, batches, size); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()

	var got, want []store.Row
	for _, l := range must(s.Lanes(t.Context(), h))(t) {
		got = append(got, read(t, s, h, l, nil)...)
	}
	slices.SortFunc(got, compareRows)
	for _, seg := range segs {
		want = append(want, numbered(h, seg, 0, batches*size)...)
	}
	wantRows(t, got, want)
}

// writeAndWatch writes a segment and reads the lane now and then.
func writeAndWatch(ctx context.Context, s store.Store, h afterhours.Hour, l store.Lane, seg afterhours.Segment, batches, size uint32) error {
	if err := s.PutLane(ctx, h, l); err != nil {
		return err
	}
	for n := range batches {
		if err := s.Append(ctx, h, l.Name, now(), numbered(h, seg, n*size, size)); err != nil {
			return err
		}
		if n%5 != 0 {
			continue
		}
		seen := afterhours.RowSet{}
		rows, err := collect(ctx, s, h, l, nil)
		if err != nil {
			return err
		}
		for _, r := range rows {
			seen.Add(r.ID)
		}
		if seen[seg].Prefix() != int64((n+1)*size) {
			return fmt.Errorf("segment %s has %d rows, read were %s", seg, (n+1)*size, seen[seg])
		}
	}
	return nil
}

// cancelledCalls makes every call with a context that has ended: nobody may
// take silence for success.
func cancelledCalls(t *testing.T, s suite) {
	h, seg := hour(s.Type, "2026-11-20T10"), afterhours.NewSegment()
	lane := store.OwnLane(seg)
	check(t, s.PutLane(t.Context(), h, lane))
	write(t, s, h, lane.Name, numbered(h, seg, 0, 10))
	check(t, s.board.PutStuck(t.Context(), store.Stuck{Hour: h}))
	check(t, s.board.PutPartition(t.Context(), store.Partition{Hour: h}))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func() error{
		"PutLane":     func() error { return s.PutLane(ctx, h, lane) },
		"Append":      func() error { return s.Append(ctx, h, lane.Name, now(), numbered(h, seg, 10, 1)) },
		"Lanes":       func() error { _, err := s.Lanes(ctx, h); return err },
		"ReadRows":    func() error { return s.ReadRows(ctx, h, lane, nil, func(store.Row) error { return nil }) },
		"Hours":       func() error { return s.Hours(ctx, func(afterhours.Hour) error { return nil }) },
		"Index":       func() error { return s.Index(ctx, func(afterhours.Hour, []store.Lane) error { return nil }) },
		"PutNotes":    func() error { return s.PutNotes(ctx, h, "lineage", []store.Note{{Lane: lane.Name, Segment: seg}}) },
		"Notes":       func() error { _, err := s.Notes(ctx, h, "lineage"); return err },
		"DeclareType": func() error { return s.DeclareType(ctx, s.Type) },
		"Types":       func() error { return s.Types(ctx, func(string) error { return nil }) },
		"DeclareColumns": func() error {
			return s.DeclareColumns(ctx, s.Type, []afterhours.Column{{Name: "c", Field: "f", Type: afterhours.String}})
		},
		"Columns":         func() error { _, err := s.Columns(ctx, s.Type); return err },
		"PutRequest":      func() error { return s.board.PutRequest(ctx, store.Request{Hour: h, ID: "r"}) },
		"Requests":        func() error { _, err := s.board.Requests(ctx, h); return err },
		"DeleteRequest":   func() error { return s.board.DeleteRequest(ctx, store.Request{Hour: h, ID: "r"}) },
		"PutPartition":    func() error { return s.board.PutPartition(ctx, store.Partition{Hour: h}) },
		"Partition":       func() error { _, _, err := s.board.Partition(ctx, h); return err },
		"Partitions":      func() error { return s.board.Partitions(ctx, func(store.Partition) error { return nil }) },
		"Settled":         func() error { return s.board.Settled(ctx, func(store.Partition) error { return nil }) },
		"PutPublications": func() error { return s.board.PutPublications(ctx, []store.Publication{{Hour: h, At: now()}}) },
		"Feed":            func() error { return s.board.Feed(ctx, now()-1e6, now(), func(store.Publication) error { return nil }) },
		"PutSwept":        func() error { return s.board.PutSwept(ctx, now()) },
		"Swept":           func() error { _, err := s.board.Swept(ctx); return err },
		"PutStuck":        func() error { return s.board.PutStuck(ctx, store.Stuck{Hour: h}) },
		"StuckHours":      func() error { _, err := s.board.StuckHours(ctx); return err },
		"ClearStuck":      func() error { return s.board.ClearStuck(ctx, h) },
	} {
		if err := call(); err == nil {
			t.Errorf("%s returned no error after its context had ended", name)
		}
	}
	check(t, s.board.ClearStuck(t.Context(), h))
}

// cancelledReading ends the context at many points of a reading. The backend may
// have read ahead, so nil is right if it visited everything.
func cancelledReading(t *testing.T, s suite) {
	const n = 6_000
	h, seg := hour(s.Type, "2026-11-20T10"), afterhours.NewSegment()
	check(t, s.PutLane(t.Context(), h, store.OwnLane(seg)))
	write(t, s, h, seg.String(), numbered(h, seg, 0, n))
	for _, at := range []int{1, 2, 10, 99, 100, 101, 1_000, 2_500, 5_000, n - 1, n} {
		ctx, cancel := context.WithCancel(t.Context())
		visited := 0
		err := s.ReadRows(ctx, h, store.OwnLane(seg), nil, func(store.Row) error {
			if visited++; visited == at {
				cancel()
			}
			return nil
		})
		cancel()
		switch {
		case err == nil && visited != n:
			t.Errorf("cancelled after %d rows: visited %d of %d, no error", at, visited, n)
		case err != nil && !errors.Is(err, context.Canceled):
			t.Errorf("cancelled after %d rows: %v", at, err)
		}
	}
}
