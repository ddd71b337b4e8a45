// Command bench measures, each figure beside its floor: the same work done bare, in
// the same run.
//
//	bench ingest    acknowledged writes, beside raw batches of the same rows
//	bench compact   what a compactor does, beside floors, DuckDB and Polars: see below
//	bench lanes     what months of late events do to the index
//	bench sweep     what a sweep over complete hours costs
//
// # Works
//
// "bench compact" has three kinds of work, of which -only chooses:
//
//	rebuild  an hour of a million events from Cassandra, beside the bare paged read of
//	         the same rows, and of one and of ten million from the embedded store,
//	         beside the publishing of events that are in memory
//	merge    1, 10 and 1,000 late events, a tenth of them copies, into a partition of a
//	         million and 10 into one of ten million, beside a synced copy of the
//	         partition and the same merge by DuckDB and by Polars
//	hours    50,000 hours of 5 events from the embedded store and queue into a directory,
//	         beside the same files written bare; the same hours with nothing new; and
//	         5,000 hours to the S3 gateway, beside bare puts of the same objects
//
// Works run in rounds, each of them once in every round and in a process of its own,
// so that what else the machine does falls on a work and on its floor alike, and that
// the peak resident memory of each can be told. The median of the rounds counts, of
// memory the largest. What is prepared (events written to the stores, partitions that
// are merged into) is made once, and is no part of a figure. The table says what each
// work is to reach and whether it does, if the sizes are the standard ones.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("want one of ingest, compact, lanes, sweep")
	}
	switch args[0] {
	case "ingest", "compact":
		return benchSuite(ctx, args[0], args[1:])
	case "lanes":
		return lanes(ctx, args[1:])
	case "sweep":
		return sweep(ctx, args[1:])
	case "child": // started by another
		return runTask(ctx, args[1])
	}
	return fmt.Errorf("%q: want one of ingest, compact, lanes, sweep", args[0])
}

// count says a number in few characters.
func count(n int) string {
	switch {
	case n >= 1_000_000 && n%1_000_000 == 0:
		return fmt.Sprintf("%d M", n/1_000_000)
	case n >= 1_000 && n%1_000 == 0:
		return fmt.Sprintf("%d k", n/1_000)
	}
	return fmt.Sprint(n)
}
