package main

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/afterhours/afterhours"
)

// report is what came of a run.
type report struct {
	seed       uint64
	duration   time.Duration
	rows       [][2]string
	said       []string // by the commands at the end
	violations []string
}

func (r *report) add(name, format string, args ...any) {
	r.rows = append(r.rows, [2]string{name, fmt.Sprintf(format, args...)})
}

// newReport counts what was done, when all of it is.
func (s *soak) newReport() report {
	r := report{seed: s.seed}
	sent, acked := s.ledger.counts()
	r.add("records sent", "%d", sent)
	r.add("records acknowledged", "%d", acked)
	r.add("events among them", "%d", s.ledger.size())
	kills := maps.Clone(s.driver.count(classKill))
	if kills == nil {
		kills = map[string]int{}
	}
	kills["ingest file"] = s.fileKills
	r.add("process faults", "%d", s.processFaults())
	r.add(classKill, "%s", counted(kills))
	for _, class := range []string{classPause, classNetwork, classDisk, classGroup} {
		r.add(class, "%s", counted(s.driver.count(class)))
	}
	full, lives, ends := 0, map[string]int{}, map[string]int{}
	for _, d := range slices.Concat(s.ingests, s.compactors) {
		full += d.inspect("no space left on device")
		lives[d.kind] += d.lives
		ends[d.kind] += d.ends
	}
	r.add("faults not begun since the lake was late", "%d", s.driver.heldOff)
	r.add("log lines of the full disk", "%d", full)
	r.add("lives of daemons", "%s", counted(lives))
	r.add("ended by themselves, started again", "%s", counted(ends))
	r.add("reader", "%d passes, %d objects, %d rows; %d passes the store did not answer", s.reader.passes.Load(), s.reader.objects.Load(), s.reader.rows.Load(), s.reader.failed.Load())
	r.add("slowest from acknowledged to read", "%.0f s; raw rows live %v", time.Duration(s.reader.slowest.Load()).Seconds(), s.ttl)
	return r
}

var recounted = regexp.MustCompile(`hours: (\d+) rows seen.*; (\d+) raw rows recounted`)

// heard enters what a command said, and what verify's words tell: how many raw rows
// have expired.
func (r *report) heard(said string) {
	r.said = append(r.said, said)
	m := recounted.FindStringSubmatch(said)
	if m == nil {
		return
	}
	seen, _ := strconv.ParseInt(m[1], 10, 64) // digits, as the expression says
	raw, _ := strconv.ParseInt(m[2], 10, 64)
	r.add("raw rows expired by the end", "%d of %d", seen-raw, seen)
}

// lake enters what is in the lake; the last word counts.
func (r *report) lake(lake map[afterhours.Hour]object, out outcome) {
	var publishes, duplicates int64
	for _, o := range lake {
		publishes += o.books.Generation
		duplicates += o.books.Duplicates
	}
	names := []string{"partitions", "publishes", "duplicates dropped", "in the lake", "lost", "doubled"}
	r.rows = slices.DeleteFunc(r.rows, func(row [2]string) bool { return slices.Contains(names, row[0]) })
	for i, n := range []int64{int64(len(lake)), publishes, duplicates, out.inLake, out.lost, out.doubled} {
		r.add(names[i], "%d", n)
	}
}

func counted(n map[string]int) string {
	if len(n) == 0 {
		return "none"
	}
	total, parts := 0, []string(nil)
	for _, name := range slices.Sorted(maps.Keys(n)) {
		total += n[name]
		parts = append(parts, fmt.Sprintf("%s %d", name, n[name]))
	}
	return fmt.Sprintf("%d: %s", total, strings.Join(parts, ", "))
}

// write prints the report.
func (r report) write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "seed\t%d\n", r.seed)
	fmt.Fprintf(t, "duration\t%s\n", r.duration.Round(time.Second))
	for _, row := range r.rows {
		fmt.Fprintf(t, "%s\t%s\n", row[0], row[1])
	}
	fmt.Fprintf(t, "violations\t%d\n", len(r.violations))
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range r.said {
		fmt.Fprintln(w, s)
	}
	for _, v := range r.violations {
		fmt.Fprintln(w, "VIOLATION:", v)
	}
	return nil
}
