package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/afterhours/afterhours/internal/testenv/servers"
)

// sizes of the works.
type sizes struct {
	Events  int `json:"events"`   // of an hour
	Big     int `json:"big"`      // of a large hour
	Hours   int `json:"hours"`    // small ones, in a directory
	S3Hours int `json:"s3_hours"` // small ones, on the gateway
	Workers int `json:"workers"`  // on small hours
}

// suite runs works in interleaved rounds, so that what changes on the machine
// meanwhile changes a work and its floor alike.
type suite struct {
	sizes
	runs                 int
	dir                  string              // for everything that is gone afterwards
	cassandra, kafka, s3 string              // HOST:PORT
	peers                bool                // measure DuckDB and Polars as well
	python               string              // that has these
	profile              string              // directory; none are written if empty
	unusual              []string            // what is not as the goals are given for
	round                int                 // the present one, from 1
	figures              map[string][]figure // by work
}

// group is works that need the same preparation.
type group struct {
	name    string
	needs   map[string]string           // addresses of servers, by name
	prepare func(context.Context) error // once, before all rounds; nil: nothing is to be done
	works   []work
	keeps   bool                        // what a round leaves stays until all have ended
	end     func(context.Context) error // once, also after an error; nil: nothing is to be done
}

// work is one line of the table.
type work struct {
	id   string // stable
	name string
	rate bool // told in units per second rather than in seconds
	goal goal

	// do does the work once. dir is empty when the first work of the group begins,
	// and gone after the last, unless the group keeps it: later works find what earlier
	// ones left there.
	do func(ctx context.Context, dir string) (figure, error)
}

// goal is what a work is to reach. Zero fields ask for nothing.
type goal struct {
	against   string  // the work it is compared with
	times     float64 // at most so many times its seconds, or at least so many times its rate
	perSecond float64 // at least so many units
	rss       int64   // at most so many bytes
}

// benchSuite parses the arguments of a command that runs groups of works.
func benchSuite(ctx context.Context, command string, args []string) error {
	s := suite{figures: map[string][]figure{}}
	f := flag.NewFlagSet(command, flag.ExitOnError)
	f.IntVar(&s.Events, "events", 1_000_000, "events of an hour")
	f.IntVar(&s.Big, "big", 10_000_000, "events of a large hour")
	f.IntVar(&s.Hours, "hours", 50_000, "small hours")
	f.IntVar(&s.S3Hours, "s3-hours", 5_000, "small hours on the S3 gateway")
	f.IntVar(&s.Workers, "workers", 16, "hours rewritten at once when they are small; 16 is the compactor's own default")
	f.IntVar(&s.runs, "runs", 5, "rounds; the median counts")
	f.StringVar(&s.dir, "dir", "", "where files are made and removed again (default: the system's temporary directory)")
	f.StringVar(&s.cassandra, "cassandra", os.Getenv(servers.Variable(servers.Cassandra)), "`HOST:PORT`")
	f.StringVar(&s.kafka, "kafka", os.Getenv(servers.Variable(servers.Kafka)), "`HOST:PORT`")
	f.StringVar(&s.s3, "s3", os.Getenv(servers.Variable(servers.S3)), "`HOST:PORT` of the gateway")
	f.StringVar(&s.profile, "profile", "", "write CPU and heap profiles of each of our own processes to this `DIR`")
	out := f.String("json", "", "also write the figures to this `FILE`")
	f.BoolVar(&s.peers, "peers", true, "measure DuckDB and Polars as well")
	groups := map[string][]string{"ingest": {"ingest"}, "compact": {"rebuild", "merge", "hours"}}[command]
	only := f.String("only", strings.Join(groups, ","), "works to run, separated by commas")
	if err := f.Parse(args); err != nil {
		return err
	}
	for _, size := range []string{"events", "big", "hours", "s3-hours", "workers", "runs"} {
		if v := f.Lookup(size); v.Value.String() != v.DefValue {
			s.unusual = append(s.unusual, fmt.Sprintf("-%s %s instead of %s", size, v.Value, v.DefValue))
		}
	}
	if err := s.makeDirs(); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	chosen, err := s.choose(groups, strings.Split(*only, ","))
	if err != nil {
		return err
	}
	if err := s.run(ctx, chosen); err != nil {
		return err
	}
	return s.report(chosen, *out)
}

// makeDirs makes the directories, and a temporary one of the one for files.
func (s *suite) makeDirs() error {
	if s.profile != "" {
		if err := os.MkdirAll(s.profile, 0o777); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp(s.dir, "afterhours-bench-")
	if err != nil {
		return err
	}
	s.dir, err = filepath.Abs(dir) // as URLs want it
	return err
}

// choose returns the groups with these names.
func (s *suite) choose(have, names []string) ([]group, error) {
	all := map[string]func() group{"ingest": s.ingests, "rebuild": s.rebuilds, "merge": s.merges, "hours": s.smallHours}
	var chosen []group
	for _, name := range names {
		if !slices.Contains(have, name) {
			return nil, fmt.Errorf("-only %q: have %s", name, strings.Join(have, ", "))
		}
		g := all[name]()
		for server, addr := range g.needs {
			if addr == "" {
				return nil, fmt.Errorf("no %s for %s: run it by make, which starts one, name one by -%s, or leave %s out by -only", server, name, server, name)
			}
		}
		chosen = append(chosen, g)
	}
	return chosen, nil
}

// run prepares the groups and runs all rounds.
func (s *suite) run(ctx context.Context, groups []group) (err error) {
	for _, g := range groups {
		if g.end != nil {
			defer func() { err = errors.Join(err, g.end(ctx)) }()
		}
		if g.prepare == nil {
			continue
		}
		s.progress("prepare %s", g.name)
		if err := g.prepare(ctx); err != nil {
			return fmt.Errorf("prepare %s: %w", g.name, err)
		}
	}
	for s.round = 1; s.round <= s.runs; s.round++ {
		for _, g := range groups {
			if err := s.once(ctx, g); err != nil {
				return err
			}
		}
	}
	return nil
}

// once does the works of a group once.
func (s *suite) once(ctx context.Context, g group) error {
	dir, err := os.MkdirTemp(s.dir, "round-")
	if err != nil {
		return err
	}
	for _, w := range g.works {
		syscall.Sync() // what others wrote is not to be waited for here
		f, err := w.do(ctx, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		s.progress("round %d: %s: %.3f s, %d MiB", s.round, w.name, f.Seconds, f.rss>>20)
		s.figures[w.id] = append(s.figures[w.id], f)
	}
	if g.keeps {
		return nil
	}
	return os.RemoveAll(dir)
}

func (s *suite) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}

// measure has a process of its own do a work's task, and wants so many units done.
func (s *suite) measure(ctx context.Context, id string, t task, units int) (figure, error) {
	if s.profile != "" {
		t.Profile = filepath.Join(s.profile, fmt.Sprintf("%s-%d", id, s.round))
	}
	f, err := t.start(ctx)
	return f, errors.Join(err, done(f, units))
}

// done is an error if something else was done than was asked for.
func done(f figure, units int) error {
	if f.Units != int64(units) {
		return fmt.Errorf("%d rows, hours or files, want %d", f.Units, units)
	}
	return nil
}

func fileURL(dir string) string   { return "file://" + filepath.ToSlash(dir) }
func pebbleURL(dir string) string { return "pebble://" + filepath.ToSlash(dir) }

// copyFile copies a file and has it written to the disk.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}
