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
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
)

// linesShown is how many hours of a kind are listed for people.
const linesShown = 10

func newStatus(g *app.Global) *cobra.Command {
	flags := app.NewCompactFlags()
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what is published, what waits and what is stuck",
		Long: `Show what is published of each event type, and what needs attention: hours that are stuck, with the reason and
the remedy; hours that wait for a rewrite, with when their oldest event was marked that is not published; and
partitions that know more segments than they should.

In JSON, due is when a daemon with these flags looks at an hour, and latest when it rewrites it even if its late
rows do not outweigh its partition; why-not-yet tells of one hour what is decided between the two.`,
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
				return encode(cmd.OutOrStdout(), newStatusJSON(c.Group, c.Lake.URL(), s))
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
	oversized(w, s.Oversized)
	for _, k := range s.Stuck {
		fmt.Fprintf(w, "stuck since %s: %s: %s\n  remedy: %s\n", k.Since.Time().Format(time.RFC3339), k.Hour, k.Reason, app.Remedy(k.Hour))
	}
	for i, h := range s.Waiting {
		if i == linesShown {
			fmt.Fprintf(w, "and %d more hours wait; all of them: compactor status --json\n", len(s.Waiting)-i)
			break
		}
		fmt.Fprintf(w, "waiting: %s, marked %s ago\n", h.Hour, now.Sub(h.Since.Time()).Round(time.Second))
	}
	_, err := fmt.Fprintf(w, "%d hours wait, %d stuck\n", len(s.Waiting), len(s.Stuck))
	return err
}

// oversized prints partitions whose manifest is too large, for people.
func oversized(w io.Writer, ps []store.Partition) {
	for i, p := range ps {
		if i == linesShown {
			fmt.Fprintf(w, "and %d more oversized manifests; all of them: compactor status --json\n", len(ps)-i)
			return
		}
		fmt.Fprintf(w, "oversized manifest: %s: %s, expected are at most %s; segments leave it when the hour is rewritten after their raw rows have expired\n",
			p.Hour, app.Human(p.Manifest), app.Human(lake.ManifestLimit))
	}
}

// The JSON form; fields may be added, never renamed.
type (
	statusJSON struct {
		Group     string          `json:"group"`
		Lake      string          `json:"lake"`
		Waiting   []waitingJSON   `json:"waiting"`
		Stuck     []app.StuckJSON `json:"stuck"`
		Types     []typeJSON      `json:"types"`
		Oversized []oversizedJSON `json:"oversized"`
	}
	waitingJSON struct {
		Hour   string    `json:"hour"`
		Marked time.Time `json:"marked"`
		Due    time.Time `json:"due"`
		Latest time.Time `json:"latest"`
	}
	oversizedJSON struct {
		Hour  string `json:"hour"`
		Bytes int64  `json:"manifest_bytes"`
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

func newStatusJSON(group, lake string, s compact.Status) statusJSON {
	out := statusJSON{
		Group: group, Lake: lake, Waiting: []waitingJSON{}, Stuck: app.NewStuckJSON(s.Stuck), Types: []typeJSON{}, Oversized: []oversizedJSON{},
	}
	for _, h := range s.Waiting {
		out.Waiting = append(out.Waiting, waitingJSON{h.Hour.String(), h.Since.Time(), h.Due.UTC(), h.Latest.UTC()})
	}
	for _, t := range s.Types {
		out.Types = append(out.Types, typeJSON{t.Type, t.Partitions, t.Rows, t.Seen, t.Late, t.Duplicates, t.Conflicts, t.Bytes, t.Published.Time()})
	}
	for _, p := range s.Oversized {
		out.Oversized = append(out.Oversized, oversizedJSON{p.Hour.String(), p.Manifest})
	}
	return out
}

func encode(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
