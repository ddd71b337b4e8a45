// Package compact keeps the lake right: it takes marks, decides when an hour is
// worth a rewrite, reads what is new in it, and has the partition replaced.
//
// # One rewrite
//
// The base (bytes and version from one response), then the index, then every
// readable row outside the base's set of merged rows, then merge, verify, and
// one conditional publish. Whoever loses the condition starts again from the
// base. The order matters: an index read before the base could miss a lane that
// the base already knows, see ARCHITECTURE.md.
//
// # Marks
//
// A mark is done only after the rewrite that began after the mark was taken has
// published, or has found nothing new. A mark that arrives while its hour is
// being rewritten waits for another rewrite; it is never skipped.
//
// # Failure
//
// An hour that fails is tried again with growing pauses. An hour whose partition
// must not be touched (another format, not readable) is recorded as stuck, kept
// marked, and tried again slowly. Neither stops the others.
package compact

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
)

// Rows is where raw rows are read. The contract is that of [store.Store].
type Rows interface {
	Lanes(ctx context.Context, h afterhours.Hour) ([]store.Lane, error)
	ReadRows(ctx context.Context, h afterhours.Hour, l store.Lane, have afterhours.RowSet, visit func(store.Row) error) error
	Columns(ctx context.Context, eventType string) ([]afterhours.Column, error)
	Hours(ctx context.Context, visit func(afterhours.Hour) error) error
}

// Requests are the rewrites somebody asked for.
type Requests interface {
	PutRequest(ctx context.Context, r store.Request) error
	Requests(ctx context.Context, h afterhours.Hour) ([]store.Request, error)
	DeleteRequest(ctx context.Context, r store.Request) error
}

// Board is what people are shown; no decision depends on it.
type Board interface {
	PutPartition(ctx context.Context, p store.Partition) error
	Partitions(ctx context.Context, visit func(store.Partition) error) error
	PutStuck(ctx context.Context, s store.Stuck) error
	ClearStuck(ctx context.Context, h afterhours.Hour) error
	StuckHours(ctx context.Context) ([]store.Stuck, error)
}

// Store is what a compactor needs of a store.
type Store interface {
	Rows
	Requests
	Board
}

// Lake is where partitions are read and published. The contract is that of
// [lake.Lake].
type Lake interface {
	Base(ctx context.Context, h afterhours.Hour) (*lake.Base, error)
	Rewrite(b *lake.Base, o lake.RewriteOptions) (*lake.Rewrite, error)
	Hours(ctx context.Context, visit func(lake.Object) error) error
}

// Config says how a compactor works. Its zero value is not useful; start from
// [Defaults].
type Config struct {
	Policy        Policy
	Workers       int           // hours rewritten at once
	Memory        int64         // bytes for the rows of all rewrites together
	Retry         time.Duration // first pause after a failure; doubles up to MaxRetry
	MaxRetry      time.Duration // longest pause after a failure, and the pause of a stuck hour
	ShutdownGrace time.Duration // how long rewrites under way may take to finish
	Logger        *slog.Logger

	// Finished, when set, is told of every rewrite that came to an end. It is
	// called by several goroutines at once.
	Finished func(Outcome)
}

// Defaults returns the configuration of a production compactor.
func Defaults() Config {
	return Config{
		Policy:        Policy{Grace: 2 * time.Minute, Quiet: time.Minute, MaxDelay: 10 * time.Minute},
		Workers:       4,
		Memory:        512 << 20,
		Retry:         time.Second,
		MaxRetry:      10 * time.Minute,
		ShutdownGrace: 30 * time.Second,
		Logger:        slog.Default(),
	}
}

// Validate reports every fault of the configuration, joined.
func (c Config) Validate() error {
	var errs []error
	if c.Workers < 1 {
		errs = append(errs, fmt.Errorf("workers is %d, want at least 1", c.Workers))
	}
	if c.Memory < minMemory*int64(max(c.Workers, 1)) {
		errs = append(errs, fmt.Errorf("memory is %d MiB, want at least %d MiB for each of %d workers",
			c.Memory>>20, int64(minMemory)>>20, c.Workers))
	}
	if c.Policy.Grace < 0 || c.Policy.Quiet < 0 || c.Policy.MaxDelay < 0 {
		errs = append(errs, errors.New("grace, quiet and max-delay cannot be negative"))
	}
	if c.Retry <= 0 || c.MaxRetry < c.Retry {
		errs = append(errs, errors.New("retry pauses must be positive and in order"))
	}
	return errors.Join(errs...)
}

// minMemory is what one rewrite needs to make progress at all.
const minMemory = 16 << 20

// Compactor rewrites hours. Its methods may be called by several goroutines.
type Compactor struct {
	store Store
	lake  Lake
	cfg   Config
}

// New returns a compactor.
func New(s Store, l Lake, cfg Config) (*Compactor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure compactor: %w", err)
	}
	return &Compactor{store: s, lake: l, cfg: cfg}, nil
}

// Outcome is how the rewrite of one hour ended.
type Outcome struct {
	Hour       afterhours.Hour
	Err        error
	Unchanged  bool  // nothing was new, nothing was published
	Before     int64 // rows the partition had
	Rows       int64 // rows it has
	Added      int64 // rows it gained
	Late       int64 // rows it has that came after their hour had ended
	Read       int64 // raw rows that were new
	Duplicates int64 // of these, copies of an event that is in the partition
	Bytes      int64 // size of the object
	Conflicts  int   // times another publisher was faster
	Elapsed    time.Duration
}

// Summary adds outcomes up.
type Summary struct {
	Rewritten  int64 `json:"hours_rewritten"`
	Unchanged  int64 `json:"hours_unchanged"`
	Failed     int64 `json:"hours_failed"`
	Added      int64 `json:"rows_added"`
	Duplicates int64 `json:"duplicates_dropped"`
	Bytes      int64 `json:"bytes_published"`
}

// add counts one hour whose fate is decided.
func (s *Summary) add(o Outcome) {
	switch {
	case o.Err != nil:
		s.Failed++
	case o.Unchanged:
		s.Unchanged++
	default:
		s.Rewritten++
		s.Added += o.Added
		s.Duplicates += o.Duplicates
		s.Bytes += o.Bytes
	}
}
