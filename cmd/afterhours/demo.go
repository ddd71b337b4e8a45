package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/cmd/internal/app"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/dirty"
	"github.com/afterhours/afterhours/ingest"
)

// demoDir is where the demo works unless --data says otherwise.
const demoDir = "./afterhours-demo"

// demoFiles are what the demo makes in its directory, and removes when it is run
// again.
var demoFiles = []string{"store", "dirty", "lake", "wave-1.jsonl", "wave-2.jsonl"}

// demoMapping is how the sample is ingested.
var demoMapping = ingest.Mapping{
	IDField: "event_id", TypeField: "event_type", TimeField: "event_time", ReceivedField: "received_at",
	AcceptPast: ingest.DefaultAcceptPast, AcceptFuture: ingest.DefaultAcceptFuture,
	Columns: []afterhours.Column{
		{Name: "user_id", Field: "user_id", Type: afterhours.String},
		{Name: "country", Field: "country", Type: afterhours.String},
		{Name: "amount", Field: "amount", Type: afterhours.Double},
		{Name: "items", Field: "items", Type: afterhours.Int64},
	},
}

func newDemo(g *app.Global) *cobra.Command {
	var events int
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole path on sample events",
		Long: `Write sample events with realistic lateness, duplicates and broken lines; ingest and compact them; let
a second wave arrive days late; compact again; show what became of each hour; and ingest the first
wave once more, which changes no object.

The demo works in ./afterhours-demo unless --data is given. Every other command can be pointed there.
When it is run again it begins anew.`,
		Example: `  afterhours demo
  afterhours demo --events 200000
  compactor verify --data ./afterhours-demo`,
		Args: app.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("data") {
				g.Data = demoDir
			}
			if g.Store+g.Dirty+g.Lake != "" {
				return app.Usagef("the demo runs on the embedded backends only: leave out --store, --dirty and --lake")
			}
			if events < 100 || events > 10_000_000 {
				return app.Usagef("--events %d: want 100 to 10,000,000", events)
			}
			if !cmd.Flags().Changed("log-level") {
				g.LogLevel = "warn" // the table says it all
				if err := g.LogTo(cmd.ErrOrStderr()); err != nil {
					return err
				}
			}
			return runDemo(cmd.Context(), cmd.OutOrStdout(), g, events)
		},
	}
	cmd.Flags().IntVar(&events, "events", 40_000, "events of the first wave")
	return cmd
}

// demo is a demo under way.
type demo struct {
	g     *app.Global
	out   io.Writer
	b     *app.Compaction
	mu    sync.Mutex
	waves [][]compact.Outcome // of each compaction; the last is being filled
}

func runDemo(ctx context.Context, out io.Writer, g *app.Global, events int) (err error) {
	start := time.Now()
	if err := prepareDemo(g.Data); err != nil {
		return err
	}
	first, second, err := newSample(start).writeWaves(g.Data, events)
	if err != nil {
		return err
	}
	d := &demo{g: g, out: out}
	flags := app.NewCompactFlags()
	flags.Config.Workers = 2
	flags.Config.Finished = d.finished
	if d.b, err = g.Compactor(ctx, flags, true); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.b.Close()) }()
	for _, w := range []struct{ title, path string }{
		{"First wave: six hours of events, mostly in time, three days ago", first},
		{"Second wave: phones that come back online days later", second},
	} {
		if err := d.wave(ctx, w.title, w.path); err != nil {
			return err
		}
	}
	if err := d.table(); err != nil {
		return err
	}
	if err := d.again(ctx, first); err != nil {
		return err
	}
	return d.next(time.Since(start))
}

// prepareDemo makes the directory and removes what an earlier demo made in it.
func prepareDemo(dir string) error {
	for _, f := range demoFiles {
		if err := os.RemoveAll(filepath.Join(dir, f)); err != nil {
			return fmt.Errorf("remove the last demo: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("prepare demo: %w", err)
	}
	return nil
}

func (d *demo) finished(o compact.Outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	last := len(d.waves) - 1
	d.waves[last] = append(d.waves[last], o)
}

// wave ingests a file and drains what it made dirty.
func (d *demo) wave(ctx context.Context, title, path string) error {
	fmt.Fprintf(d.out, "%s\n  ingest file %s\n    ", title, path)
	start := time.Now()
	sum, err := d.g.Ingest(ctx, d.b.Backends, ingest.Files{Inputs: []string{path}}, demoMapping, app.GuardFlags{})
	if err != nil {
		return err
	}
	app.WriteIngest(d.out, sum, time.Since(start))
	fmt.Fprintf(d.out, "  compactor once\n    ")
	d.waves = append(d.waves, nil)
	start = time.Now()
	done, err := d.drain(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "%s\n\n", app.SummaryLine(done, time.Since(start)))
	return nil
}

func (d *demo) drain(ctx context.Context) (sum compact.Summary, err error) {
	marks, err := d.b.Dirty.Consume(ctx, d.b.Group, dirty.Options{Drain: true})
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, marks.Close()) }()
	return d.b.Drain(ctx, marks, compact.Limits{})
}

// table shows what each compaction did to each hour.
func (d *demo) table() error {
	type line struct{ first, second compact.Outcome }
	hours := map[afterhours.Hour]*line{}
	for n, wave := range d.waves {
		for _, o := range wave {
			l := hours[o.Hour]
			if l == nil {
				l = &line{}
				hours[o.Hour] = l
			}
			if n == 0 {
				l.first = o
			} else {
				l.second = o
			}
		}
	}
	var order []afterhours.Hour
	for h := range hours {
		order = append(order, h)
	}
	slices.SortFunc(order, afterhours.Hour.Compare)
	t := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "hour\trows, first wave\tduplicates\tlate\trows, second wave\tadded\tduplicates\tlate\t")
	for _, h := range order {
		f, s := hours[h].first, hours[h].second
		if s.Hour != h { // untouched by the second wave
			s = compact.Outcome{Rows: f.Rows, Late: f.Late}
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%+d\t%d\t%d\t\n", h, f.Rows, f.Duplicates, f.Late, s.Rows, s.Added, s.Duplicates, s.Late)
	}
	return t.Flush()
}

// again ingests a file that is in the lake already, and says what that changed.
func (d *demo) again(ctx context.Context, path string) error {
	fmt.Fprintf(d.out, "\nThe first file once more: ")
	if _, err := d.g.Ingest(ctx, d.b.Backends, ingest.Files{Inputs: []string{path}}, demoMapping, app.GuardFlags{}); err != nil {
		return err
	}
	d.waves = append(d.waves, nil)
	done, err := d.drain(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(d.out, "%d copies are counted, %d objects change\n", done.Duplicates, done.Rewritten)
	return err
}

// next says where things lie and what to do with them.
func (d *demo) next(elapsed time.Duration) error {
	lake := filepath.Join(d.g.Data, "lake")
	_, err := fmt.Fprintf(d.out, `
The lake is in %[1]s: one Parquet object for each hour. Ask it something, in DuckDB:

  SELECT event_type, dt, hour, count(*) AS events, count(DISTINCT user_id) AS users, sum(amount)::DECIMAL(12,2) AS amount
  FROM read_parquet('%[1]s/**/*.parquet', hive_partitioning = true, union_by_name = true)
  WHERE event_type <> '_quarantine' GROUP BY ALL ORDER BY ALL;

What was broken is in quarantine, with the reason:

  SELECT reason, source, position, payload FROM read_parquet('%[1]s/event_type=_quarantine/**/*.parquet');

Recount everything: go run ./cmd/compactor verify --data %[2]s
Done in %[3]s.
`, filepath.ToSlash(lake), d.g.Data, elapsed.Round(100*time.Millisecond))
	return err
}
