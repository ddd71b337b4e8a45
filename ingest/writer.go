package ingest

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// Store is where rows are kept. Every write that returned nil survives a crash.
// A write that returned an error may have happened, or may happen later;
// repeating it with the same arguments is right and makes no second row. Errors
// that wrap [store.ErrRefused] are not cured by repeating, all others may be; the
// Writer repeats, the store need not. Methods are called by many goroutines.
type Store interface {
	// TTL returns how long rows live.
	TTL() time.Duration

	// PutLane writes a lane's index row, or writes it again.
	PutLane(ctx context.Context, h afterhours.Hour, l store.Lane) error

	// Append writes rows to one lane; wrote is the same on every repetition.
	Append(ctx context.Context, h afterhours.Hour, lane string, wrote afterhours.Micros, rows []store.Row) error

	// DeclareType records that an event type exists; Types visits all that do.
	DeclareType(ctx context.Context, eventType string) error
	Types(ctx context.Context, visit func(string) error) error

	// DeclareColumns records columns of an event type, and that the type exists. A
	// column that is declared differently already is an error that wraps
	// [store.ErrColumnConflict].
	DeclareColumns(ctx context.Context, eventType string, cols []afterhours.Column) error
}

// Marks is where hours are marked. When Mark returned nil, whoever rewrites
// hours will see a mark of each hour that was made after Mark was called. After
// an error any of the marks may be there, and to mark again is right.
type Marks interface {
	Mark(ctx context.Context, hours ...afterhours.Hour) error
}

// Options are the bounds of a Writer. The zero value is ready for sources that are
// trusted; with the guards one sender among many cannot harm the rest.
type Options struct {
	// Columns are declared for every event type, before the first of its events
	// is acknowledged. Quarantine events have columns of their own instead.
	Columns []afterhours.Column

	// Guards. What they do not let pass goes to quarantine, and the reason says so.
	// A source is what [Record] calls it: a topic, a file, an object.
	AllowTypes []string // the only event types that are written; empty: all
	NewTypes   int      // types unknown to the store that a source may bring in a UTC day; 0: no limit
	NewHours   int      // hours not written in the last ten minutes that a source may bring in a minute; 0: no limit

	// Now is the clock of everything that is decided or recorded; time.Now. It may
	// run faster than time does: what a batch, a mark or a repetition waits for is
	// real time.
	Now func() time.Time

	InHand        int64         // bytes read and not yet acknowledged; 64 MiB
	Calls         int           // calls of the store at once; 128
	SegmentRows   int64         // rows after which a lane is closed; 50,000
	SegmentBytes  int64         // encoded bytes after which a lane is closed; 32 MiB
	ShutdownGrace time.Duration // to finish what is in hand once Run is told to stop; 30 s
	Log           *slog.Logger  // slog.Default()
}

func (o Options) withDefaults() Options {
	set(&o.InHand, 64<<20)
	set(&o.Calls, 128)
	set(&o.SegmentRows, 50_000)
	set(&o.SegmentBytes, 32<<20)
	set(&o.ShutdownGrace, 30*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

func set[T comparable](field *T, byDefault T) {
	var zero T
	if *field == zero {
		*field = byDefault
	}
}

// item is an event in hand.
type item struct {
	event afterhours.Event
	rider rider
}

// rider is what an event's row leaves behind until it is acknowledged.
type rider struct {
	ack  func()
	from Record
	cost int64 // bytes of the budget
	late bool
}

// overhead is what an event in hand costs beside its bytes, about.
const overhead = 512

// Writer brings events into the store, marks their hours and acknowledges them.
// Its methods may be called by several goroutines at once.
type Writer struct {
	store   Store
	marks   Marks
	o       Options
	seed    maphash.Seed
	budget  *budget
	types   *types
	hours   *hours
	counts  counts
	workers []*worker
	marker  *marker
	calls   calls

	close   func()        // once
	closing chan struct{} // closed by Close
	drained chan struct{} // closed when nothing is in hand after that
	done    chan struct{} // closed when Run has returned
	err     error         // of Run, readable once done is closed
}

// New returns a Writer that does nothing until Run.
func New(s Store, m Marks, o Options) *Writer {
	o = o.withDefaults()
	w := &Writer{
		store:   s,
		marks:   m,
		o:       o,
		seed:    maphash.MakeSeed(),
		budget:  newBudget(o.InHand),
		types:   newTypes(o),
		hours:   newHours(o),
		calls:   newCalls(o.Log),
		closing: make(chan struct{}),
		drained: make(chan struct{}),
		done:    make(chan struct{}),
	}
	w.close = sync.OnceFunc(func() { close(w.closing) })
	w.marker = newMarker(w)
	w.workers = make([]*worker, max(1, min(runtime.GOMAXPROCS(0), o.Calls)))
	for i := range w.workers {
		w.workers[i] = newWorker(w, o.Calls/len(w.workers), trickleHours/len(w.workers))
	}
	return w
}

// ErrClosed is returned by Write after Close.
var ErrClosed = errors.New("writer is closed")

// now returns the time by the clock of the options.
func (w *Writer) now() afterhours.Micros { return afterhours.MicrosOf(w.o.Now()) }

// Write takes a valid event that was made from a record. If the guards do not let
// it pass, the record is kept in quarantine instead. It blocks while too much is
// in hand, and while an event type that is new to this process is declared. ack is called once, when the event is kept; it must not
// block. After an error the event is not acknowledged. When Run has failed, Write
// fails with its error.
func (w *Writer) Write(ctx context.Context, e afterhours.Event, from Record, ack func()) error {
	select {
	case <-w.done:
		return w.failed()
	case <-w.closing:
		return ErrClosed
	default:
	}
	e, err := w.admit(ctx, e, from)
	if err != nil {
		return err
	}
	cost := overhead + int64(len(e.Payload))
	if e.Type == afterhours.QuarantineType {
		cost += int64(len(from.Bytes)) // of which the payload is a copy
	}
	cost = min(cost, w.o.InHand)
	if err := w.budget.take(ctx, w.done, cost); err != nil {
		if errors.Is(err, ErrClosed) {
			err = w.failed()
		}
		return err
	}
	if err := w.route(ctx, item{e, rider{ack: ack, from: from, late: e.Late(), cost: cost}}); err != nil {
		w.budget.give(cost)
		return err
	}
	w.counts.read.Add(1)
	if w.counts.inHand.Add(1) == 1 {
		w.counts.pulse.beat()
	}
	return nil
}

// worker returns the worker that an hour belongs to.
func (w *Writer) worker(h afterhours.Hour) *worker {
	return w.workers[maphash.Comparable(w.seed, h)%uint64(len(w.workers))]
}

// route hands an item to its worker. Workers always receive: what they hold is
// bounded by the budget.
func (w *Writer) route(ctx context.Context, it item) error {
	select {
	case w.worker(it.event.Hour()).in <- it:
		return nil
	case <-w.done:
		return w.failed()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// failed says why Run has ended.
func (w *Writer) failed() error {
	if w.err == nil {
		return ErrClosed
	}
	return fmt.Errorf("write event: the writer has ended: %w", w.err)
}

// Close says that no more events will be written. Run then finishes what is in
// hand, closes the lanes and returns. Every Write must have returned before.
func (w *Writer) Close() { w.close() }

// Run does the work until Close was called and everything in hand is
// acknowledged. It fails with ctx's error when ctx ends before that, and when
// the store refuses an index row or a quarantine event; what was not
// acknowledged then never will be. It is called once.
func (w *Writer) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, k := range w.workers {
		g.Go(func() error { return k.run(ctx, g) })
	}
	g.Go(func() error { return w.marker.run(ctx) })
	g.Go(func() error { return w.drain(ctx) })
	w.err = w.outcome(g.Wait())
	close(w.done)
	return w.err
}

// outcome returns why Run ends. Once everything is acknowledged, nothing but the
// closing of lanes can have been cut off.
func (w *Writer) outcome(err error) error {
	select {
	case <-w.drained:
		if err != nil {
			w.o.Log.Warn("ended before every lane was closed; the compactor will read them again", "err", err)
		}
		return nil
	default:
		return err
	}
}

// drain waits until everything that was written before Close is acknowledged.
func (w *Writer) drain(ctx context.Context) error {
	select {
	case <-w.closing:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	// Every item in hand holds its part of the budget until it is acknowledged.
	if err := w.budget.take(ctx, nil, w.o.InHand); err != nil {
		return err
	}
	close(w.drained)
	return nil
}

// Stats returns the counts so far.
func (w *Writer) Stats() Summary { return w.counts.summary() }
