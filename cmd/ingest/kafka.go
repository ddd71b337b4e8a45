package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/afterhours/afterhours/cmd/internal/app"
	"github.com/afterhours/afterhours/ingest"
)

func newKafka(g *app.Global) *cobra.Command {
	var mapping app.MappingFlags
	var topics app.TopicFlags
	var guards app.GuardFlags
	var daemon app.IngestFlags
	cmd := &cobra.Command{
		Use:   "kafka --brokers B --topics a,b | --topic-pattern P --group G",
		Short: "Ingest events from Kafka topics until stopped",
		Long: `Ingest JSON events from Kafka topics as a member of a consumer group, until SIGTERM or Ctrl-C. An offset
is committed only after the store holds the event and its hour is marked.`,
		Example: `  ingest kafka --brokers k1:9092,k2:9092 --topics orders,clicks --group ingest
  ingest kafka --brokers k1:9092 --topic-pattern '^events\.' --group ingest --time-field ts`,
		Args: app.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			m, err := mapping.Read(cmd.Flags())
			if err != nil {
				return err
			}
			guards, err := guards.Read(cmd.Flags(), true)
			if err != nil {
				return err
			}
			if err := daemon.Read(); err != nil {
				return err
			}
			ctx := cmd.Context()
			src, err := topics.Source(ctx, g)
			if err != nil {
				return err
			}
			b, err := g.Open(ctx)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, b.Close()) }()
			vitals := app.NewVitals(b)
			stop, err := vitals.Serve(daemon.HealthAddr, g.Logger)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, stop()) }()
			start := time.Now()
			sum, err := g.IngestWatched(ctx, b, src, m, guards, func(w *ingest.Writer) { vitals.Ingests(w, src, daemon.StallAfter) })
			app.WriteIngest(cmd.OutOrStdout(), sum, time.Since(start))
			return app.Stopped(ctx, err)
		},
	}
	mapping.Add(cmd.Flags())
	topics.Add(cmd.Flags(), "group")
	guards.Add(cmd.Flags())
	daemon.Add(cmd.Flags())
	return cmd
}
