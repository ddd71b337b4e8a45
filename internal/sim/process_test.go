package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/dirty"
	"github.com/afterhours/afterhours/ingest"
)

var silent = slog.New(slog.DiscardHandler)

// slot is a place where one process runs after the other: "i0", "i1" ingests,
// "c0", "c1" compactors that run for ever, "d0" one that drains, "o" what an
// operator does.
type slot struct {
	world *world
	name  string
	count int      // of processes so far
	now   *process // nil: none runs
	skew  afterhours.Micros
}

func (s *slot) ingests() bool  { return s.name[0] == 'i' }
func (s *slot) drains() bool   { return s.name[0] == 'd' }
func (s *slot) operator() bool { return s.name[0] == 'o' }

func (w *world) operator() *slot { return w.slots[len(w.slots)-1] }

// process is one incarnation of a process.
type process struct {
	world       *world
	slot        *slot
	incarnation int
	calls       map[string]int // made, by kind and key

	stop     context.CancelFunc
	dead     bool   // it crashed: nothing it does has any effect
	stopping bool   // it was told to stop
	clean    bool   // no fault has met it since it was told
	cut      string // a call that it gave up although it was told to stop in peace
	reader   *reader
	consumer *consumer
	done     func() // of an operator's work that went well
}

func (p *process) String() string { return fmt.Sprintf("%s.%d", p.slot.name, p.incarnation) }

// micros is the process's clock.
func (p *process) micros() afterhours.Micros { return p.world.now() + p.slot.skew }
func (p *process) now() time.Time            { return p.micros().Time() }

// start starts the next process of a slot.
func (s *slot) start(run func(context.Context, *process) error) *process {
	w := s.world
	p := &process{world: w, slot: s, incarnation: s.count, calls: map[string]int{}}
	s.count++
	s.now = p
	var ctx context.Context
	ctx, p.stop = context.WithCancel(context.Background())
	w.procs.Go(func() {
		err := run(ctx, p)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ended(p, err)
	})
	return p
}

// ended takes note of a process that has returned.
func (w *world) ended(p *process, err error) {
	if p.dead {
		return
	}
	w.trace.addf("%s ended: %v", p, err)
	if p.reader != nil {
		if n := len(p.reader.inHand); n > 0 && p.stopping && p.clean {
			w.violate("%s was told to stop and left %d records unacknowledged: %v", p, n, err)
		}
		w.source.leave(p.reader)
	}
	if p.consumer != nil {
		w.leave(p.consumer) // a process that ended without closing is cut off
	}
	if p.cut != "" {
		w.violate("%s was told to stop and gave up what it was doing: %s", p, p.cut)
	}
	if err == nil && p.done != nil {
		p.done()
	}
	if p.slot.now == p {
		p.slot.now = nil
	}
	p.stop()
}

// crash ends a process at once. What it waits for ends as well, so that its
// goroutines do, but nobody hears of it any more.
func (w *world) crash(p *process) {
	p.dead = true
	p.slot.now = nil
	w.stats.count("crashes", 1)
	p.stop()
	for i := 0; i < len(w.pending); {
		if o := w.pending[i]; o.p == p {
			w.finish(o, errDead)
			continue
		}
		i++
	}
}

// expel lets the groups notice that a process has died.
func (w *world) expel(p *process) {
	if p.reader != nil {
		w.source.leave(p.reader)
	}
	if p.consumer != nil {
		w.leave(p.consumer)
	}
}

var mapping = ingest.Mapping{IDField: "id", TypeField: "type", TimeField: "t", AcceptPast: 10 * 365 * 24 * time.Hour, AcceptFuture: 48 * time.Hour}

// ingest is the main function of an ingest.
func (w *world) ingest(ctx context.Context, p *process) error {
	m := mapping
	if w.plan.received {
		m.ReceivedField = "r"
	}
	m.Columns = w.plan.columns
	s := &reader{p: p, logs: map[int]*progress{}, inHand: map[*record]afterhours.Micros{}}
	w.mu.Lock()
	p.reader = s
	w.mu.Unlock()
	iw := ingest.New(storeView{p}, queueView{p}, ingest.Options{
		Columns: w.plan.columns, Now: p.now, Calls: 4, SegmentRows: w.plan.segmentRows, ShutdownGrace: w.plan.grace, Log: silent,
	})
	_, err := ingest.Run(ctx, s, m, iw)
	return err
}

// compactor makes the compactor of a process.
func (w *world) compactor(p *process) (*compact.Compactor, error) {
	cfg := compact.Defaults()
	cfg.Policy = w.plan.policy
	cfg.Workers, cfg.Giants, cfg.GiantBytes = w.plan.workers, 1, w.plan.giantBytes
	cfg.Retry, cfg.MaxRetry, cfg.StuckRetry = time.Second, 4*time.Second, 4*time.Second
	cfg.SweepEvery, cfg.ShutdownGrace = 0, w.plan.grace
	cfg.Logger, cfg.Now = silent, p.now
	cfg.Finished = func(o compact.Outcome) {
		if errors.As(o.Err, new(compact.NotYet)) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.stats.count("rewrites not worth it yet", 1)
		}
	}
	return compact.New(storeView{p}, p.openLake(), cfg)
}

// compact is the main function of a compactor.
func (w *world) compact(drain bool) func(context.Context, *process) error {
	return func(ctx context.Context, p *process) error {
		c, err := w.compactor(p)
		if err != nil {
			return err
		}
		q := queueView{p}
		marks, err := q.Consume(ctx, group, dirty.Options{Drain: drain, Slack: w.plan.slack})
		if err != nil {
			return err
		}
		if drain {
			_, err = c.Drain(ctx, marks, compact.Limits{})
		} else {
			_, err = c.Run(ctx, marks, q)
		}
		if closed := marks.Close(); err == nil {
			err = closed
		}
		return err
	}
}
