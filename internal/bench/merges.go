package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/internal/testenv"
)

//go:embed peers.py
var peersProgram string

//go:embed peers.txt
var peersList []byte

// merge is late events that come into a partition of how many.
type merge struct {
	id           string
	late, events int
}

// merges are late events, a tenth of them copies, that come into a partition which is
// there, from the embedded store, in a directory. Beside them stand a synced copy of
// the partition, which is the floor of who writes it anew, and what others take for
// the same: see peers.py. All begin with the same partition and the same late events,
// and must end with as many rows.
func (s *suite) merges() group {
	one, ten, thousand := merge{"merge_1", 1, s.Events}, merge{"merge_10", 10, s.Events}, merge{"merge_1000", 1000, s.Events}
	big := merge{"merge_10_big", 10, s.Big}
	works := []work{s.copies("copy", s.Events)}
	for _, m := range []struct {
		merge
		goal goal
	}{
		{one, goal{times: 0.06}}, {ten, goal{times: 0.15}}, {thousand, goal{times: 0.5, rss: 200 << 20}},
	} {
		m.goal.against = m.id + "_duckdb"
		works = append(works, s.ours(m.merge, m.goal))
		if s.peers { // of a large partition their figure is not asked for: they would take the machine's memory
			works = append(works, s.peer(m.merge, "duckdb", "DuckDB"), s.peer(m.merge, "polars", "Polars"))
		}
	}
	works = append(works, s.copies("copy_big", s.Big), s.ours(big, goal{against: ten.id, times: 3}))
	return group{
		name:    "merge",
		prepare: func(ctx context.Context) error { return s.prepareMerges(ctx, one, ten, thousand, big) },
		works:   works,
	}
}

// prepareMerges makes the partitions, and each merge's late events for us and for the
// others.
func (s *suite) prepareMerges(ctx context.Context, all ...merge) (err error) {
	if s.peers {
		if s.python, err = testenv.PythonWith(peersList); err != nil {
			return fmt.Errorf("%w: leave DuckDB and Polars out by -peers=false", err)
		}
	}
	for _, m := range all {
		if _, err := os.Stat(s.base(m.events)); err != nil {
			s.progress("make a partition of %s events", count(m.events))
			if _, err := (task{Do: "base", Lake: fileURL(s.base(m.events)), Events: m.events}).start(ctx); err != nil {
				return err
			}
		}
		if _, err := (task{Do: "late", Store: s.lateStore(m), Late: m.late, Events: m.events}).start(ctx); err != nil {
			return err
		}
		if err := writeLines(s.lateLines(m), m); err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) base(events int) string   { return filepath.Join(s.dir, fmt.Sprint("base-", events)) }
func (s *suite) lateStore(m merge) string { return pebbleURL(filepath.Join(s.dir, m.id)) }
func (s *suite) lateLines(m merge) string { return filepath.Join(s.dir, m.id+".ndjson") }
func (s *suite) partition(m merge) string { return partitionFile(s.base(m.events)) }
func (m merge) name() string              { return fmt.Sprintf("%d late into %s", m.late, count(m.events)) }

// rows is how many there are in the end.
func (m merge) rows() int { return m.events + m.late - m.late/10 }

// ours is this project's merge.
func (s *suite) ours(m merge, g goal) work {
	return work{id: m.id, name: m.name(), goal: g, do: func(ctx context.Context, dir string) (figure, error) {
		root := filepath.Join(dir, m.id)
		if err := os.MkdirAll(filepath.Dir(partitionFile(root)), 0o777); err != nil {
			return figure{}, err
		}
		if err := copyFile(s.partition(m), partitionFile(root)); err != nil {
			return figure{}, err
		}
		return s.measure(ctx, m.id, task{Do: "rewrite", Store: s.lateStore(m), Lake: fileURL(root)}, m.rows())
	}}
}

// peer is another engine's.
func (s *suite) peer(m merge, engine, name string) work {
	return work{id: m.id + "_" + engine, name: name + ", " + m.name(), do: func(ctx context.Context, dir string) (figure, error) {
		out := filepath.Join(dir, "peer.parquet")
		f, err := runProgram(ctx, s.python, "-c", peersProgram, engine, s.partition(m), s.lateLines(m), out)
		return f, errors.Join(err, done(f, m.rows()))
	}}
}

// copies is a copy of the partition, written to the disk.
func (s *suite) copies(id string, events int) work {
	name := fmt.Sprintf("synced copy of a partition of %s", count(events))
	return work{id: id, name: name, do: func(_ context.Context, dir string) (figure, error) {
		start := time.Now()
		err := copyFile(partitionFile(s.base(events)), filepath.Join(dir, id))
		return figure{took: took{Seconds: time.Since(start).Seconds()}}, err
	}}
}

func partitionFile(lake string) string {
	return filepath.Join(lake, "event_type=bench", hour.Format("dt=2006-01-02"), hour.Format("hour=15"), "events.parquet")
}

// makeBase publishes the hour's first events.
func makeBase(ctx context.Context, t task) (took, error) {
	return took{}, publish(ctx, t.Lake, t.Events, event)
}

// event is the n-th late event: a tenth are copies of events that are there.
func (m merge) event(n int) afterhours.Event {
	e := event(m.events + n)
	if n < m.late/10 {
		e = event(n * 31 % m.events)
	}
	e.Received = afterhours.MicrosOf(hour.Add(72 * time.Hour))
	return e
}

// fillLate writes the late events to a store.
func fillLate(ctx context.Context, t task) (took, error) {
	return took{}, fillStore(ctx, t.Store, t.Late, merge{late: t.Late, events: t.Events}.event)
}

// writeLines writes the late events for the others, one JSON object a line.
func writeLines(path string, m merge) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(f)
	for n := range m.late {
		e := m.event(n)
		line := map[string]any{"event_id": e.ID, "event_time": int64(e.Time), "received_at": int64(e.Received), "payload": string(e.Payload)}
		if err := enc.Encode(line); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}
