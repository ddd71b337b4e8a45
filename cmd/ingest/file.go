package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/afterhours/afterhours/cmd/internal/app"
	"github.com/afterhours/afterhours/ingest"
)

func newFile(g *app.Global) *cobra.Command {
	var mapping app.MappingFlags
	var guards app.GuardFlags
	cmd := &cobra.Command{
		Use:   "file [flags] PATH|URL|-...",
		Short: "Ingest JSON lines from files, objects or standard input",
		Long: `Ingest JSON lines, plain or compressed with gzip or zstd (told by their content), from files,
from objects (s3://bucket/key, gs://bucket/key; a key that ends in / means all below it), or from
standard input (-).

To ingest a file again is safe: copies of an event become one.`,
		Example: `  ingest file events.jsonl.gz
  ingest file --type-field kind --time-field ts --column user_id=user.id --column amount=order.amount:double a.jsonl b.jsonl
  ingest file s3://raw-events/2026/11/`,
		Args: app.Args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := mapping.Read(cmd.Flags())
			if err != nil {
				return err
			}
			guards, err := guards.Read(cmd.Flags(), false)
			if err != nil {
				return err
			}
			return run(cmd, g, ingest.Files{Inputs: args, Stdin: cmd.InOrStdin()}, m, guards)
		},
	}
	mapping.Add(cmd.Flags())
	guards.Add(cmd.Flags())
	return cmd
}

// run ingests a source and says what was done, also after an error.
func run(cmd *cobra.Command, g *app.Global, src ingest.Source, m ingest.Mapping, guards app.GuardFlags) (err error) {
	ctx := cmd.Context()
	b, err := g.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	start := time.Now()
	sum, err := g.Ingest(ctx, b, src, m, guards)
	app.WriteIngest(cmd.OutOrStdout(), sum, time.Since(start))
	return err
}
