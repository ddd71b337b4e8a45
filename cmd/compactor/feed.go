package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/cmd/internal/app"
	"github.com/afterhours/afterhours/store"
)

// newest is after every publish.
const newest = afterhours.Micros(math.MaxInt64)

func newFeed(g *app.Global) *cobra.Command {
	flags := app.NewCompactFlags()
	var since, until string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "feed",
		Short: "Show which hours were published when, why, and how much they gained",
		Long: `Show every publish in the given time, the oldest first: what a reader of the lake has to read again. Causes are

  merge     new rows were merged in
  refresh   the same; or only a declared column was new
  rebuild   written anew from all raw rows
  discard   written anew from the raw rows that were left, and the rest was given up
  restore   an older version was put back

MERGED is the number of raw rows that were merged, DUPLICATES how many of them were dropped as copies. Publishes
are kept for twice as long as raw rows.

TIME is 2026-11-20T10:30:00Z, 2026-11-20T10, 2026-11-20 (UTC), or a duration before now such as 90m.`,
		Example: `  compactor feed
  compactor feed --since 2026-11-20 --until 2026-11-21T06
  compactor feed --since 1h --json | jq -r .hour | sort -u`,
		Args: app.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, to, err := parseTimes(since, until, time.Now())
			if err != nil {
				return err
			}
			return feed(cmd, g, flags, from, to, asJSON)
		},
	}
	cmd.Flags().StringVar(&since, "since", "24h", "`TIME` of the first publish shown")
	cmd.Flags().StringVar(&until, "until", "", "`TIME` before which publishes are shown (default: the newest too)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return cmd
}

// parseTimes reads --since and --until, with every fault as a usage error.
func parseTimes(since, until string, now time.Time) (from, to afterhours.Micros, err error) {
	from, err = parseTime("--since", since, now)
	to = newest
	if until != "" {
		var fault error
		to, fault = parseTime("--until", until, now)
		err = errors.Join(err, fault)
	}
	if err == nil && from >= to {
		err = fmt.Errorf("--since %s is not before --until %s", since, until)
	}
	return from, to, app.Usage(err)
}

// parseTime reads an instant, or a duration before now.
func parseTime(flag, text string, now time.Time) (afterhours.Micros, error) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return afterhours.MicrosOf(now.Add(-d)), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return afterhours.MicrosOf(t), nil
	}
	if h, err := afterhours.ParseSpan("", text); err == nil {
		return h.Start, nil
	}
	return 0, fmt.Errorf("%s %q: want 2026-11-20T10:30:00Z, 2026-11-20T10, 2026-11-20, or a duration before now such as 24h", flag, text)
}

func feed(cmd *cobra.Command, g *app.Global, flags *app.CompactFlags, from, to afterhours.Micros, asJSON bool) (err error) {
	ctx := cmd.Context()
	c, err := g.Compactor(ctx, flags, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if asJSON {
		return c.Feed(ctx, from, to, func(p store.Publication) error { return writePublicationJSON(cmd.OutOrStdout(), p) })
	}
	t := app.NewTable(cmd.OutOrStdout())
	t.Row("PUBLISHED", "HOUR", "GENERATION", "CAUSE", "MERGED", "DUPLICATES")
	err = c.Feed(ctx, from, to, func(p store.Publication) error {
		t.Row(p.At.Time().Format(time.RFC3339), p.Hour, p.Generation, p.Cause, p.Added, p.Duplicates)
		return nil
	})
	return errors.Join(err, t.Flush())
}

// publicationJSON is a publish in JSON; fields may be added, never renamed.
type publicationJSON struct {
	Published  time.Time `json:"published"`
	Hour       string    `json:"hour"`
	Lineage    string    `json:"lineage"`
	Generation int64     `json:"generation"`
	Cause      string    `json:"cause"`
	Merged     int64     `json:"rows_merged"`
	Duplicates int64     `json:"duplicates_dropped"`
}

func writePublicationJSON(w io.Writer, p store.Publication) error {
	return json.NewEncoder(w).Encode(publicationJSON{p.At.Time(), p.Hour.String(), p.Lineage, p.Generation, p.Cause, p.Added, p.Duplicates})
}
