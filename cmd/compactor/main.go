// Command compactor keeps the lake right: it serves marks as a daemon or as a
// scheduled run, rewrites and repairs single hours, finds what marks did not tell,
// and shows and verifies what there is.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/afterhours/afterhours/cmd/internal/app"
)

func main() { os.Exit(app.Main(newRoot())) }

func newRoot() *cobra.Command {
	root, g := app.NewRoot("compactor", "Rewrite the hours that have something new",
		"compactor takes the marks of dirty hours, reads what is new in them, drops duplicates, and\natomically replaces each hour's Parquet object.",
		`  compactor once                                   # drain what is dirty, then exit: for cron or Airflow
  compactor run --store cassandra://db1,db2/afterhours --dirty kafka://k1,k2/afterhours-dirty --lake s3://bucket/events
  compactor backfill --event-type purchase --from 2026-11-18 --to 2026-11-20
  compactor status
  compactor why-not-yet purchase/2026-11-20T10
  compactor restore purchase/2026-11-20T10 --from older.parquet
  compactor verify --json`)
	root.AddCommand(newRun(g), newOnce(g), newBackfill(g), newRebuild(g), newRestore(g), newSweep(g), newStatus(g), newWhyNotYet(g), newFeed(g), newVerify(g))
	return root
}
