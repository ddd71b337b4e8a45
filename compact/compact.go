// Package compact keeps the lake right: it takes marks, decides when an hour is
// worth a rewrite, reads what is new in it, and has the partition replaced.
//
// # One rewrite
//
// The base (bytes and version from one response), then the index, then every
// readable row outside the base's set of merged rows, then merge, verify, and
// one conditional publish. Whoever loses the condition starts again from the
// base. The order matters: an index read before the base could miss a lane that
// the base already knows, see ARCHITECTURE.md. An hour that the board does not know is
// first taken to have no partition, which the publish's condition proves.
//
// # When
//
// A [Policy] says when an hour comes due by its marks. Then its late rows are
// weighed against its partition, and it waits on if they are not worth it yet, but
// never longer than the policy's MaxDelay or an eighth of the raw rows' TTL. A
// drain, a first publish, and what somebody asked for are not weighed.
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
	"runtime"
	"runtime/debug"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
)

// Store is where raw rows are read and notes are kept, and where each lake's board
// is. The contract is that of [store.Store].
type Store interface {
	TTL() time.Duration
	Lanes(ctx context.Context, h afterhours.Hour) ([]store.Lane, error)
	ReadRows(ctx context.Context, h afterhours.Hour, l store.Lane, have afterhours.RowSet, visit func(store.Row) error) error
	Columns(ctx context.Context, eventType string) ([]afterhours.Column, error)
	Hours(ctx context.Context, visit func(afterhours.Hour) error) error
	Index(ctx context.Context, visit func(afterhours.Hour, []store.Lane) error) error
	PutNotes(ctx context.Context, h afterhours.Hour, lineage string, notes []store.Note) error
	Notes(ctx context.Context, h afterhours.Hour, lineage string) ([]store.Note, error)
	Board(lake string) store.Board
}

// Lake is where partitions are published. The contract is that of
// [lake.Lake].
type Lake interface {
	URL() string
	Base(ctx context.Context, h afterhours.Hour) (*lake.Base, error)
	FirstBase(h afterhours.Hour) *lake.Base
	Unread(ctx context.Context, h afterhours.Hour) (*lake.Base, error)
	RestoreBase(ctx context.Context, h afterhours.Hour, path string) (*lake.Base, error)
	Rewrite(b *lake.Base, o lake.RewriteOptions) (*lake.Rewrite, error)
	Manifest(ctx context.Context, o lake.Object) (*lake.Manifest, error)
	Hours(ctx context.Context, visit func(lake.Object) error) error
}

// Marker appends marks. The contract is that of dirty.Queue.
type Marker interface {
	Mark(ctx context.Context, hours ...afterhours.Hour) error
}

// Config says how a compactor works. Its zero value is not useful; start from
// [Defaults].
type Config struct {
	Policy        Policy
	Types         map[string]Policy // of event types that have one of their own
	Workers       int               // hours rewritten at once
	Giants        int               // of these, hours beyond GiantBytes; fewer than Workers, so that giants never hold up the rest
	GiantBytes    int64             // of a partition, or of the raw rows that are new, that make an hour a giant
	Memory        int64             // bytes for all rewrites together
	Retry         time.Duration     // first pause after a failure; doubles up to MaxRetry
	MaxRetry      time.Duration     // longest pause after a failure
	StuckRetry    time.Duration     // pause of a stuck hour
	StallAfter    time.Duration     // without any progress although there is work, before health is red
	SweepEvery    time.Duration     // pause between sweeps of [Compactor.Run]; 0: no sweeps
	ShutdownGrace time.Duration     // how long rewrites under way may take to finish
	Logger        *slog.Logger
	Now           func() time.Time // the clock of all decisions

	// Finished, when set, is told of every rewrite that came to an end. It is
	// called by several goroutines at once.
	Finished func(Outcome)
}

// Defaults returns the configuration of a production compactor.
func Defaults() Config {
	return Config{
		Policy:        Policy{Grace: 2 * time.Minute, Quiet: 10 * time.Minute, AgeShare: 8, MaxDelay: 24 * time.Hour, RowWorth: 4 << 20},
		Workers:       16,
		Giants:        1,
		GiantBytes:    64 << 20,
		Memory:        128 << 20,
		Retry:         time.Second,
		MaxRetry:      10 * time.Minute,
		StuckRetry:    time.Hour,
		StallAfter:    15 * time.Minute,
		SweepEvery:    24 * time.Hour,
		ShutdownGrace: 30 * time.Second,
		Logger:        slog.Default(),
		Now:           time.Now,
	}
}

// LimitRuntime sets what suits a process whose work is a compactor with this
// configuration. The Go runtime collects harder instead of growing beyond the budget.
// And it gets twice as many threads as processors: one that syncs a file keeps its
// place among them until the runtime notices, and in a directory, or with the embedded
// store, most of them would.
func (c Config) LimitRuntime() {
	debug.SetMemoryLimit(max(c.Memory, 96<<20))
	runtime.GOMAXPROCS(2 * processors)
}

var processors = runtime.GOMAXPROCS(0)

// Validate reports every fault of the configuration, joined.
func (c Config) Validate() error {
	var errs []error
	if c.Workers < 1 {
		errs = append(errs, fmt.Errorf("workers is %d, want at least 1", c.Workers))
	}
	if c.Giants < 1 || c.GiantBytes < 1 {
		errs = append(errs, fmt.Errorf("giants is %d of %d bytes, want at least 1", c.Giants, c.GiantBytes))
	}
	if c.Memory < minMemory {
		errs = append(errs, fmt.Errorf("memory is %d MiB, want at least %d MiB", c.Memory>>20, minMemory>>20))
	}
	errs = append(errs, c.Policy.Validate())
	for name, p := range c.Types {
		if err := p.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("event type %q: %w", name, err))
		}
	}
	if c.Retry <= 0 || c.MaxRetry < c.Retry || c.StuckRetry <= 0 || c.StallAfter <= 0 || c.SweepEvery < 0 {
		errs = append(errs, errors.New("retry, max-retry, stuck-retry and stall-after must be positive, max-retry no less than retry, and sweep-every not negative"))
	}
	return errors.Join(errs...)
}

// policy returns what holds for an hour.
func (c Config) policy(h afterhours.Hour) Policy {
	if p, own := c.Types[h.Type]; own {
		return p
	}
	return c.Policy
}

// class is a class of workers.
type class int

const (
	anyClass   class = iota // of a command that keeps no classes apart
	smallClass              // refuses giants
	giantClass
)

// Compactor rewrites hours. Its methods may be called by several goroutines.
type Compactor struct {
	store  Store
	board  store.Board // of this lake
	lake   Lake
	cfg    Config
	memory map[class]pool
	health health

	distrusted chan struct{} // holds a token when marks may be gone
}

// New returns a compactor.
func New(s Store, l Lake, cfg Config) (*Compactor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure compactor: %w", err)
	}
	return &Compactor{store: s, board: s.Board(l.URL()), lake: l, cfg: cfg, memory: cfg.pools(), distrusted: make(chan struct{}, 1)}, nil
}

// now returns the instant of the configured clock.
func (c *Compactor) now() afterhours.Micros { return afterhours.MicrosOf(c.cfg.Now()) }

// Outcome is how the rewrite of one hour ended.
type Outcome struct {
	Hour       afterhours.Hour
	Err        error
	Unchanged  bool  // nothing was published: nothing was new, or only copies were
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
	Limited    bool  `json:"limited"`    // a limit ended the work
	Left       int64 `json:"hours_left"` // known to be dirty when the work ended
	Added      int64 `json:"rows_added"`
	Duplicates int64 `json:"duplicates_dropped"`
	Bytes      int64 `json:"bytes_published"`
}

// add counts one hour whose fate is decided.
func (s *Summary) add(o Outcome) {
	switch {
	case o.Err != nil:
		s.Failed++
		return
	case o.Unchanged:
		s.Unchanged++
	default:
		s.Rewritten++
		s.Bytes += o.Bytes
	}
	s.Added += o.Added
	s.Duplicates += o.Duplicates
}
