package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/afterhours/afterhours/cmd/internal/app"
	"github.com/afterhours/afterhours/compact"
)

func newVerify(g *app.Global) *cobra.Command {
	flags := app.NewCompactFlags()
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Recount raw rows against the lake",
		Long: `Decode every partition in full, read every raw row that is still in the store, and compare both
with the partition's own books: rows seen = rows published + duplicates + erased. Copies that were
only noted, because they change no event of a partition, are counted among rows seen and duplicates.

An hour with raw rows that are not merged yet is behind: it is marked, and the next run or once
rewrites it. An hour whose partition cannot be read, whose books do not balance, or that lacks
an event it says it has, is broken: the exit code is 1.`,
		Example: `  compactor verify
  compactor verify --json | jq '.problems'`,
		Args: app.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return verify(cmd, g, flags, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	flags.AddWork(cmd.Flags())
	return cmd
}

func verify(cmd *cobra.Command, g *app.Global, flags *app.CompactFlags, asJSON bool) (err error) {
	ctx := cmd.Context()
	c, err := g.Compactor(ctx, flags, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	var notes []compact.Verified
	sum, err := c.Verify(ctx, c.Dirty, func(v compact.Verified) error {
		if v.Problem != "" || v.Missing > 0 {
			notes = append(notes, v)
		}
		return nil
	})
	if err != nil {
		return err
	}
	write := writeVerified
	if asJSON {
		write = writeVerifiedJSON
	}
	if err := write(cmd.OutOrStdout(), sum, notes); err != nil {
		return err
	}
	if sum.Broken > 0 {
		return fmt.Errorf("%d of %d hours are broken", sum.Broken, sum.Hours)
	}
	return nil
}

func writeVerified(w io.Writer, s compact.Verification, notes []compact.Verified) error {
	for _, v := range notes {
		if v.Problem != "" {
			fmt.Fprintf(w, "broken: %s: %s\n", v.Hour, v.Problem)
		}
		if v.Missing > 0 {
			fmt.Fprintf(w, "behind: %s: %d of %d raw rows are not merged; marked\n", v.Hour, v.Missing, v.Raw)
		}
	}
	_, err := fmt.Fprintf(w, "%d hours: %d rows seen = %d rows published + %d duplicates + %d erased; %d raw rows recounted, %d not merged yet; %d hours behind, %d broken\n",
		s.Hours, s.Seen, s.Rows, s.Duplicates, s.Erased, s.Raw, s.Missing, s.Behind, s.Broken)
	return err
}

// The JSON form; fields may be added, never renamed.
type (
	verifiedJSON struct {
		compact.Verification
		Problems []problemJSON `json:"problems"`
	}
	problemJSON struct {
		Hour    string `json:"hour"`
		Missing int64  `json:"raw_rows_missing"`
		Lost    int64  `json:"rows_lost"`
		Problem string `json:"problem,omitempty"`
	}
)

func writeVerifiedJSON(w io.Writer, s compact.Verification, notes []compact.Verified) error {
	out := verifiedJSON{Verification: s, Problems: []problemJSON{}}
	for _, v := range notes {
		out.Problems = append(out.Problems, problemJSON{v.Hour.String(), v.Missing, v.Lost, v.Problem})
	}
	return encode(w, out)
}
