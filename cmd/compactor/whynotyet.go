package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/cmd/internal/app"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/store"
)

func newWhyNotYet(g *app.Global) *cobra.Command {
	flags := app.NewCompactFlags()
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "why-not-yet HOUR",
		Short: "Explain when an hour is rewritten, and what it waits for",
		Long: `Explain in one screen what a daemon makes of an hour. HOUR is a type and an hour in UTC: purchase/2026-11-20T10.
The first line is the answer. Then follow what is known of the hour, each part of the rule with the instant that
it gives and which of them decides, and the command that rewrites the hour now.

The answer holds for a daemon with the same flags: give both the same --config. It holds until more events come.
A daemon that has weighed an hour weighs it again when more has come, but not before another --quiet has passed.
Rows that came after their hour are counted in the store, up to 100,000.`,
		Example: `  compactor why-not-yet purchase/2026-11-20T10 --config afterhours.yaml
  compactor why-not-yet purchase/2026-11-20T10 --row-worth 1MiB    # what if
  compactor why-not-yet purchase/2026-11-20T10 --json | jq -r .until`,
		Args: app.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return whyNotYet(cmd, g, flags, args, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	flags.AddGroup(cmd.Flags())
	flags.AddPolicy(cmd.Flags())
	return cmd
}

func whyNotYet(cmd *cobra.Command, g *app.Global, flags *app.CompactFlags, args []string, asJSON bool) (err error) {
	hours, err := parseHours(args)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	c, err := g.Compactor(ctx, flags, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	y, err := c.WhyNotYet(ctx, c.Dirty, c.Group, hours[0])
	if err != nil {
		return err
	}
	if y.State == compact.Unmarked {
		if err := haveSomething(ctx, c, hours); err != nil {
			return err
		}
	}
	if asJSON {
		return encode(cmd.OutOrStdout(), newWhyJSON(y))
	}
	return writeWhy(cmd.OutOrStdout(), y)
}

// writeWhy prints the answer, then what it rests on.
func writeWhy(w io.Writer, y compact.Why) error {
	fmt.Fprintf(w, "%s: %s\n", y.Hour, answer(y))
	t := app.NewTable(w)
	if y.First > 0 {
		t.Row("marked", stamp(y.First.Time())+" first, "+stamp(y.Last.Time())+" last")
	}
	if y.Rows > 0 {
		t.Row("waiting", waiting(y))
	}
	if p := y.Partition; p.Generation > 0 {
		t.Row("partition", fmt.Sprintf("%d rows, %s, generation %d, published %s", p.Rows, app.Human(p.Bytes), p.Generation, stamp(p.Published.Time())))
	}
	for _, m := range y.Terms {
		mark := ""
		if m.Decides {
			mark = "decides: "
		}
		t.Row(m.Name, stamp(m.At), mark+says(y, m))
	}
	if line := sooner(y); line != "" {
		t.Row("sooner", line)
	}
	return t.Flush()
}

// answer is the decision in one sentence.
func answer(y compact.Why) string {
	until := fmt.Sprintf("waits until %s (in %s%s)", stamp(y.Until), length(y.Until.Sub(y.At)), longest(y))
	switch y.State {
	case compact.Settled:
		return "nothing waits; " + published(y)
	case compact.Unmarked:
		return "has raw rows, but neither a partition nor a mark: 'compactor sweep' marks it if its mark was lost"
	case compact.Stuck:
		return fmt.Sprintf("is stuck since %s: %s; remedy: %s", stamp(y.Stuck.Since.Time()), y.Stuck.Reason, app.Remedy(y.Hour))
	case compact.Requested:
		if y.Until.IsZero() {
			return asked(y) + ", but no mark of it waits: if the command was stopped, run it again"
		}
		return until + ": " + asked(y) + ", which does not ask what the partition weighs"
	case compact.Running:
		return fmt.Sprintf("%s: it is rewritten when it is over, after a grace of %s", until, length(y.Policy.Grace))
	case compact.Quiet:
		return fmt.Sprintf("%s: more may come, and %s is to be quiet", until, length(y.Quiet))
	case compact.Light:
		return fmt.Sprintf("%s: %s, not yet worth rewriting %s", until, waiting(y), app.Human(y.Partition.Bytes))
	case compact.Empty:
		return "nothing waits but a mark, every row is in the partition; " + published(y)
	}
	return fmt.Sprintf("is due since %s: a daemon is rewriting it, or has it among the next; without one, 'compactor once' does", stamp(y.Until))
}

func published(y compact.Why) string {
	p := y.Partition
	return fmt.Sprintf("last published %s as generation %d with %d rows", stamp(p.Published.Time()), p.Generation, p.Rows)
}

func asked(y compact.Why) string {
	return "a rewrite was asked for at " + stamp(y.Requests[0].Made.Time())
}

// waiting says what waits.
func waiting(y compact.Why) string {
	n := fmt.Sprint(y.Rows)
	if y.More {
		n = "more than " + n
	}
	if y.Rows == 1 {
		return n + " late row, " + app.Human(y.Bytes)
	}
	return n + " late rows, " + app.Human(y.Bytes)
}

// longest says that an hour waits for as long as any may, if it does.
func longest(y compact.Why) string {
	for _, m := range y.Terms {
		if m.Decides && (m.Name == "max-delay" || m.Name == "ttl") {
			return ", the longest delay"
		}
	}
	return ""
}

// says explains a part of the rule.
func says(y compact.Why, m compact.Term) string {
	p := y.Policy
	switch m.Name {
	case "grace":
		if m.At.Before(y.Hour.End().Time()) {
			return "the hour lies more than two days ahead of its first mark, which is not waited for"
		}
		return length(p.Grace) + " after the hour's end"
	case "quiet":
		return fmt.Sprintf("nothing more for %s%s, or %s after the first mark", length(y.Quiet), aged(y), length(min(2*y.Quiet, p.MaxDelay)))
	case "row-worth":
		return fmt.Sprintf("waits of the rows add up to %s (%s / %s, times %s)", length(y.Price), app.Human(y.Partition.Bytes), app.Human(p.RowWorth), length(y.Quiet))
	case "max-delay":
		return length(p.MaxDelay) + " after the first mark, whatever waits"
	}
	return "an eighth of the time that raw rows live after the first mark, whatever waits"
}

// aged says what the quiet has to do with the hour's age.
func aged(y compact.Why) string {
	if y.Quiet == y.Policy.Quiet {
		return ""
	}
	return fmt.Sprintf(" (age %s / %v)", length(y.Last.Time().Sub(y.Hour.End().Time())), y.Policy.AgeShare)
}

// sooner returns the command that rewrites the hour now, if that is of use.
func sooner(y compact.Why) string {
	switch y.State {
	case compact.Requested, compact.Running, compact.Quiet, compact.Light, compact.Due:
		next := afterhours.HourOf(y.Hour.Type, y.Hour.End())
		return fmt.Sprintf("compactor backfill --event-type %s --from %s --to %s", y.Hour.Type, y.Hour.Span(), next.Span())
	}
	return ""
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// length prints a duration for people, in its two largest units.
func length(d time.Duration) string {
	switch {
	case d >= 24*time.Hour:
		return inUnits(d, 24*time.Hour, "d", time.Hour, "h")
	case d >= time.Hour:
		return inUnits(d, time.Hour, "h", time.Minute, "min")
	case d >= time.Minute:
		return inUnits(d, time.Minute, "min", time.Second, "s")
	}
	return d.Round(time.Millisecond).String()
}

func inUnits(d, unit time.Duration, name string, part time.Duration, partName string) string {
	d = d.Round(part)
	text := fmt.Sprintf("%d %s", d/unit, name)
	if rest := d % unit / part; rest > 0 {
		text += fmt.Sprintf(" %d %s", rest, partName)
	}
	return text
}

// The JSON form; fields may be added, never renamed.
type (
	whyJSON struct {
		Hour      string           `json:"hour"`
		State     compact.State    `json:"state"`
		Answer    string           `json:"answer"`
		At        time.Time        `json:"at"`
		Until     *time.Time       `json:"until"`
		First     *time.Time       `json:"marked_first"`
		Last      *time.Time       `json:"marked_last"`
		Rows      int64            `json:"rows_waiting"`
		More      bool             `json:"rows_waiting_more"`
		Bytes     int64            `json:"bytes_waiting"`
		Partition *whyPublished    `json:"partition"`
		Terms     []termJSON       `json:"terms"`
		Stuck     []app.StuckJSON  `json:"stuck"`
		Requests  []whyRequestJSON `json:"requests"`
		Sooner    string           `json:"sooner,omitempty"`
	}
	whyPublished struct {
		Generation int64     `json:"generation"`
		Rows       int64     `json:"rows"`
		Bytes      int64     `json:"bytes"`
		Published  time.Time `json:"published"`
	}
	termJSON struct {
		Name    string    `json:"term"`
		At      time.Time `json:"at"`
		Decides bool      `json:"decides"`
		Says    string    `json:"says"`
	}
	whyRequestJSON struct {
		ID      string    `json:"id"`
		Made    time.Time `json:"made"`
		Rebuild bool      `json:"rebuild"`
	}
)

func newWhyJSON(y compact.Why) whyJSON {
	out := whyJSON{
		Hour: y.Hour.String(), State: y.State, Answer: answer(y), At: y.At.UTC(), Rows: y.Rows, More: y.More, Bytes: y.Bytes,
		Terms: []termJSON{}, Stuck: []app.StuckJSON{}, Requests: []whyRequestJSON{}, Sooner: sooner(y),
	}
	if y.First > 0 {
		until, first, last := y.Until.UTC(), y.First.Time(), y.Last.Time()
		out.Until, out.First, out.Last = &until, &first, &last
	}
	if p := y.Partition; p.Generation > 0 {
		out.Partition = &whyPublished{p.Generation, p.Rows, p.Bytes, p.Published.Time()}
	}
	for _, m := range y.Terms {
		out.Terms = append(out.Terms, termJSON{m.Name, m.At.UTC(), m.Decides, says(y, m)})
	}
	if y.Stuck != nil {
		out.Stuck = app.NewStuckJSON([]store.Stuck{*y.Stuck})
	}
	for _, r := range y.Requests {
		out.Requests = append(out.Requests, whyRequestJSON{r.ID, r.Made.Time(), r.Rebuild})
	}
	return out
}
