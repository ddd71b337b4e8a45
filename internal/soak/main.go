// Command soak runs the real commands on real servers, does faults to all of them,
// and holds what comes of it against a ledger of its own:
//
//	go run ./internal/soak --for 30m --every 4s --seed 1
//
// Two ingests and two compactors work on a ring of three Cassandra nodes, a Kafka
// broker and an S3 gateway. Events come by a topic and by files: late ones, copies,
// copies that differ, and records that are none. Meanwhile every process is killed
// and paused, connections are cut, slowed, refused and left half-open, a
// compactor's disk fills up, compactors come and go, the ingests' clocks are wrong,
// and raw rows expire. An event counts as acknowledged when the source's offset is
// committed beyond it, or when the command that was given its file has ended well.
//
// A reader loops over the lake all the while. It must never see an hour that lacks
// an event it had before, an ID twice, an event of another hour, or an object that
// is not whole or whose books do not balance. At the end, with all at rest, every
// acknowledged event must be in its hour exactly once, and `compactor verify` must
// agree. If anything is wrong, the exit code is 1 and the files are kept.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(soakMain(ctx))
}

// soakMain returns the exit code: 1 for a violation or a run that could not be
// done, 2 for a wrong command line.
func soakMain(ctx context.Context) int {
	o, err := parse(os.Args[1:])
	if err != nil {
		return 2
	}
	clean := false
	defer func() {
		if clean && !o.keep {
			os.RemoveAll(o.dir)
		}
	}()
	r, err := run(ctx, o, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		return 1
	}
	if err := r.write(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		return 1
	}
	if len(r.violations) > 0 {
		return 1
	}
	clean = true
	return 0
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("soak", flag.ContinueOnError)
	f.DurationVar(&o.faultsFor, "for", 30*time.Minute, "how long faults are done; 0: until every one was done once")
	f.DurationVar(&o.every, "every", 4*time.Second, "time between two faults")
	f.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the choice of faults and events")
	f.IntVar(&o.rate, "rate", 200, "records a second")
	f.IntVar(&o.nodes, "nodes", 3, "of Cassandra")
	f.DurationVar(&o.ttl, "ttl", 8*time.Minute, "how long raw rows live; 0: a month")
	f.DurationVar(&o.fileEvery, "files", 20*time.Second, "time between two files that are ingested")
	f.BoolVar(&o.skew, "skew", true, "ingests have clocks that are wrong")
	f.StringVar(&o.dir, "dir", "", "`DIR` for everything (default: a temporary one); removed if nothing is wrong")
	f.BoolVar(&o.keep, "keep", false, "keep the directory in any case")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "afterhours-soak-")
		if err != nil {
			fmt.Fprintln(os.Stderr, "soak:", err)
			return o, err
		}
		o.dir = dir
	}
	return o, nil
}
