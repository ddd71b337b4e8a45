package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/afterhours/afterhours/cmd/internal/app"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/dirty"
)

func newRun(g *app.Global) *cobra.Command {
	flags := app.NewCompactFlags()
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Serve marks until stopped",
		Long: `Serve marks until SIGTERM or Ctrl-C. An hour is first rewritten when it is over, after a grace. What
comes later is rewritten when nothing more has come for a while, the longer the older the hour is, and
its rows have waited for as much as the size of its partition is worth; after a bounded delay in any
case. why-not-yet tells of one hour. Rewrites under way are finished before the command ends.

An hour that needs somebody to act is stuck: it is logged with its remedy, tried again slowly, and shown
by status and health. It does not hold up the others.`,
		Example: `  compactor run --grace 5m --quiet 1m --max-delay 15m
  compactor run --type-policy purchase:quiet=1m,max-delay=5m --type-policy page_view:age-share=4
  compactor run --config afterhours.yaml --log-format json --health-addr :8080`,
		Args: app.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return consume(cmd, g, flags, nil) },
	}
	flags.AddWork(cmd.Flags())
	flags.AddClasses(cmd.Flags())
	flags.AddGroup(cmd.Flags())
	flags.AddPolicy(cmd.Flags())
	flags.AddDaemon(cmd.Flags())
	return cmd
}

func newOnce(g *app.Global) *cobra.Command {
	flags := app.NewCompactFlags()
	var limits compact.Limits
	cmd := &cobra.Command{
		Use:   "once",
		Short: "Drain what is dirty, then exit",
		Long: `Serve every mark that is in the queue when the command begins, without waiting, then exit.
An hour that cannot be rewritten keeps its mark, and the exit code is 1.

With --max-hours or --max-runtime the command ends earlier, with exit code 0 if nothing else is wrong. Hours
that it did not come to stay marked for the next run, and it says how many it knows of.`,
		Example: `  compactor once
  compactor once --data ./afterhours-demo
  */15 * * * * compactor once --config /etc/afterhours.yaml --max-runtime 12m   # in a crontab`,
		Args: app.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limits.Hours < 0 || limits.Runtime < 0 {
				return app.Usagef("--max-hours %d, --max-runtime %s: want positive values, or 0 for no limit", limits.Hours, limits.Runtime)
			}
			return consume(cmd, g, flags, &limits)
		},
	}
	cmd.Flags().IntVar(&limits.Hours, "max-hours", 0, "begin no more than `N` rewrites; 0: no limit")
	cmd.Flags().DurationVar(&limits.Runtime, "max-runtime", 0, "begin no rewrite after this long; those under way are finished; 0: no limit")
	flags.AddWork(cmd.Flags())
	flags.AddClasses(cmd.Flags())
	flags.AddGroup(cmd.Flags())
	return cmd
}

// consume joins the group and serves its marks: until they are drained if there
// are limits, else until it is stopped. It says what was done, also after an error.
func consume(cmd *cobra.Command, g *app.Global, flags *app.CompactFlags, limits *compact.Limits) error {
	ctx := cmd.Context()
	return g.Consume(ctx, flags, limits != nil, func(c *app.Compaction, marks dirty.Consumer) (err error) {
		start := time.Now()
		var sum compact.Summary
		if limits == nil {
			sum, err = c.Run(ctx, marks, c.Dirty)
		} else {
			sum, err = c.Drain(ctx, marks, *limits)
		}
		elapsed := time.Since(start)
		fmt.Fprintln(cmd.OutOrStdout(), app.SummaryLine(sum, elapsed))
		if sum.Limited {
			fmt.Fprintln(cmd.OutOrStdout(), limitedLine(sum, *limits, elapsed))
		}
		return err
	})
}

// limitedLine says which limit ended a drain, and what is left.
func limitedLine(s compact.Summary, l compact.Limits, elapsed time.Duration) string {
	limit := "--max-hours"
	if l.Runtime > 0 && elapsed >= l.Runtime {
		limit = "--max-runtime"
	}
	if s.Left == 0 {
		return fmt.Sprintf("stopped at %s; no other dirty hour was seen by then", limit)
	}
	return fmt.Sprintf("stopped at %s; at least %d hours are left for the next run", limit, s.Left)
}
