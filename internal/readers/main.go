// Command readers has the readers of a lake read an hour while its object is
// replaced, and prints a table of what each of them does: show one version whole,
// fail, or show what never was.
//
//	go run ./internal/testenv/cmd/testservers --only s3 -- go run ./internal/readers
//
// Four versions of one hour are put in turn, two of them with the very same
// layout. Readers read through a gate that replaces the object in a given gap
// between two requests of one read: in every gap, for every pair of versions.
// Directories have no requests: there, the file is replaced at random moments.
//
// It needs python3, Java 17 and mvn, and once downloads about 2 GB into the user's
// cache. A reader that cannot be had is an error; --readers leaves it out.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/afterhours/afterhours/internal/testenv/servers"
)

//go:embed readers.py
var script []byte

// run is one invocation.
type run struct {
	store    *url.URL // of the S3 gateway
	dir      string   // for everything that is gone afterwards
	script   string
	versions []version
	reads    int
	trace    bool
	match    string // part of the title and the settings of what is tried
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := start(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "readers:", err)
		os.Exit(1)
	}
}

func start(ctx context.Context) error {
	only := flag.String("readers", strings.Join(names(), ","), "readers to try, separated by commas")
	reads := flag.Int("reads", 40, "reads of each that a replacement falls into, at least")
	rows := flag.Int("rows", 160_000, "rows of the hour")
	match := flag.String("match", "", "try only lines of the table whose reader and settings have this `text` in them")
	trace := flag.Bool("trace", false, "print every request of the readers")
	flag.Parse()
	chosen := strings.Split(*only, ",")
	for _, name := range chosen {
		if !slices.Contains(names(), name) {
			return fmt.Errorf("--readers %q: have %s", name, strings.Join(names(), ", "))
		}
	}
	addr := os.Getenv(servers.Variable(servers.S3))
	if addr == "" {
		return fmt.Errorf("%s is not set: run it by `make readers`", servers.Variable(servers.S3))
	}
	dir, err := os.MkdirTemp("", "afterhours-readers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := run{store: &url.URL{Scheme: "http", Host: addr}, dir: dir, script: filepath.Join(dir, "readers.py"), reads: *reads, trace: *trace, match: *match}
	if err := os.WriteFile(r.script, script, 0o666); err != nil {
		return err
	}
	if r.versions, err = makeVersions(ctx, dir, *rows); err != nil {
		return fmt.Errorf("make versions: %w", err)
	}
	return r.all(ctx, chosen)
}

// all tries the chosen readers and prints the table, also if some cannot be had.
func (r run) all(ctx context.Context, chosen []string) error {
	var lines []line
	var errs []error
	for _, s := range subjects {
		if !slices.Contains(chosen, s.program) || !strings.Contains(s.String(), r.match) || ctx.Err() != nil {
			continue
		}
		begin := time.Now()
		score, err := r.try(ctx, s)
		if err != nil {
			err = fmt.Errorf("%s: %w\nleave it out with --readers if it cannot be had", s, err)
			fmt.Fprintln(os.Stderr, "readers:", err)
			errs = append(errs, err)
			continue
		}
		lines = append(lines, line{s, score})
		fmt.Fprintf(os.Stderr, "readers: %s in %.0f s\n", lines[len(lines)-1], time.Since(begin).Seconds())
	}
	fmt.Print(table(lines))
	return errors.Join(append(errs, ctx.Err())...)
}

// try has one reader read.
func (r run) try(ctx context.Context, s subject) (score, error) {
	p, err := install(ctx, s.program)
	if err != nil {
		return score{}, fmt.Errorf("install: %w", err)
	}
	dir, err := os.MkdirTemp(r.dir, s.program+"-")
	if err != nil {
		return score{}, err
	}
	t := &trial{versions: r.versions}
	if s.local {
		return r.tryDirectory(ctx, t, s, p, dir)
	}
	return r.tryBucket(ctx, t, s, p, dir)
}

func (r run) tryDirectory(ctx context.Context, t *trial, s subject, p programs, dir string) (score, error) {
	root := filepath.Join(dir, "lake")
	if err := os.Mkdir(root, 0o777); err != nil {
		return score{}, err
	}
	t.object = fileObject{root}
	if err := t.replace(ctx); err != nil {
		return score{}, err
	}
	return r.read(ctx, t, s, p, dir, place{Path: root, Options: s.options}, func() error { return t.inDirectory(ctx, r.reads) })
}

func (r run) tryBucket(ctx context.Context, t *trial, s subject, p programs, dir string) (score, error) {
	g := &gate{store: r.store, trace: r.trace}
	endpoint, closeGate, err := g.listen()
	if err != nil {
		return score{}, err
	}
	defer closeGate()
	bucket := strings.ToLower(filepath.Base(dir))
	if t.object, err = newBucketObject(ctx, r.store.String(), bucket); err != nil {
		return score{}, err
	}
	if err := t.replace(ctx); err != nil {
		return score{}, err
	}
	at := place{Endpoint: endpoint, Bucket: bucket, Access: servers.S3Access, Secret: servers.S3Secret, Region: servers.S3Region,
		Path: lakePath, Jars: p.jars, Options: maps.Clone(s.options)}
	if s.program == "trino" {
		home, err := os.MkdirTemp(r.dir, "trino-server-")
		if err != nil {
			return score{}, err
		}
		settings := maps.Clone(s.options)
		delete(settings, "how")
		server, stop, err := startTrino(ctx, home, p, at, settings)
		if err != nil {
			return score{}, err
		}
		defer stop()
		at.Options = set{"server": server, "how": s.options["how"]}
	}
	return r.read(ctx, t, s, p, dir, at, func() error { return t.inBucket(ctx, g, r.reads) })
}

// read starts the reader and has it read as body says.
func (r run) read(ctx context.Context, t *trial, s subject, p programs, dir string, at place, body func() error) (score, error) {
	reader, err := startProcess(ctx, dir, r.script, s.program, p.python, at)
	if err != nil {
		return score{}, err
	}
	defer reader.close()
	t.reader = reader
	t.score.version = reader.version
	err = body()
	return t.score, err
}
