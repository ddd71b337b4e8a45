package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/afterhours/afterhours/cmd/internal/app"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/store"
)

func newRestore(g *app.Global) *cobra.Command {
	flags := app.NewCompactFlags()
	var from string
	cmd := &cobra.Command{
		Use:   "restore HOUR --from FILE",
		Short: "Put an older version of an hour's partition back",
		Long: `Publish an older version of an hour's partition again, from a local file, over whatever is there now. HOUR is
a type and an hour in UTC: purchase/2026-11-20T10. A file that is damaged or of another hour is refused.

Rows that came since that version are not lost if they are still in the store: the hour is marked, and the next
run or once merges them again. What came since and has expired in the store is only in the version that is
replaced; keep that one, if it can be read. What was erased since stays erased, if the present partition can be
read. To copy the object back by other means would mark nothing, and bring erased events back.

An older version comes from the bucket's versioning, or from a backup:

  aws s3api list-object-versions --bucket lake --prefix events/event_type=purchase/dt=2026-11-20/hour=10/
  aws s3api get-object --bucket lake --key events/event_type=purchase/dt=2026-11-20/hour=10/events.parquet \
    --version-id VERSION old.parquet

  gcloud storage ls --all-versions gs://lake/events/event_type=purchase/dt=2026-11-20/hour=10/
  gcloud storage cp gs://lake/events/event_type=purchase/dt=2026-11-20/hour=10/events.parquet#GENERATION old.parquet`,
		Example: `  compactor restore purchase/2026-11-20T10 --from old.parquet
  compactor restore purchase/2026-11-20T10 --from old.parquet && compactor once`,
		Args: app.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if from == "" {
				return app.Usagef("--from is missing: want a FILE with an older version of the partition")
			}
			return restore(cmd, g, flags, args, from)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "`FILE` with the older version")
	flags.AddWork(cmd.Flags())
	return cmd
}

func restore(cmd *cobra.Command, g *app.Global, flags *app.CompactFlags, args []string, from string) (err error) {
	hours, err := parseHours(args)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	c, err := g.Compactor(ctx, flags, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	known, _, err := c.Board().Partition(ctx, hours[0])
	if err != nil {
		return err
	}
	out := c.Restore(ctx, c.Dirty, hours[0], from)
	if out.Err != nil {
		return out.Err
	}
	writeRepaired(cmd.OutOrStdout(), out, known)
	fmt.Fprintln(cmd.OutOrStdout(), "marked: the next run or once merges what came since")
	return nil
}

// writeRepaired says what an hour had and has. What it had is what the board knows,
// where the partition itself was not read.
func writeRepaired(w io.Writer, o compact.Outcome, known store.Partition) {
	fmt.Fprintf(w, "%s: %d rows before, %d rows now\n", o.Hour, known.Rows, o.Rows)
}
