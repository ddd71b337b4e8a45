package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/internal/testenv"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
	"github.com/afterhours/afterhours/store/pebble"
)

//go:embed peers.py
var peersProgram string

//go:embed peers.txt
var peersList []byte

// merges measures what late events cost that come into a partition which is there,
// on the embedded store and in a directory. Beside it stand its floor, a synced copy
// of the partition, and what others take for the same: see peers.py.
type merges struct {
	dir    string
	runs   int
	python string
	took   map[string][]figure
	order  []string
}

// mergeWorks are how many late events come into a partition of how many.
func mergeWorks(events, big int) [][2]int {
	return [][2]int{{1, events}, {10, events}, {1000, events}, {10, big}}
}

func benchMerges(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("merge", flag.ExitOnError)
	m := merges{took: map[string][]figure{}}
	events := f.Int("events", 1_000_000, "events of the partition")
	big := f.Int("big", 10_000_000, "events of the large partition; 0: none")
	f.IntVar(&m.runs, "runs", 5, "runs of everything; the median counts")
	f.StringVar(&m.dir, "dir", "", "where files are made (default: a temporary directory)")
	peers := f.Bool("peers", true, "measure DuckDB and Polars as well")
	out := f.String("json", "", "also write the figures to this `FILE`")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 { // a child
		return mergeChild(ctx, f.Args())
	}
	if m.dir == "" {
		dir, err := os.MkdirTemp("", "afterhours-bench")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		m.dir = dir
	}
	if *peers {
		var err error
		if m.python, err = testenv.PythonWith(peersList); err != nil {
			return err
		}
	}
	for _, w := range mergeWorks(*events, *big) {
		if w[1] == 0 {
			continue
		}
		if err := m.measure(w[0], w[1]); err != nil {
			return err
		}
	}
	return m.print(*out)
}

// measure measures one work. Everything that writes does so from the same base.
func (m *merges) measure(late, events int) error {
	base := filepath.Join(m.dir, fmt.Sprint("base-", events))
	if _, err := os.Stat(base); err != nil {
		fmt.Fprintf(os.Stderr, "make a partition of %d events\n", events)
		if err := prepare("base", base, 0, events); err != nil {
			return err
		}
	}
	object := partitionFile(base)
	lines := filepath.Join(m.dir, "late.ndjson")
	if err := writeLate(lines, late, events); err != nil {
		return err
	}
	what := fmt.Sprintf("%d into %d", late, events)
	for range m.runs {
		run, err := os.MkdirTemp(m.dir, "run")
		if err != nil {
			return err
		}
		took, err := timeCopy(object, filepath.Join(run, "copy"))
		if err != nil {
			return err
		}
		m.add(what+": synced copy", figure{seconds: took.Seconds()})
		if err := m.afterhours(what, run, object, late, events); err != nil {
			return err
		}
		if m.python != "" {
			for _, peer := range []string{"duckdb", "polars"} {
				if events > 1_000_000 {
					continue // their figure is not asked for, and they would take the machine's memory
				}
				f, rows, err := child(m.python, "-c", peersProgram, peer, object, lines, filepath.Join(run, "out.parquet"))
				if err != nil {
					return fmt.Errorf("%s: %w", peer, err)
				}
				if rows != wantRows(late, events) {
					return fmt.Errorf("%s: %d rows, want %d", peer, rows, wantRows(late, events))
				}
				m.add(what+": "+peer, f)
			}
		}
		if err := os.RemoveAll(run); err != nil {
			return err
		}
	}
	return nil
}

// afterhours measures this project's merge, in a process of its own.
func (m *merges) afterhours(what, run, object string, late, events int) error {
	copied := partitionFile(filepath.Join(run, "lake"))
	if err := os.MkdirAll(filepath.Dir(copied), 0o755); err != nil {
		return err
	}
	if _, err := timeCopy(object, copied); err != nil {
		return err
	}
	if err := prepare("late", filepath.Join(run, "store"), late, events); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	f, rows, err := child(self, "merge", "rewrite", run)
	if err != nil {
		return err
	}
	if rows != wantRows(late, events) {
		return fmt.Errorf("%d rows, want %d", rows, wantRows(late, events))
	}
	m.add(what+": afterhours", f)
	return nil
}

func (m *merges) add(what string, f figure) {
	if m.took[what] == nil {
		m.order = append(m.order, what)
	}
	m.took[what] = append(m.took[what], f)
	fmt.Fprintf(os.Stderr, "%s: %.3f s, %d MiB\n", what, f.seconds, f.rss>>20)
}

// child runs a program that prints seconds and rows.
func child(program string, args ...string) (figure, int, error) {
	cmd := exec.Command(program, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return figure{}, 0, err
	}
	seconds, rows, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	s, err := strconv.ParseFloat(seconds, 64)
	n, err2 := strconv.Atoi(rows)
	return figure{s, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10}, n, errors.Join(err, err2)
}

// prepare has something made by a process of its own. One that has been large
// itself would pass its peak memory on to those that it measures.
func prepare(what, dir string, late, events int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "merge", what, dir, strconv.Itoa(late), strconv.Itoa(events))
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

// mergeChild is what a process does that another has started.
func mergeChild(ctx context.Context, args []string) error {
	if args[0] == "rewrite" {
		return timeRewrite(ctx, args[1])
	}
	late, err := strconv.Atoi(args[2])
	events, err2 := strconv.Atoi(args[3])
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	if args[0] == "late" {
		return putLate(ctx, args[1], late, events)
	}
	return makeBase(ctx, args[1], events)
}

// timeRewrite brings the hour's partition up to date and prints how long it took.
func timeRewrite(ctx context.Context, run string) error {
	s, err := pebble.Open(filepath.Join(run, "store"), pebble.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	l, err := lake.Open(ctx, "file://"+filepath.Join(run, "lake"), lake.Options{Logger: quiet})
	if err != nil {
		return err
	}
	defer l.Close()
	cfg := compact.Defaults()
	cfg.Workers, cfg.Logger = 1, quiet
	c, err := compact.New(s, l, cfg)
	if err != nil {
		return err
	}
	out := c.Rewrite(ctx, benchHour())
	if out.Err == nil {
		fmt.Println(out.Elapsed.Seconds(), out.Rows)
	}
	return out.Err
}

func benchHour() afterhours.Hour { return afterhours.HourOf("bench", afterhours.MicrosOf(hour)) }

func partitionFile(lake string) string {
	return filepath.Join(lake, "event_type=bench", hour.Format("dt=2006-01-02"), hour.Format("hour=15"), "events.parquet")
}

// wantRows is how many rows there are in the end: a tenth of the late events are
// copies.
func wantRows(late, events int) int { return events + late - late/10 }

// mergeEvent is the n-th event of a partition: JSON of about 300 bytes as a shop's
// app sends it.
func mergeEvent(n int) afterhours.Event {
	r := rand.New(rand.NewPCG(uint64(n), 7))
	at := afterhours.MicrosOf(hour) + afterhours.Micros(r.Int64N(3600e6))
	id := fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64())
	payload := fmt.Appendf(nil, `{"event_id":"%s","event_type":"bench","event_time":"%s","user_id":"user-%06d","session":"%08x","page":"/item/%07d","price":%d.%02d,`+
		`"app":"%d.%d.%d","os":"%s","device":"%s","country":"%s","lat":%.5f,"lon":%.5f,"referrer":"%s"}`,
		id, at, r.IntN(200_000), r.Uint32(), r.IntN(5_000_000), r.IntN(900), r.IntN(100), 5+r.IntN(3), r.IntN(20), r.IntN(10),
		pickOf(r, "iOS 26.1", "iOS 25.4", "Android 16", "Android 15", "Android 14"), pickOf(r, "iPhone17,1", "iPhone16,2", "SM-S931B", "Pixel 10", "SM-A556B", "2312DRA50G"),
		pickOf(r, "ES", "US", "TR", "NO", "CA", "BR"), r.Float64()*180-90, r.Float64()*360-180, pickOf(r, "search", "home", "chat", "push", "similar-items", "saved-search"))
	return afterhours.NewEvent(id, "bench", at.Time(), at.Time().Add(time.Second), payload)
}

func pickOf(r *rand.Rand, s ...string) string { return s[r.IntN(len(s))] }

// lateEvent is the n-th of the late events of a partition: a copy of an event that is
// there, or another one.
func lateEvent(n, late, events int) afterhours.Event {
	e := mergeEvent(n * 31 % events)
	if n >= late/10 {
		e = mergeEvent(events + n)
	}
	e.Received = afterhours.MicrosOf(hour.Add(72 * time.Hour))
	return e
}

var benchColumns = []afterhours.Column{{Name: "user_id", Field: "user_id", Type: afterhours.String}}

func makeBase(ctx context.Context, dir string, events int) error {
	l, err := lake.Open(ctx, "file://"+dir, lake.Options{Logger: quiet})
	if err != nil {
		return err
	}
	defer l.Close()
	b, err := l.Base(ctx, benchHour())
	if err != nil {
		return err
	}
	defer b.Close()
	r, err := l.Rewrite(b, lake.RewriteOptions{Columns: benchColumns})
	if err != nil {
		return err
	}
	defer r.Close()
	for n := range events {
		e := mergeEvent(n)
		if err := r.Add(afterhours.RowID{Seq: uint32(n)}, afterhours.Origin{Day: afterhours.DayOf(e.Received)}, e); err != nil {
			return err
		}
	}
	_, err = r.Publish(ctx)
	return err
}

// putLate writes the late events to a store as ingest does: of one lane, closed.
func putLate(ctx context.Context, dir string, late, events int) error {
	s, err := pebble.Open(dir, pebble.Options{})
	if err != nil {
		return err
	}
	lane := store.OwnLane(afterhours.NewSegment())
	segment, _ := lane.Own()
	rows := make([]store.Row, late)
	for n := range rows {
		rows[n] = store.Row{ID: afterhours.RowID{Segment: segment, Seq: uint32(n)}, Event: lateEvent(n, late, events)}
	}
	lane.Closed, lane.Rows = true, int64(late)
	return errors.Join(
		s.DeclareColumns(ctx, "bench", benchColumns), s.PutLane(ctx, benchHour(), lane),
		s.Append(ctx, benchHour(), lane.Name, afterhours.MicrosOf(time.Now()), rows), s.Close())
}

// writeLate writes the late events for the others, one JSON object a line.
func writeLate(path string, late, events int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(f)
	for n := range late {
		e := lateEvent(n, late, events)
		line := map[string]any{"event_id": e.ID, "event_time": int64(e.Time), "received_at": int64(e.Received), "payload": string(e.Payload)}
		if err := enc.Encode(line); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

// timeCopy copies a file and has it written to the disk.
func timeCopy(from, to string) (time.Duration, error) {
	start := time.Now()
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return time.Since(start), errors.Join(err, out.Close())
}

// print prints the medians, each beside that of DuckDB on the same data.
func (m *merges) print(file string) error {
	type line struct {
		Work    string  `json:"work"`
		Seconds float64 `json:"seconds"`
		DuckDB  float64 `json:"of_duckdb,omitempty"`
		RSS     int64   `json:"peak_rss_bytes,omitempty"`
	}
	var lines []line
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "work\tseconds\tx DuckDB\tpeak RSS\t")
	for _, w := range m.order {
		f := median(m.took[w])
		what, _, _ := strings.Cut(w, ":")
		l := line{Work: w, Seconds: f.seconds, RSS: f.rss}
		ratio := ""
		if d := m.took[what+": duckdb"]; d != nil {
			l.DuckDB = f.seconds / median(d).seconds
			ratio = fmt.Sprintf("%.3f", l.DuckDB)
		}
		lines = append(lines, l)
		fmt.Fprintf(t, "%s\t%.3f\t%s\t%d MiB\t\n", w, f.seconds, ratio, f.rss>>20)
	}
	if err := t.Flush(); err != nil || file == "" {
		return err
	}
	b, err := json.MarshalIndent(lines, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}
