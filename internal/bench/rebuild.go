package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/internal/testenv/servers"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
	"github.com/afterhours/afterhours/store/cassandra"
	"github.com/afterhours/afterhours/store/pebble"
)

// The same bounds for a figure and its floor.
const (
	batchRows   = 100
	writers     = 128    // batches at once
	segmentRows = 50_000 // of a lane, as ingest closes it
	lanesAtOnce = 4      // as many as a rewrite reads
)

// rebuilds make an hour's partition of all its raw rows, in a directory. Rows lie as
// ingest leaves those of a busy hour, in closed lanes.
func (s *suite) rebuilds() group {
	raw := cluster{s.cassandra, fmt.Sprintf("bench_%d_rebuild", os.Getpid())}
	small, big := pebbleURL(filepath.Join(s.dir, "rebuild")), pebbleURL(filepath.Join(s.dir, "rebuild-big"))
	line := func(id, name, do, store string, events int, g goal) work {
		return work{id: id, name: name + " " + count(events), goal: g, do: func(ctx context.Context, dir string) (figure, error) {
			t := task{Do: do, Store: store, Lake: fileURL(filepath.Join(dir, id)), Events: events}
			return s.measure(ctx, id, t, events)
		}}
	}
	return group{
		name:  "rebuild",
		needs: map[string]string{servers.Cassandra: s.cassandra},
		prepare: func(ctx context.Context) error {
			if err := raw.create(ctx); err != nil {
				return err
			}
			for _, t := range []task{{Store: raw.url(), Events: s.Events}, {Store: small, Events: s.Events}, {Store: big, Events: s.Big}} {
				t.Do = "fill"
				s.progress("write %s events to %s", count(t.Events), t.Store)
				if _, err := t.start(ctx); err != nil {
					return err
				}
			}
			return nil
		},
		works: []work{
			line("bare_read", "bare paged read from Cassandra of", "bare read", raw.url(), s.Events, goal{}),
			line("rebuild_cassandra", "rebuild from Cassandra of", "rewrite", raw.url(), s.Events, goal{against: "bare_read", times: 1.8, rss: 256 << 20}),
			line("encode", "the same from memory:", "encode", "", s.Events, goal{}),
			line("rebuild_embedded", "rebuild from the embedded store of", "rewrite", small, s.Events, goal{against: "encode"}),
			line("rebuild_embedded_big", "rebuild from the embedded store of", "rewrite", big, s.Big, goal{against: "rebuild_embedded", times: 11, rss: 256 << 20}),
		},
		end: raw.drop,
	}
}

// openStore opens a store by its URL.
func openStore(ctx context.Context, url string) (store.Store, error) {
	if dir, embedded := strings.CutPrefix(url, "pebble://"); embedded {
		return pebble.Open(dir, pebble.Options{Logger: quiet})
	}
	return cassandra.Open(ctx, url, quiet)
}

// fill writes the hour's first events to a store.
func fill(ctx context.Context, t task) (took, error) {
	return took{}, fillStore(ctx, t.Store, t.Events, event)
}

// fillStore writes n events of the hour to lanes, as ingest does.
func fillStore(ctx context.Context, url string, n int, event func(int) afterhours.Event) (err error) {
	s, err := openStore(ctx, url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.DeclareColumns(ctx, benchHour().Type, benchColumns); err != nil {
		return err
	}
	for from := 0; from < n; from += segmentRows {
		if err := fillLane(ctx, s, from, min(from+segmentRows, n), event); err != nil {
			return err
		}
	}
	return nil
}

// fillLane writes events to a lane in batches, many at once, and closes it.
func fillLane(ctx context.Context, s store.Store, from, to int, event func(int) afterhours.Event) error {
	lane := store.OwnLane(afterhours.NewSegment())
	segment, _ := lane.Own()
	var size atomic.Int64
	g, writing := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for first := from; first < to; first += batchRows {
		g.Go(func() error {
			var rows []store.Row
			for n := first; n < min(first+batchRows, to); n++ {
				e := event(n)
				size.Add(int64(len(store.AppendEvent(nil, e))))
				rows = append(rows, store.Row{ID: afterhours.RowID{Segment: segment, Seq: uint32(n - from)}, Event: e})
			}
			return appendRows(writing, s, lane.Name, rows)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	lane.Closed, lane.Rows, lane.Bytes = true, int64(to-from), size.Load()
	return s.PutLane(ctx, benchHour(), lane)
}

// appendRows repeats a batch that a server under load has not taken in time, as
// ingest does, for some seconds.
func appendRows(ctx context.Context, s store.Store, lane string, rows []store.Row) error {
	wrote := afterhours.MicrosOf(time.Now())
	for tries := 1; ; tries++ {
		err := s.Append(ctx, benchHour(), lane, wrote, rows)
		if err == nil || tries == 10 || ctx.Err() != nil || errors.Is(err, store.ErrRefused) {
			return err
		}
		time.Sleep(time.Second)
	}
}

// bareRead pages through the hour's rows, as many lanes at once as a rewrite, and
// looks at nothing.
func bareRead(ctx context.Context, t task) (took, error) {
	s, err := clusterOf(t.Store).session()
	if err != nil {
		return took{}, err
	}
	defer s.Close()
	h := benchHour()
	var lanes []string
	it := s.Query(`SELECT lane FROM segments WHERE event_type = ? AND hour = ?`, h.Type, h.Span()).IterContext(ctx)
	for lane := ""; it.Scan(&lane); {
		lanes = append(lanes, lane)
	}
	if err := it.Close(); err != nil {
		return took{}, err
	}
	var rows atomic.Int64
	elapsed, err := t.time(func() error {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(lanesAtOnce)
		for _, lane := range lanes {
			g.Go(func() error {
				it := s.Query(`SELECT segment, seq, event FROM events WHERE event_type = ? AND hour = ? AND lane = ?`, h.Type, h.Span(), lane).
					PageSize(3000).IterContext(ctx)
				var seg, event []byte
				for seq := 0; it.Scan(&seg, &seq, &event); {
					rows.Add(1)
				}
				return it.Close()
			})
		}
		return g.Wait()
	})
	return took{elapsed.Seconds(), rows.Load()}, err
}

// rewrite brings the hour's partition up to date. It has one worker, which has all
// the memory of a compactor.
func rewrite(ctx context.Context, t task) (_ took, err error) {
	s, err := openStore(ctx, t.Store)
	if err != nil {
		return took{}, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	l, err := lake.Open(ctx, t.Lake, lake.Options{Logger: quiet})
	if err != nil {
		return took{}, err
	}
	defer l.Close()
	c, err := compact.New(s, l, config(1))
	if err != nil {
		return took{}, err
	}
	var out compact.Outcome
	elapsed, err := t.time(func() error {
		out = c.Rewrite(ctx, benchHour())
		return out.Err
	})
	if err == nil && out.Unchanged {
		err = errors.New("nothing was new")
	}
	return took{elapsed.Seconds(), out.Rows}, err
}

// encode publishes events that are in memory: what a rebuild does beside reading.
func encode(ctx context.Context, t task) (took, error) {
	events := make([]afterhours.Event, t.Events)
	for n := range events {
		events[n] = event(n)
	}
	elapsed, err := t.time(func() error {
		return publish(ctx, t.Lake, t.Events, func(n int) afterhours.Event { return events[n] })
	})
	return took{elapsed.Seconds(), int64(t.Events)}, err
}

// publish makes a partition of n events, without a store.
func publish(ctx context.Context, url string, n int, event func(int) afterhours.Event) error {
	l, err := lake.Open(ctx, url, lake.Options{Logger: quiet})
	if err != nil {
		return err
	}
	defer l.Close()
	b, err := l.Base(ctx, benchHour())
	if err != nil {
		return err
	}
	defer b.Close()
	r, err := l.Rewrite(b, lake.RewriteOptions{Columns: benchColumns})
	if err != nil {
		return err
	}
	defer r.Close()
	segment := afterhours.NewSegment()
	for i := range n {
		e := event(i)
		if err := r.Add(afterhours.RowID{Segment: segment, Seq: uint32(i)}, afterhours.Origin{Day: afterhours.DayOf(e.Received)}, e); err != nil {
			return err
		}
	}
	_, err = r.Publish(ctx)
	return err
}
