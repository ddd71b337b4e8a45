package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// report is what a run leads to. Its JSON has stable names.
type report struct {
	Machine machine  `json:"machine"`
	Sizes   sizes    `json:"sizes"`
	Unusual []string `json:"unusual"` // sizes that the goals are not given for: none is met or missed
	Runs    int      `json:"runs"`
	Peers   []string `json:"peers"` // pinned packages
	Works   []result `json:"works"`
}

type machine struct {
	CPUs int    `json:"cpus"`
	Go   string `json:"go"`
	OS   string `json:"os"`
	Arch string `json:"arch"`
}

// result is a work's line.
type result struct {
	ID     string    `json:"id"`
	Work   string    `json:"work"`
	Unit   string    `json:"unit"` // "s" or "1/s"
	Median float64   `json:"median"`
	Runs   []float64 `json:"runs"`
	RSS    int64     `json:"peak_rss_bytes,omitempty"` // the largest of all runs; 0 if the work has no process of its own
	AllRSS []int64   `json:"rss_runs"`

	Against   string  `json:"against,omitempty"` // ID of the work it is compared with
	Ratio     float64 `json:"ratio,omitempty"`   // of the medians
	Times     float64 `json:"reach_ratio,omitempty"`
	PerSecond float64 `json:"reach_per_second,omitempty"`
	MostRSS   int64   `json:"reach_rss_bytes,omitempty"`
	Met       *bool   `json:"met,omitempty"`
}

// report prints the table and writes the JSON file, if one is asked for.
func (s *suite) report(groups []group, file string) error {
	r := report{
		Machine: machine{runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH},
		Sizes:   s.sizes, Unusual: s.unusual, Runs: s.runs, Peers: strings.Fields(string(peersList)),
	}
	for _, g := range groups {
		for _, w := range g.works {
			r.Works = append(r.Works, w.result(s.figures[w.id]))
		}
	}
	r.compare()
	if err := r.print(os.Stdout); err != nil || file == "" {
		return err
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// result sums a work's runs up.
func (w work) result(runs []figure) result {
	r := result{
		ID: w.id, Work: w.name, Unit: "s",
		Against: w.goal.against, Times: w.goal.times, PerSecond: w.goal.perSecond, MostRSS: w.goal.rss,
	}
	for _, f := range runs {
		value := f.Seconds
		if w.rate {
			r.Unit, value = "1/s", float64(f.Units)/f.Seconds
		}
		r.Runs, r.AllRSS, r.RSS = append(r.Runs, value), append(r.AllRSS, f.rss), max(r.RSS, f.rss)
	}
	r.Median = median(r.Runs)
	return r
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// compare sets each work beside what it is compared with, and beside its goal. One
// whose counterpart was not run is not compared.
func (r *report) compare() {
	for i := range r.Works {
		w := &r.Works[i]
		if f := r.work(w.Against); f != nil {
			w.Ratio = w.Median / f.Median
		}
		asked := w.Times != 0 || w.PerSecond != 0 || w.MostRSS != 0
		if asked && len(r.Unusual) == 0 && (w.Times == 0 || w.Ratio != 0) {
			met := w.met()
			w.Met = &met
		}
	}
}

func (r *report) work(id string) *result {
	i := slices.IndexFunc(r.Works, func(w result) bool { return w.ID == id })
	if i < 0 {
		return nil
	}
	return &r.Works[i]
}

func (w *result) met() bool {
	fast := w.Times == 0 || w.Ratio <= w.Times
	if w.Unit == "1/s" {
		fast = w.Ratio >= w.Times && w.Median >= w.PerSecond
	}
	return fast && (w.MostRSS == 0 || w.RSS <= w.MostRSS)
}

// print prints the table.
func (r *report) print(to io.Writer) error {
	fmt.Fprintf(to, "median of %d rounds on %d CPUs, %s %s/%s\n", r.Runs, r.Machine.CPUs, r.Machine.Go, r.Machine.OS, r.Machine.Arch)
	if len(r.Unusual) > 0 {
		fmt.Fprintf(to, "%s: no goal is met or missed\n", strings.Join(r.Unusual, ", "))
	}
	t := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "work\ttakes\tbeside\tratio\tto reach\tmet\tpeak RSS")
	for i := range r.Works {
		w := &r.Works[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", w.Work, w.takes(), r.beside(w), w.reach(), w.verdict(), mebibytes(w.RSS))
	}
	return t.Flush()
}

func (w *result) takes() string {
	if w.Unit == "1/s" {
		return fmt.Sprintf("%.0f/s", w.Median)
	}
	return fmt.Sprintf("%.3f s", w.Median)
}

// beside returns two cells: what a work is compared with, and the ratio.
func (r *report) beside(w *result) string {
	if w.Ratio == 0 {
		return "\t"
	}
	f := r.work(w.Against)
	return fmt.Sprintf("%s: %s\t%.3f", f.Work, f.takes(), w.Ratio)
}

func (w *result) reach() string {
	var all []string
	switch {
	case w.PerSecond > 0:
		all = append(all, fmt.Sprintf(">= %.0f/s", w.PerSecond))
	case w.Times > 0 && w.Unit == "1/s":
		all = append(all, fmt.Sprintf(">= %.2f x", w.Times))
	case w.Times > 0:
		all = append(all, fmt.Sprintf("<= %.2f x", w.Times))
	}
	if w.MostRSS > 0 {
		all = append(all, "<= "+mebibytes(w.MostRSS))
	}
	return strings.Join(all, ", ")
}

func (w *result) verdict() string {
	switch {
	case w.Met == nil:
		return ""
	case *w.Met:
		return "yes"
	}
	return "NO"
}

func mebibytes(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
