package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/cmd/internal/app"
	"github.com/afterhours/afterhours/compact"
)

// backfillFlags say which hours are meant, and how they are rewritten.
type backfillFlags struct {
	*app.CompactFlags
	eventType string
	allTypes  bool
	from, to  string
	rebuild   bool
}

func newBackfill(g *app.Global) *cobra.Command {
	flags := &backfillFlags{CompactFlags: app.NewCompactFlags()}
	cmd := &cobra.Command{
		Use:   "backfill --event-type T|--all-types --from HOUR --to HOUR",
		Short: "Rewrite a range of hours now",
		Long: `Rewrite the hours of a range that have raw rows in the store, marked or not. The range begins with
--from and ends before --to; HOUR is 2026-11-20T10 or a date, in UTC.

With --rebuild, partitions are written from all raw rows instead of being merged with what is new,
wherever the raw rows still cover all of the partition; elsewhere they are merged.

What is to be done is recorded first. If the command is stopped, the next run or once does the rest.`,
		Example: `  compactor backfill --event-type purchase --from 2026-11-18 --to 2026-11-20
  compactor backfill --all-types --from 2026-11-20T08 --to 2026-11-20T12 --rebuild`,
		Args: app.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return flags.run(cmd, g) },
	}
	f := cmd.Flags()
	f.StringVar(&flags.eventType, "event-type", "", "event `TYPE` whose hours are meant")
	f.BoolVar(&flags.allTypes, "all-types", false, "the hours of all event types")
	f.StringVar(&flags.from, "from", "", "first `HOUR`: 2026-11-20T10 or a date")
	f.StringVar(&flags.to, "to", "", "`HOUR` before which the range ends")
	f.BoolVar(&flags.rebuild, "rebuild", false, "write from all raw rows, not only what is new")
	flags.AddWork(f)
	return cmd
}

// selection reads the range of hours, with every fault at once.
func (b *backfillFlags) selection() (compact.Selection, error) {
	s := compact.Selection{EventType: b.eventType}
	var errs []error
	if (b.eventType == "") == !b.allTypes {
		errs = append(errs, errors.New("give --event-type T or --all-types, one of the two"))
	}
	var err error
	if s.From, err = parseBound("--from", b.from); err != nil {
		errs = append(errs, err)
	}
	if s.To, err = parseBound("--to", b.to); err != nil {
		errs = append(errs, err)
	}
	if len(errs) == 0 && s.From >= s.To {
		errs = append(errs, fmt.Errorf("--from %s is not before --to %s; the range ends before --to", b.from, b.to))
	}
	return s, app.Usage(errors.Join(errs...))
}

func parseBound(flag, text string) (afterhours.Micros, error) {
	if text == "" {
		return 0, fmt.Errorf("%s is missing: want 2026-11-20T10 or 2026-11-20", flag)
	}
	h, err := afterhours.ParseSpan("", text)
	if err != nil {
		return 0, fmt.Errorf("%s %q: want 2026-11-20T10 or 2026-11-20", flag, text)
	}
	return h.Start, nil
}

func (b *backfillFlags) run(cmd *cobra.Command, g *app.Global) error {
	sel, err := b.selection()
	if err != nil {
		return err
	}
	return backfill(cmd, g, b.CompactFlags, b.rebuild, func(ctx context.Context, c *app.Compaction) ([]afterhours.Hour, error) {
		return c.Select(ctx, sel)
	})
}

// backfill rewrites the hours that choose returns, and says what was done, also
// after an error.
func backfill(cmd *cobra.Command, g *app.Global, flags *app.CompactFlags, rebuild bool,
	choose func(context.Context, *app.Compaction) ([]afterhours.Hour, error)) (err error) {
	ctx := cmd.Context()
	var progress *app.Progress
	flags.Config.Finished = func(compact.Outcome) { progress.Add(1) }
	c, err := g.Compactor(ctx, flags, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	hours, err := choose(ctx, c)
	if err != nil {
		return err
	}
	if len(hours) == 0 {
		fmt.Fprintln(cmd.OutOrStdout(), "0 hours in the range have raw rows; nothing to do")
		return nil
	}
	start := time.Now()
	progress = app.NewProgress(cmd.ErrOrStderr(), "backfill", "hours", int64(len(hours)))
	sum, err := c.Backfill(ctx, c.Dirty, hours, rebuild)
	progress.Close()
	fmt.Fprintln(cmd.OutOrStdout(), app.SummaryLine(sum, time.Since(start)))
	return err
}
