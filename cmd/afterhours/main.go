// Command afterhours is ingest and compactor in one process, for one machine: a
// demonstration, and a small service on the embedded backends.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/afterhours/afterhours/cmd/internal/app"
)

func main() { os.Exit(app.Main(newRoot())) }

func newRoot() *cobra.Command {
	root, g := app.NewRoot("afterhours", "Late events into the right hour of a data lake",
		"afterhours runs ingest and compactor in one process, by default on backends embedded in it.",
		`  afterhours demo                          # sample events, two waves, and what became of each hour
  afterhours serve --data ./events access.jsonl
  tail -F app.log | afterhours serve -`)
	root.AddCommand(newDemo(g), newServe(g))
	return root
}
