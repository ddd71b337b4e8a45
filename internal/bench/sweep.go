package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/internal/testenv/servers"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
	"github.com/afterhours/afterhours/store/cassandra"
)

// sweepRows are the rows of each hour that is swept.
const sweepRows = 5

// sweep makes a number of complete hours, with every lane closed and merged, and
// measures what it costs to find out that nothing is to be done. Then it takes the
// board away, and measures what it costs to find that out from the footers.
func sweep(ctx context.Context, args []string) (err error) {
	c := cluster{keyspace: fmt.Sprintf("bench_%d_sweep", os.Getpid())}
	f := flag.NewFlagSet("sweep", flag.ExitOnError)
	f.StringVar(&c.host, "cassandra", os.Getenv(servers.Variable(servers.Cassandra)), "`HOST:PORT`")
	hours := f.Int("hours", 100_000, "complete hours to sweep")
	url := f.String("lake", "", "`URL` of the lake to sweep (default: a temporary directory)")
	if err := f.Parse(args); err != nil {
		return err
	}
	if c.host == "" {
		return errors.New("no Cassandra: run it by `make bench-months`, or name one by -cassandra")
	}
	if *url == "" {
		dir, err := os.MkdirTemp("", "afterhours-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		*url = fileURL(dir)
	}
	if err := c.create(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.drop(ctx)) }()
	return sweepHours(ctx, c, *url, *hours)
}

func sweepHours(ctx context.Context, in cluster, url string, hours int) error {
	s, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	l, err := lake.Open(ctx, url, lake.Options{Logger: quiet})
	if err != nil {
		return err
	}
	defer l.Close()
	cfg := config(8 * runtime.GOMAXPROCS(0))
	c, err := compact.New(s, l, cfg)
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := makeHours(ctx, s, c, hours, cfg.Workers); err != nil {
		return err
	}
	fmt.Printf("%d hours of %d rows made and published in %.1f s (%.0f/s)\n", hours, sweepRows, time.Since(begun).Seconds(), float64(hours)/time.Since(begun).Seconds())
	if err := timeSweep(ctx, "sweep", c); err != nil {
		return err
	}
	other, err := compact.New(elsewhere{s}, l, cfg)
	if err != nil {
		return err
	}
	return timeSweep(ctx, "sweep without a board", other)
}

// elsewhere is the store with an empty board.
type elsewhere struct{ *cassandra.Store }

func (e elsewhere) Board(lake string) store.Board { return e.Store.Board(lake + " elsewhere") }

// makeHours writes hours with one closed lane each, and publishes them.
func makeHours(ctx context.Context, s *cassandra.Store, c *compact.Compactor, hours, workers int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for n := range hours {
		g.Go(func() error {
			at := hour.Add(-time.Duration(n) * time.Hour)
			h := afterhours.HourOf("bench", afterhours.MicrosOf(at))
			lane := store.OwnLane(afterhours.NewSegment())
			segment, _ := lane.Own()
			rows := make([]store.Row, sweepRows)
			for i := range rows {
				e := afterhours.NewEvent(fmt.Sprint(i), "bench", at, at, event(i).Payload)
				rows[i] = store.Row{ID: afterhours.RowID{Segment: segment, Seq: uint32(i)}, Event: e}
			}
			lane.Closed, lane.Rows = true, sweepRows
			if err := s.PutLane(ctx, h, lane); err != nil {
				return err
			}
			if err := s.Append(ctx, h, lane.Name, afterhours.MicrosOf(time.Now()), rows); err != nil {
				return err
			}
			return c.Rewrite(ctx, h).Err
		})
	}
	return g.Wait()
}

// nobody is a queue that must not be marked.
type nobody struct{}

func (nobody) Mark(_ context.Context, hours ...afterhours.Hour) error {
	return fmt.Errorf("hours %v were marked, although nothing is to be done", hours)
}

func timeSweep(ctx context.Context, what string, c *compact.Compactor) error {
	start := time.Now()
	sum, err := c.Sweep(ctx, nobody{}, true)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %.2f s; %+v\n", what, time.Since(start).Seconds(), sum)
	return nil
}
