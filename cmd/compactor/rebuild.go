package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/cmd/internal/app"
)

func newRebuild(g *app.Global) *cobra.Command {
	flags := app.NewCompactFlags()
	var discard bool
	cmd := &cobra.Command{
		Use:   "rebuild HOUR...",
		Short: "Write hours anew from all their raw rows",
		Long: `Write the partitions of the given hours from all raw rows that are in the store. HOUR is a type and an
hour in UTC: purchase/2026-11-20T10.

Where raw rows have expired, the partition is the only place that has their events: then it is merged with
what there is, and nothing is lost.

With --discard-base the partition need not be there, nor be readable: the way out of a stuck hour of which no
older version can be restored. Given up for ever are the events whose raw rows have expired (30 days after they
came, unless the store's URL says otherwise) and the hour's books up to now. If the partition cannot be read,
the list of erased events is given up too: one whose raw row is still there comes back.`,
		Example: `  compactor rebuild purchase/2026-11-20T10 purchase/2026-11-20T11
  compactor rebuild purchase/2026-11-20T10 --discard-base`,
		Args: app.Args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			hours, err := parseHours(args)
			if err != nil {
				return err
			}
			if discard {
				return discardBases(cmd, g, flags, hours)
			}
			return backfill(cmd, g, flags, true, func(ctx context.Context, c *app.Compaction) ([]afterhours.Hour, error) {
				return hours, haveSomething(ctx, c, hours)
			})
		},
	}
	cmd.Flags().BoolVar(&discard, "discard-base", false, "give up what only the present partition has")
	flags.AddWork(cmd.Flags())
	return cmd
}

// parseHours reads hours, in order and each once, or returns every fault of them
// as a usage error.
func parseHours(args []string) ([]afterhours.Hour, error) {
	var hours []afterhours.Hour
	var errs []error
	for _, arg := range args {
		h, err := afterhours.ParseHour(arg)
		if err == nil && h.Width != afterhours.Hourly {
			err = fmt.Errorf("hour %q is a day: want TYPE/2026-11-20T10; for all of its hours use backfill", arg)
		}
		hours, errs = append(hours, h), append(errs, err)
	}
	slices.SortFunc(hours, afterhours.Hour.Compare)
	return slices.Compact(hours), app.Usage(errors.Join(errs...))
}

// haveSomething refuses hours of which there is nothing at all: they are
// misspelled.
func haveSomething(ctx context.Context, c *app.Compaction, hours []afterhours.Hour) error {
	var errs []error
	for _, h := range hours {
		lanes, err := c.Store.Lanes(ctx, h)
		if err == nil && len(lanes) == 0 {
			err = hasPartition(ctx, c, h)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// hasPartition refuses an hour that has no partition and never had one.
func hasPartition(ctx context.Context, c *app.Compaction, h afterhours.Hour) error {
	if _, known, err := c.Board().Partition(ctx, h); err != nil || known {
		return err
	}
	base, err := c.Lake.Unread(ctx, h)
	if err != nil {
		return err
	}
	if base.Version() == "" {
		err = fmt.Errorf("hour %s has neither raw rows nor a partition: is the name right?", h)
	}
	return errors.Join(err, base.Close())
}

// discardBases writes the hours anew one by one. One that fails does not stop the
// others.
func discardBases(cmd *cobra.Command, g *app.Global, flags *app.CompactFlags, hours []afterhours.Hour) (err error) {
	ctx := cmd.Context()
	c, err := g.Compactor(ctx, flags, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := haveSomething(ctx, c, hours); err != nil {
		return err
	}
	var errs []error
	for _, h := range hours {
		known, _, err := c.Board().Partition(ctx, h)
		if err != nil {
			return err
		}
		out := c.Discard(ctx, h)
		if out.Err != nil {
			errs = append(errs, out.Err)
			continue
		}
		writeRepaired(cmd.OutOrStdout(), out, known)
	}
	return errors.Join(errs...)
}
