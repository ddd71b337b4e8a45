package main

import (
	"context"
	"errors"
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
		Long: `Serve marks until SIGTERM or Ctrl-C. An hour is first rewritten when it is over, after a grace;
later when no more events have come for a while, or when they have kept coming for too long.
Rewrites under way are finished before the command ends.`,
		Example: `  compactor run --grace 5m --quiet 1m --max-delay 15m
  compactor run --config afterhours.yaml --log-format json`,
		Args: app.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return consume(cmd, g, flags, false, func(ctx context.Context, c *app.Compaction, marks dirty.Consumer) (compact.Summary, error) {
				return c.Run(ctx, marks, c.Dirty)
			})
		},
	}
	flags.AddWork(cmd.Flags())
	flags.AddGroup(cmd.Flags())
	flags.AddPolicy(cmd.Flags())
	return cmd
}

func newOnce(g *app.Global) *cobra.Command {
	flags := app.NewCompactFlags()
	var limits compact.Limits
	cmd := &cobra.Command{
		Use:   "once",
		Short: "Drain what is dirty, then exit",
		Long: `Serve every mark that is in the queue when the command begins, without waiting, then exit.
An hour that cannot be rewritten keeps its mark, and the exit code is 1.`,
		Example: `  compactor once
  compactor once --data ./afterhours-demo
  */15 * * * * compactor once --config /etc/afterhours.yaml   # in a crontab`,
		Args: app.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return consume(cmd, g, flags, true, func(ctx context.Context, c *app.Compaction, marks dirty.Consumer) (compact.Summary, error) {
				return c.Drain(ctx, marks, limits)
			})
		},
	}
	flags.AddWork(cmd.Flags())
	flags.AddGroup(cmd.Flags())
	return cmd
}

// consume joins the group, serves its marks, and says what was done, also after
// an error.
func consume(cmd *cobra.Command, g *app.Global, flags *app.CompactFlags, drain bool,
	serve func(context.Context, *app.Compaction, dirty.Consumer) (compact.Summary, error)) (err error) {
	ctx := cmd.Context()
	c, err := g.Compactor(ctx, flags, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	marks, err := c.Dirty.Consume(ctx, c.Group, dirty.Options{Drain: drain})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, marks.Close()) }()
	g.Logger.Info("serving marks", "group", c.Group, "lake", c.Lake.URL())
	start := time.Now()
	sum, err := serve(ctx, c, marks)
	fmt.Fprintln(cmd.OutOrStdout(), app.SummaryLine(sum, time.Since(start)))
	return err
}
