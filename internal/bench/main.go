// Command bench measures the straight path on real servers, each figure beside
// its floor: the same work done bare, in the same run.
//
//	acknowledged writes   against raw same-partition batches of the same rows
//	rebuilding an hour    against the bare paged read of the same rows
//	merging late events   against that rebuild
//
// and, as "bench lanes", "bench sweep" and "bench merge", what months of late events,
// a sweep over complete hours and late events for a large partition cost.
//
// Every piece of the first runs in a process of its own, so that its peak resident
// memory can be told. It prints the median of several runs.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// bench is one invocation.
type bench struct {
	events, late int
	cassandra    string // host:port
	kafka        string
	hours        int    // to sweep
	lake         string // to sweep
	dir          string // of the lakes
	run          string // unique part of the names of this run
}

// figure is what one piece of work took.
type figure struct {
	seconds float64
	rss     int64 // bytes
}

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run does what the first argument says: lanes, merge, sweep, or else the straight
// path.
func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "lanes" {
		return lanes(ctx, args[1:])
	}
	if len(args) > 0 && args[0] == "merge" {
		return benchMerges(ctx, args[1:])
	}
	if len(args) > 0 && args[0] == "hours" {
		return benchHours(ctx, args[1:])
	}
	var b bench
	var runs int
	var work string
	flag.IntVar(&b.events, "events", 1_000_000, "events of the hour")
	flag.IntVar(&b.late, "late", 1000, "late events merged into it")
	flag.IntVar(&runs, "runs", 3, "runs of everything; the median counts")
	flag.StringVar(&b.cassandra, "cassandra", os.Getenv("AFTERHOURS_TEST_CASSANDRA"), "`HOST:PORT`")
	flag.StringVar(&b.kafka, "kafka", os.Getenv("AFTERHOURS_TEST_KAFKA"), "`HOST:PORT`")
	flag.StringVar(&b.dir, "dir", "", "where the lakes are made (default: a temporary directory)")
	flag.StringVar(&b.run, "run", "", "set by the parent process")
	flag.StringVar(&work, "work", "", "set by the parent process")
	flag.IntVar(&b.hours, "hours", 100_000, "complete hours to sweep")
	flag.StringVar(&b.lake, "lake", "", "`URL` of the lake to sweep (default: a temporary directory)")
	if len(args) > 0 && args[0] == "sweep" {
		work, args = args[0], args[1:]
	}
	if err := flag.CommandLine.Parse(args); err != nil {
		return err
	}
	return b.main(ctx, work, runs)
}

func (b bench) main(ctx context.Context, work string, runs int) error {
	if b.cassandra == "" || b.kafka == "" && work != "sweep" {
		return fmt.Errorf("no servers: run it by `make bench`")
	}
	if work != "" && work != "sweep" {
		return b.child(ctx, work)
	}
	if b.dir == "" {
		dir, err := os.MkdirTemp("", "afterhours-bench")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		b.dir = dir
	}
	if work == "sweep" {
		return b.sweep(ctx)
	}
	figures := map[string][]figure{}
	for n := range runs {
		if err := b.once(n, figures); err != nil {
			return err
		}
	}
	return b.print(figures)
}

// works are the pieces of work, in order; a later one uses what an earlier left.
var works = []string{"raw batches", "ingest", "bare read", "rebuild", "merge"}

// once does everything once, on a keyspace of its own.
func (b bench) once(n int, figures map[string][]figure) error {
	b.run = fmt.Sprintf("bench_%d_%d", os.Getpid(), n)
	if err := b.keyspace("CREATE KEYSPACE " + b.run + " WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"); err != nil {
		return err
	}
	for _, w := range works {
		f, err := b.measure(w)
		if err != nil {
			return fmt.Errorf("%s: %w", w, err)
		}
		fmt.Fprintf(os.Stderr, "run %d: %s: %.2f s, %d MiB\n", n+1, w, f.seconds, f.rss>>20)
		figures[w] = append(figures[w], f)
	}
	return b.keyspace("DROP KEYSPACE " + b.run)
}

func (b bench) keyspace(statement string) error {
	cluster := gocql.NewCluster(b.cassandra)
	cluster.Timeout = time.Minute
	s, err := cluster.CreateSession()
	if err != nil {
		return fmt.Errorf("connect to Cassandra at %s: %w", b.cassandra, err)
	}
	defer s.Close()
	return s.Query(statement).Exec()
}

// measure runs one piece of work in a process of its own, which prints the
// seconds it took without its start-up.
func (b bench) measure(work string) (figure, error) {
	self, err := os.Executable()
	if err != nil {
		return figure{}, err
	}
	cmd := exec.Command(self, "-work", work, "-run", b.run, "-dir", b.dir, "-cassandra", b.cassandra, "-kafka", b.kafka,
		"-events", strconv.Itoa(b.events), "-late", strconv.Itoa(b.late))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return figure{}, err
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err != nil {
		return figure{}, err
	}
	return figure{seconds, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10}, nil
}

// print prints the medians, and each beside its floor.
func (b bench) print(figures map[string][]figure) error {
	floors := map[string]string{"ingest": "raw batches", "rebuild": "bare read", "merge": "rebuild"}
	rows := map[string]int{"merge": b.late}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "work\tevents\tseconds\tevents/s\tof floor\tpeak RSS\t")
	for _, w := range works {
		f := median(figures[w])
		n := b.events
		if r, ok := rows[w]; ok {
			n = r
		}
		ratio := "floor"
		if floor, ok := floors[w]; ok {
			ratio = fmt.Sprintf("%.2f x %s", f.seconds/median(figures[floor]).seconds, floor)
		}
		fmt.Fprintf(t, "%s\t%d\t%.2f\t%.0f\t%s\t%d MiB\t\n", w, n, f.seconds, float64(n)/f.seconds, ratio, f.rss>>20)
	}
	return t.Flush()
}

// median returns the median of the seconds and of the memory.
func median(fs []figure) figure {
	var seconds []float64
	var rss []int64
	for _, f := range fs {
		seconds, rss = append(seconds, f.seconds), append(rss, f.rss)
	}
	slices.Sort(seconds)
	slices.Sort(rss)
	return figure{seconds[len(seconds)/2], rss[len(rss)/2]}
}

func (b bench) lakeURL() string { return "file://" + filepath.ToSlash(filepath.Join(b.dir, b.run)) }
