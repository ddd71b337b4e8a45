package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours/cmd/internal/app"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/dirty"
	"github.com/afterhours/afterhours/ingest"
)

func newServe(g *app.Global) *cobra.Command {
	var mapping app.MappingFlags
	var topics app.TopicFlags
	var guards app.GuardFlags
	flags := app.NewCompactFlags()
	cmd := &cobra.Command{
		Use:   "serve [flags] [PATH|URL|-...]",
		Short: "Ingest and compact in one process until stopped",
		Long: `Ingest JSON lines from files, objects or standard input (-), or events from Kafka topics, and rewrite
hours as they become due, until SIGTERM or Ctrl-C. The end of the input does not end the service:
the hours it marked are still to be rewritten.`,
		Example: `  tail -F app.log | afterhours serve -
  afterhours serve --brokers k1:9092 --topics orders --consumer-group ingest --grace 5m`,
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := mapping.Read(cmd.Flags())
			if err != nil {
				return err
			}
			guards, err := guards.Read(cmd.Flags(), topics.Given())
			if err != nil {
				return err
			}
			src, err := serveSource(cmd, g, topics, args)
			if err != nil {
				return err
			}
			return serve(cmd, g, flags, func(ctx context.Context, c *app.Compaction) (ingest.Summary, error) {
				return g.IngestWatched(ctx, c.Backends, src, m, guards, func(w *ingest.Writer) { c.Vitals.Ingests(w, src, flags.Config.StallAfter) })
			})
		},
	}
	mapping.Add(cmd.Flags())
	topics.Add(cmd.Flags(), "consumer-group")
	guards.Add(cmd.Flags())
	flags.AddWork(cmd.Flags())
	flags.AddClasses(cmd.Flags())
	flags.AddGroup(cmd.Flags())
	flags.AddPolicy(cmd.Flags())
	flags.AddDaemon(cmd.Flags())
	return cmd
}

// serveSource is the one source that the command line names.
func serveSource(cmd *cobra.Command, g *app.Global, topics app.TopicFlags, args []string) (ingest.Source, error) {
	switch {
	case len(args) > 0 && topics.Given():
		return nil, app.Usagef("give files or topics to ingest, not both")
	case topics.Given():
		return topics.Source(cmd.Context(), g)
	case len(args) > 0:
		return ingest.Files{Inputs: args, Stdin: cmd.InOrStdin()}, nil
	}
	return nil, app.Usagef("nothing to ingest: give a PATH, a URL, - for standard input, or --brokers and --topics")
}

// serve runs both sides until ctx ends. Ingest ends first, so that what it
// still marks is in the queue when the compactor commits.
func serve(cmd *cobra.Command, g *app.Global, flags *app.CompactFlags, take func(context.Context, *app.Compaction) (ingest.Summary, error)) error {
	return g.Consume(cmd.Context(), flags, false, func(c *app.Compaction, marks dirty.Consumer) error {
		start := time.Now()
		var taken ingest.Summary
		var done compact.Summary
		tasks, ctx := errgroup.WithContext(cmd.Context())
		tasks.Go(func() (err error) {
			taken, err = take(ctx, c)
			return app.Stopped(ctx, err)
		})
		tasks.Go(func() (err error) {
			done, err = c.Run(ctx, marks, c.Dirty)
			return err
		})
		err := tasks.Wait()
		app.WriteIngest(cmd.OutOrStdout(), taken, time.Since(start))
		fmt.Fprintln(cmd.OutOrStdout(), app.SummaryLine(done, time.Since(start)))
		return err
	})
}
