package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/afterhours/afterhours"
)

// options say how long and how hard a soak is.
type options struct {
	faultsFor time.Duration // how long faults are done; 0: until every one was done once
	every     time.Duration // between two faults
	seed      uint64
	rate      int // records a second
	nodes     int // of Cassandra
	ttl       time.Duration
	fileEvery time.Duration // between two files that are ingested
	skew      bool          // ingests have wrong clocks
	dir       string        // for everything; removed if nothing is wrong
	keep      bool          // the directory in any case
}

// soak is one run.
type soak struct {
	options
	log   *slog.Logger // JSON lines: what was done and what came of it
	begin time.Time
	world *world

	ledger *ledger
	reader *reader
	driver *driver
	topic  *load
	files  *files

	ingests, compactors []*daemon
	third               *daemon // compactor that comes and goes

	mu         sync.Mutex
	violations []string
	fileKills  int
	warm       bool      // everything has worked once
	ending     time.Time // when the faults are to end
}

// Bounds of the parts of a run that have no length of their own.
const (
	startLimit  = 20 * time.Minute // also builds commands, and may download servers
	roundLimit  = 10 * time.Minute // for every fault once
	settleLimit = 10 * time.Minute // for everything that was sent to be acknowledged, or to be merged
)

// run soaks, and reports what came of it. The error says why it could not be done.
func run(ctx context.Context, o options, out io.Writer) (r report, err error) {
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return r, err
	}
	journal, err := os.Create(filepath.Join(o.dir, "journal.jsonl"))
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	s := &soak{options: o, log: slog.New(slog.NewJSONHandler(journal, nil)), begin: time.Now(), ledger: &ledger{}}
	s.log.Info("soak", "seed", o.seed, "options", fmt.Sprintf("%+v", o))
	fmt.Fprintf(out, "seed %d; journal, logs and files in %s\n", o.seed, o.dir)
	defer func() {
		if s.world != nil {
			s.world.close()
		}
	}()
	if err := s.prepare(ctx); err != nil {
		return r, fmt.Errorf("prepare: %w", err)
	}
	fmt.Fprintf(out, "ready after %.0f s\n", time.Since(s.begin).Seconds())
	if err := s.disturb(ctx, out); err != nil {
		return r, err
	}
	fmt.Fprintln(out, "no more faults; waiting until all is acknowledged and merged")
	return s.settle(ctx)
}

// wrong notes a violation.
func (s *soak) wrong(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	s.violations = append(s.violations, text)
	s.log.Error("violation", "what", text)
}

func (s *soak) events(msg string, args ...any) { s.log.Info(msg, args...) }

// prepare builds the commands and starts the servers.
func (s *soak) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for _, d := range []string{s.bin(), s.skewed(), s.dirOf("files"), s.dirOf("commands")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	// To be told now, rather than by a compactor that never starts.
	if out, code, err := command(ctx, s.dirOf("commands"), onSmallDisk(s.dirOf("files"), []string{"true"})); code != 0 || err != nil {
		return fmt.Errorf("give a compactor a small disk, which needs user and mount namespaces: code %d, %v: %s", code, err, out)
	}
	// One after the other: at once, both would take longer than they may.
	if err := build(ctx, s.bin()); err != nil {
		return err
	}
	if s.skew {
		if err := buildSkewed(ctx, s.skewed()); err != nil {
			return err
		}
	}
	var err error
	if s.world, err = startWorld(ctx, s.nodes); err != nil {
		return err
	}
	if err := s.assemble(); err != nil {
		return err
	}
	return s.migrate(ctx)
}

// migrate has the tables and the queue's topic created, undisturbed.
func (s *soak) migrate(ctx context.Context) error {
	return until(ctx, func() error {
		argv := append([]string{filepath.Join(s.bin(), "compactor"), "once"}, s.world.flags(s.ttl)...)
		out, code, err := command(ctx, s.dirOf("commands"), argv, credentials()...)
		if err != nil || code != 0 {
			return fmt.Errorf("create tables: code %d, %v: %s", code, err, out)
		}
		return nil
	})
}

func (s *soak) dirOf(name string) string { return filepath.Join(s.dir, name) }
func (s *soak) bin() string              { return s.dirOf("bin") }
func (s *soak) skewed() string           { return s.dirOf("skewed") }

// daemons are those that always run.
func (s *soak) daemons() []*daemon { return slices.Concat(s.ingests, s.compactors[:2]) }

// faults is everything that is done, and how often.
func (s *soak) faults() []fault {
	var all []fault
	for _, d := range s.ingests {
		all = append(all, ofDaemon(d, 8)...)
	}
	for _, d := range s.compactors[:2] {
		all = append(append(all, ofDaemon(d, 8)...), fullDisk(d))
	}
	now := func(context.Context) error { return nil }
	all = append(all, rebalance(s.third))
	all = append(all, ofServer(s.world.s3, "s3", 5, now)...)
	all = append(all, ofDoor(s.world.s3Door, "s3", "s3", 1, now)...)
	all = append(all, ofServer(s.world.kafka, "kafka", 2, now)...)
	all = append(all, ofDoor(s.world.kafkaDoor, "kafka", "kafka", 1, now)...)
	// Never two nodes at once, nor one before the others see the last one again.
	for i, n := range s.world.nodes {
		all = append(all, ofServer(n, "ring", 1, s.world.ringReady)...)
		all = append(all, ofDoor(s.world.nodeDoors[i], "cassandra", "ring", 1, s.world.ringReady)...)
	}
	return all
}

func (s *soak) isWarm() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.warm
}

func (s *soak) fileKilled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fileKills++
	s.events("fault", "class", classKill, "what", "ingest file")
}

// open reports whether an event of the hour under way will be published well
// before its raw row expires: when the hour is over, or when all is drained.
func (s *soak) open(now time.Time) bool {
	if s.ttl == 0 {
		return true
	}
	wait := now.Truncate(time.Hour).Add(time.Hour).Sub(now)
	if s.faultsFor > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.ending.IsZero() {
			wait = min(wait, s.ending.Sub(now))
		}
	}
	return wait < s.ttl/3
}

// inTime reports whether the lake is well ahead of the expiry of raw rows: that it
// is, is assumed by all that is promised, and no fault may make it behind.
func (s *soak) inTime() bool {
	waiting, since := s.ledger.waiting(over)
	return s.ttl == 0 || waiting == 0 || time.Since(since) < s.ttl/3
}

// over reports whether an hour is: others are not published before a drain.
func over(h afterhours.Hour) bool { return h.End() <= afterhours.MicrosOf(time.Now()) }
