package app

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/pflag"

	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/dirty"
	"github.com/afterhours/afterhours/store"
)

// CompactFlags are the flags of everything that rewrites hours.
type CompactFlags struct {
	Config compact.Config

	group        string
	tempDir      string
	healthAddr   string
	memory       Size
	giantSize    Size
	rowWorth     Size
	typePolicies []string
}

// NewCompactFlags returns the flags with their defaults.
func NewCompactFlags() *CompactFlags {
	c := compact.Defaults()
	return &CompactFlags{Config: c, memory: Size(c.Memory), giantSize: Size(c.GiantBytes), rowWorth: Size(c.Policy.RowWorth)}
}

// AddWork adds the flags of commands that rewrite hours.
func (c *CompactFlags) AddWork(f *pflag.FlagSet) {
	f.IntVar(&c.Config.Workers, "workers", c.Config.Workers, "hours rewritten at once")
	f.Var(&c.memory, "memory", "budget for the rows of all rewrites together; what does not fit is sorted on disk")
	f.StringVar(&c.tempDir, "temp-dir", "", "`DIR` for sorting, and for partitions before they are uploaded to S3 or GCS (default: the system's)")
}

// AddClasses adds the flags of commands that keep giants apart.
func (c *CompactFlags) AddClasses(f *pflag.FlagSet) {
	f.IntVar(&c.Config.Giants, "giants", c.Config.Giants, "how many of the workers may be at giants, so that these never hold up the rest; as many as --workers: all")
	f.Var(&c.giantSize, "giant-size", "partition, or raw rows that are new, that make an hour a giant if larger")
}

// AddGroup adds the flag of commands that read the queue.
func (c *CompactFlags) AddGroup(f *pflag.FlagSet) {
	f.StringVar(&c.group, "group", "", "consumer group of the dirty queue (default: derived from the lake's URL)")
}

// AddPolicy adds the flags that say how long hours wait.
func (c *CompactFlags) AddPolicy(f *pflag.FlagSet) {
	p := &c.Config.Policy
	f.DurationVar(&p.Grace, "grace", p.Grace, "first rewrite of an hour: this long after its end")
	f.DurationVar(&p.Quiet, "quiet", p.Quiet, "later rewrites: when no more events have come for this long, or for the hour's age divided by --age-share if that is longer")
	f.Float64Var(&p.AgeShare, "age-share", p.AgeShare, "share of an hour's age that must be quiet: with 8, events that come 24h late are rewritten when 3h passed without another; 0: the age does not count")
	f.DurationVar(&p.MaxDelay, "max-delay", p.MaxDelay, "later rewrites: at most this long after the first event that waits, and at most twice the quiet, however many keep coming")
	f.Var(&c.rowWorth, "row-worth", "later rewrites: partition that one late row is worth writing again for once it has waited for the quiet; a larger one waits, within --max-delay, until the waits of all rows that wait add up to as much; 0: sizes do not count")
	f.StringArrayVar(&c.typePolicies, "type-policy", nil,
		"the above for one event type, `TYPE:PART=VALUE,...` such as purchase:grace=1m,quiet=5m,age-share=8,max-delay=2h,row-worth=1MiB; parts left out are those of the general flags; may be repeated")
}

// AddDaemon adds the flags of commands that run until they are stopped.
func (c *CompactFlags) AddDaemon(f *pflag.FlagSet) {
	f.DurationVar(&c.Config.SweepEvery, "sweep-every", c.Config.SweepEvery, "pause between sweeps, which find rows whose mark was lost; 0: never")
	f.DurationVar(&c.Config.StuckRetry, "stuck-retry", c.Config.StuckRetry, "pause before an hour is tried again that needs somebody to act")
	f.StringVar(&c.healthAddr, "health-addr", "", healthUsage)
	f.DurationVar(&c.Config.StallAfter, "stall-after", c.Config.StallAfter, "health is bad when hours are due and none was rewritten for this long")
	f.DurationVar(&c.Config.ShutdownGrace, "shutdown-grace", c.Config.ShutdownGrace, "time for rewrites under way to finish after SIGTERM")
}

// config returns what the flags say, or every fault of them as a usage error.
func (c *CompactFlags) config() (compact.Config, error) {
	cfg := c.Config
	cfg.Memory, cfg.GiantBytes, cfg.Policy.RowWorth = int64(c.memory), int64(c.giantSize), int64(c.rowWorth)
	var err error
	if cfg.Types, err = parseTypePolicies(c.typePolicies, cfg.Policy); err != nil {
		return cfg, Usage(err)
	}
	if err := c.faults(cfg); err != nil {
		return cfg, Usage(err)
	}
	return cfg, Usage(cfg.Validate())
}

// faults returns those that only the flags' names explain.
func (c *CompactFlags) faults(cfg compact.Config) error {
	var errs []error
	if cfg.Giants > max(1, cfg.Workers) {
		errs = append(errs, fmt.Errorf("--giants %d is more than --workers %d", cfg.Giants, cfg.Workers))
	}
	if a := cfg.Policy.AgeShare; math.IsNaN(a) || math.IsInf(a, 0) {
		errs = append(errs, fmt.Errorf("--age-share %v: want a number, such as 8, or 0", a))
	}
	for _, d := range []struct {
		flag  string
		value time.Duration
		least time.Duration
	}{{"--stuck-retry", cfg.StuckRetry, 1}, {"--stall-after", cfg.StallAfter, 1}, {"--sweep-every", cfg.SweepEvery, 0}} {
		if d.value < d.least {
			errs = append(errs, fmt.Errorf("%s %s: want a positive duration, such as 1h", d.flag, d.value))
		}
	}
	return errors.Join(errs...)
}

// Compaction is a compactor with what it works on.
type Compaction struct {
	*Backends
	*compact.Compactor
	Group  string
	Vitals *Vitals // set by Consume
}

// Board returns the board of the lake.
func (c *Compaction) Board() store.Board { return c.Store.Board(c.Lake.URL()) }

// Compactor opens the backends and returns a compactor on them.
func (g *Global) Compactor(ctx context.Context, c *CompactFlags, prove bool) (*Compaction, error) {
	cfg, err := c.config()
	if err != nil {
		return nil, err
	}
	cfg.Logger = g.Logger
	b, err := g.OpenWithLake(ctx, c.tempDir, prove)
	if err != nil {
		return nil, err
	}
	cfg.LimitRuntime()
	k, err := compact.New(b.Store, b.Lake, cfg)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	group := c.group
	if group == "" {
		group = Group(b.Lake.URL())
	}
	return &Compaction{Backends: b, Compactor: k, Group: group}, nil
}

// Consume opens a compactor, tells its health if that is asked for, and joins the
// group; then work serves the marks. All is closed when it returns.
func (g *Global) Consume(ctx context.Context, flags *CompactFlags, drain bool, work func(*Compaction, dirty.Consumer) error) (err error) {
	flags.Config.Finished = tellStuck(g.Logger)
	c, err := g.Compactor(ctx, flags, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	c.Vitals = NewVitals(c.Backends)
	c.Vitals.Compacts(c.Health)
	stop, err := c.Vitals.Serve(flags.healthAddr, g.Logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	marks, err := c.Dirty.Consume(ctx, c.Group, dirty.Options{Drain: drain})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, marks.Close()) }()
	g.Logger.Info("serving marks", "group", c.Group, "lake", c.Lake.URL())
	return work(c, marks)
}

// SummaryLine says what a number of rewrites did.
func SummaryLine(s compact.Summary, elapsed time.Duration) string {
	line := fmt.Sprintf("%d hours rewritten, %d unchanged", s.Rewritten, s.Unchanged)
	if s.Failed > 0 {
		line += fmt.Sprintf(", %d failed", s.Failed)
	}
	return line + fmt.Sprintf("; %d rows added, %d duplicates dropped, %s published in %s",
		s.Added, s.Duplicates, Human(s.Bytes), elapsed.Round(10*time.Millisecond))
}
