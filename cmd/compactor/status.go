package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/afterhours/afterhours/cmd/internal/app"
	"github.com/afterhours/afterhours/compact"
)

// waitingShown is how many waiting hours are listed for people.
const waitingShown = 10

func newStatus(g *app.Global) *cobra.Command {
	flags := app.NewCompactFlags()
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what is published, what waits and what is stuck",
		Example: `  compactor status
  compactor status --json | jq '.waiting[].hour'`,
		Args: app.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			c, err := g.Compactor(ctx, flags, false)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, c.Close()) }()
			s, err := c.Status(ctx, c.Dirty, c.Group)
			if err != nil {
				return err
			}
			if asJSON {
				return writeStatusJSON(cmd.OutOrStdout(), c, s)
			}
			return writeStatus(cmd.OutOrStdout(), s, time.Now())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	flags.AddGroup(cmd.Flags())
	flags.AddPolicy(cmd.Flags())
	return cmd
}

// writeStatus prints the status for people, the important thing last.
func writeStatus(w io.Writer, s compact.Status, now time.Time) error {
	t := app.NewTable(w)
	t.Row("TYPE", "PARTITIONS", "ROWS", "LATE", "DUPLICATES", "CONFLICTS", "SIZE", "PUBLISHED")
	for _, y := range s.Types {
		t.Row(y.Type, y.Partitions, y.Rows, y.Late, y.Duplicates, y.Conflicts, app.Human(y.Bytes), y.Published.Time().Format(time.RFC3339))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, k := range s.Stuck {
		fmt.Fprintf(w, "stuck since %s: %s: %s\n", k.Since.Time().Format(time.RFC3339), k.Hour, k.Reason)
	}
	for i, h := range s.Waiting {
		if i == waitingShown {
			fmt.Fprintf(w, "and %d more hours wait; all of them: compactor status --json\n", len(s.Waiting)-i)
			break
		}
		fmt.Fprintf(w, "waiting: %s, marked %s ago\n", h.Hour, now.Sub(h.Since.Time()).Round(time.Second))
	}
	_, err := fmt.Fprintf(w, "%d hours wait, %d stuck\n", len(s.Waiting), len(s.Stuck))
	return err
}

// The JSON form; fields may be added, never renamed.
type (
	statusJSON struct {
		Group   string        `json:"group"`
		Lake    string        `json:"lake"`
		Waiting []waitingJSON `json:"waiting"`
		Stuck   []stuckJSON   `json:"stuck"`
		Types   []typeJSON    `json:"types"`
	}
	waitingJSON struct {
		Hour   string    `json:"hour"`
		Marked time.Time `json:"marked"`
		Due    time.Time `json:"due"`
	}
	stuckJSON struct {
		Hour   string    `json:"hour"`
		Since  time.Time `json:"since"`
		Reason string    `json:"reason"`
	}
	typeJSON struct {
		Type       string    `json:"type"`
		Partitions int64     `json:"partitions"`
		Rows       int64     `json:"rows"`
		Seen       int64     `json:"rows_seen"`
		Late       int64     `json:"late"`
		Duplicates int64     `json:"duplicates"`
		Conflicts  int64     `json:"conflicts"`
		Bytes      int64     `json:"bytes"`
		Published  time.Time `json:"published"`
	}
)

func writeStatusJSON(w io.Writer, c *app.Compaction, s compact.Status) error {
	out := statusJSON{Group: c.Group, Lake: c.Lake.URL(), Waiting: []waitingJSON{}, Stuck: []stuckJSON{}, Types: []typeJSON{}}
	for _, h := range s.Waiting {
		out.Waiting = append(out.Waiting, waitingJSON{h.Hour.String(), h.Since.Time(), h.Due.UTC()})
	}
	for _, k := range s.Stuck {
		out.Stuck = append(out.Stuck, stuckJSON{k.Hour.String(), k.Since.Time(), k.Reason})
	}
	for _, t := range s.Types {
		out.Types = append(out.Types, typeJSON{t.Type, t.Partitions, t.Rows, t.Seen, t.Late, t.Duplicates, t.Conflicts, t.Bytes, t.Published.Time()})
	}
	return encode(w, out)
}

func encode(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
