// Command ingest takes events from files, objects, standard input or Kafka
// topics, keeps them, and marks their hours.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/afterhours/afterhours/cmd/internal/app"
)

func main() { os.Exit(app.Main(newRoot())) }

func newRoot() *cobra.Command {
	root, g := app.NewRoot("ingest", "Keep events and mark their hours",
		"ingest writes every event to the store and marks its hour dirty, before it acknowledges the event.\nWhat is no event goes to quarantine: event type _quarantine, with its bytes, its place and the reason.",
		`  ingest file events.jsonl.gz
  zcat old/*.gz | ingest file --type page_view --time-field ts -
  ingest kafka --brokers k1:9092,k2:9092 --topics orders,clicks --group ingest \
    --store cassandra://db1,db2/afterhours --dirty kafka://k1,k2/afterhours-dirty`)
	root.AddCommand(newFile(g), newKafka(g))
	return root
}
