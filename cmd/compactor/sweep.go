package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/cmd/internal/app"
	"github.com/afterhours/afterhours/compact"
)

func newSweep(g *app.Global) *cobra.Command {
	flags := app.NewCompactFlags()
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "Mark the hours that have rows nobody marked",
		Long: `Look for raw rows that no partition has and no mark tells of, and mark their hours: the next run or once
rewrites them. Marks are lost only with the queue or by an operator; after that, sweep. Hours that status
still shows as stuck, although another compactor has put them right, are shown no more.

It is cheap: of most hours, a listing of the lake and the store's index tell that they are complete, and
nothing is read. Rows of stragglers are read as far as they came since the last sweep; with --all, all
of them. run and serve sweep by themselves, see their --sweep-every.`,
		Example: `  compactor sweep
  compactor sweep --all      # after the queue was lost or restored
  compactor sweep --json | jq .hours_marked`,
		Args: app.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			c, err := g.Compactor(ctx, flags, false)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, c.Close()) }()
			start := time.Now()
			q := &recorder{Marker: c.Dirty}
			s, err := c.Sweep(ctx, q, all)
			if err != nil {
				return err
			}
			if asJSON {
				return encode(cmd.OutOrStdout(), sweptJSON{s, q.names()})
			}
			return writeSwept(cmd.OutOrStdout(), s, q.names(), time.Since(start))
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "read the rows of all stragglers again, not only those since the last sweep")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// recorder remembers the hours that were marked.
type recorder struct {
	compact.Marker
	mu    sync.Mutex
	hours []afterhours.Hour
}

// Mark marks hours. It may be called by several goroutines.
func (r *recorder) Mark(ctx context.Context, hours ...afterhours.Hour) error {
	if err := r.Marker.Mark(ctx, hours...); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hours = append(r.hours, hours...)
	return nil
}

// names returns what was marked, in order, never nil.
func (r *recorder) names() []string {
	slices.SortFunc(r.hours, afterhours.Hour.Compare)
	names := make([]string, len(r.hours))
	for i, h := range r.hours {
		names[i] = h.String()
	}
	return names
}

// sweptJSON is the JSON form; fields may be added, never renamed.
type sweptJSON struct {
	compact.Swept
	Names []string `json:"marked"`
}

// writeSwept prints what a sweep did for people.
func writeSwept(w io.Writer, s compact.Swept, marked []string, elapsed time.Duration) error {
	for i, name := range marked {
		if i == linesShown {
			fmt.Fprintf(w, "and %d more; all of them: compactor status --json\n", len(marked)-i)
			break
		}
		fmt.Fprintf(w, "marked: %s\n", name)
	}
	_, err := fmt.Fprintf(w, "%d hours, %d partitions: %d complete, %d looked into (%d rows of %d lanes read); %d hours marked in %s\n",
		s.Hours, s.Partitions, s.Complete, s.Looked, s.Rows, s.Lanes, s.Marked, elapsed.Round(10*time.Millisecond))
	return err
}
