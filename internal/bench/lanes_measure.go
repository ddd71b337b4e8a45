package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty/kafka"
	"github.com/afterhours/afterhours/ingest"
	"github.com/afterhours/afterhours/store"
	"github.com/afterhours/afterhours/store/cassandra"
)

// What is measured of lanes.
const (
	strayEvents = 50_000
	strayHours  = 20_000

	readRows    = 1_000 // stragglers of one hour
	readDays    = 30    // over which they came
	readWriters = 8     // that took them
	readTimes   = 21
)

// measureLanes measures an excerpt of what is simulated, twice, as the first round
// also warms the servers up; each time on a keyspace of its own.
func measureLanes(ctx context.Context, c cluster, kafka string) error {
	for n, shared := range []bool{false, true, false, true} {
		name := map[bool]string{false: "own", true: "shared"}[shared]
		c.keyspace = fmt.Sprintf("bench_%d_lanes_%d", os.Getpid(), n)
		if err := c.create(ctx); err != nil {
			return err
		}
		err := measureLane(ctx, c, "kafka://"+kafka+"/"+c.keyspace, name+" lanes", shared)
		if err := errors.Join(err, c.drop(ctx)); err != nil {
			return fmt.Errorf("%s lanes: %w", name, err)
		}
	}
	return nil
}

func measureLane(ctx context.Context, c cluster, topic, name string, shared bool) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	q, err := kafka.Open(ctx, topic, quiet)
	if err != nil {
		return err
	}
	defer q.Close()
	kept, closed, err := writeStrays(ctx, s, q, shared)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d events over %d hours acknowledged in %.1f s (%.0f/s), lanes closed after %.1f s\n",
		name, strayEvents, strayHours, kept.Seconds(), strayEvents/kept.Seconds(), closed.Seconds())
	took, lanes, err := readStrays(ctx, s, shared)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d stragglers of an hour read from %d lanes in %.1f ms (median of %d)\n",
		name, readRows, lanes, float64(took.Microseconds())/1000, readTimes)
	return nil
}

// writeStrays has ingest take events that are spread over many hours: until all
// are acknowledged, and until their lanes are closed. An hour that is still to
// come has a lane of its own, one that is over shares.
func writeStrays(ctx context.Context, s *cassandra.Store, q *kafka.Queue, shared bool) (kept, closed time.Duration, err error) {
	first := time.Now().Truncate(time.Hour).Add(2 * time.Hour)
	if shared {
		first = first.Add(-(strayHours + 4) * time.Hour)
	}
	w := ingest.New(s, q, ingest.Options{Log: quiet})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.Run(ctx) })
	var acked atomic.Int64
	all := make(chan struct{})
	start := time.Now()
	for n := range strayEvents {
		at := first.Add(time.Duration(n*7919%strayHours) * time.Hour)
		e := afterhours.NewEvent(fmt.Sprint(n), "stray", at, start, event(n).Payload)
		ack := func() {
			if acked.Add(1) == strayEvents {
				close(all)
			}
		}
		if err := w.Write(ctx, e, ingest.Record{Source: "bench"}, ack); err != nil {
			return 0, 0, err
		}
	}
	select {
	case <-all:
		kept = time.Since(start)
	case <-ctx.Done():
	}
	w.Close()
	err = g.Wait()
	return kept, time.Since(start), err
}

// readStrays reads an hour whose rows came one by one over many days.
func readStrays(ctx context.Context, s *cassandra.Store, shared bool) (time.Duration, int, error) {
	h := afterhours.HourOf("read", afterhours.MicrosOf(hour))
	if err := layStrays(ctx, s, h, shared); err != nil {
		return 0, 0, err
	}
	var all []time.Duration
	var lanes []store.Lane
	for range readTimes {
		start := time.Now()
		var err error
		if lanes, err = s.Lanes(ctx, h); err != nil {
			return 0, 0, err
		}
		rows, err := readLanes(ctx, s, h, lanes)
		if err == nil && rows != readRows {
			err = fmt.Errorf("read %d of %d rows", rows, readRows)
		}
		if err != nil {
			return 0, 0, err
		}
		all = append(all, time.Since(start))
	}
	slices.Sort(all)
	return all[len(all)/2], len(lanes), nil
}

// layStrays writes what ingest leaves of stragglers that come one by one: each in
// a lane of its own, or in that of its day.
func layStrays(ctx context.Context, s *cassandra.Store, h afterhours.Hour, shared bool) error {
	segments := make([]afterhours.Segment, readDays*readWriters)
	for i := range segments {
		segments[i] = afterhours.NewSegment()
	}
	now := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(64)
	for n := range readRows {
		g.Go(func() error {
			segment := afterhours.NewSegment()
			lane, id := store.OwnLane(segment), afterhours.RowID{Segment: segment}
			lane.Closed, lane.Rows, lane.Bytes = true, 1, 300
			if shared {
				lane = store.SharedLane(afterhours.DayOf(afterhours.MicrosOf(now)) - afterhours.Day(n%readDays))
				id = afterhours.RowID{Segment: segments[n%len(segments)], Seq: uint32(n * 1000)}
			}
			e := afterhours.NewEvent(fmt.Sprint(n), h.Type, hour, now, event(n).Payload)
			err := s.PutLane(ctx, h, lane)
			if err != nil {
				return err
			}
			return s.Append(ctx, h, lane.Name, e.Received, []store.Row{{ID: id, Event: e}})
		})
	}
	return g.Wait()
}

func readLanes(ctx context.Context, s *cassandra.Store, h afterhours.Hour, lanes []store.Lane) (int64, error) {
	var rows atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lanesAtOnce)
	for _, l := range lanes {
		g.Go(func() error {
			return s.ReadRows(ctx, h, l, nil, func(store.Row) error { rows.Add(1); return nil })
		})
	}
	err := g.Wait()
	return rows.Load(), err
}
