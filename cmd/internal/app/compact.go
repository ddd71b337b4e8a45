package app

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/spf13/pflag"

	"github.com/afterhours/afterhours/compact"
)

// CompactFlags are the flags of everything that rewrites hours.
type CompactFlags struct {
	Group   string
	TempDir string
	Memory  Size
	Config  compact.Config
}

// NewCompactFlags returns the flags with their defaults.
func NewCompactFlags() *CompactFlags {
	c := compact.Defaults()
	return &CompactFlags{Config: c, Memory: Size(c.Memory)}
}

// AddWork adds the flags of commands that rewrite hours.
func (c *CompactFlags) AddWork(f *pflag.FlagSet) {
	f.IntVar(&c.Config.Workers, "workers", c.Config.Workers, "hours rewritten at once")
	f.Var(&c.Memory, "memory", "budget for the rows of all rewrites together; what does not fit is sorted on disk")
	f.StringVar(&c.TempDir, "temp-dir", "", "`DIR` for sorting, and for partitions before they are uploaded to S3 or GCS (default: the system's)")
}

// AddGroup adds the flag of commands that read the queue.
func (c *CompactFlags) AddGroup(f *pflag.FlagSet) {
	f.StringVar(&c.Group, "group", "", "consumer group of the dirty queue (default: derived from the lake's URL)")
}

// AddPolicy adds the flags that say how long hours wait.
func (c *CompactFlags) AddPolicy(f *pflag.FlagSet) {
	f.DurationVar(&c.Config.Policy.Grace, "grace", c.Config.Policy.Grace, "wait after an hour's end before its first rewrite")
	f.DurationVar(&c.Config.Policy.Quiet, "quiet", c.Config.Policy.Quiet, "wait for more events after the last one that came")
	f.DurationVar(&c.Config.Policy.MaxDelay, "max-delay", c.Config.Policy.MaxDelay, "longest wait while events keep coming")
	f.DurationVar(&c.Config.ShutdownGrace, "shutdown-grace", c.Config.ShutdownGrace, "time for rewrites under way to finish after SIGTERM")
}

// Compaction is a compactor with what it works on.
type Compaction struct {
	*Backends
	*compact.Compactor
	Group string
}

// Compactor opens the backends and returns a compactor on them.
func (g *Global) Compactor(ctx context.Context, c *CompactFlags, prove bool) (*Compaction, error) {
	cfg := c.Config
	cfg.Memory, cfg.Logger = int64(c.Memory), g.Logger
	if err := cfg.Validate(); err != nil {
		return nil, Usage(err)
	}
	b, err := g.OpenWithLake(ctx, c.TempDir, prove)
	if err != nil {
		return nil, err
	}
	// The runtime collects harder near the limit instead of growing: the budget
	// for rows, and half as much again with a floor for everything else.
	debug.SetMemoryLimit(cfg.Memory + max(cfg.Memory/2, 512<<20))
	k, err := compact.New(b.Store, b.Lake, cfg)
	if err != nil {
		return nil, fmt.Errorf("%w (%v)", err, b.Close())
	}
	group := c.Group
	if group == "" {
		group = Group(b.Lake.URL())
	}
	return &Compaction{Backends: b, Compactor: k, Group: group}, nil
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
