package compact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
)

const (
	// drainTries is how often a drain tries an hour before it gives up on it.
	drainTries = 3

	// tick is how often what holds the offset back is looked at, and health.
	tick = time.Second

	// deferTimeout bounds the deferring of what a drain gave up.
	deferTimeout = 10 * time.Second
)

// Limits end a drain early. Zero means no limit.
type Limits struct {
	Hours   int           // rewrites begun
	Runtime time.Duration // after which no rewrite begins
}

// Run serves marks until ctx ends, as a daemon does, with the policy's waiting,
// and sweeps now and then. When ctx ends, rewrites under way may finish; then it
// returns nil. An error is the queue's: no hour's failure ends it.
func (c *Compactor) Run(ctx context.Context, marks dirty.Consumer, q Marker) (Summary, error) {
	sweeping, stop := context.WithCancel(ctx)
	var sweeper sync.WaitGroup
	sweeper.Go(func() { c.sweepAgain(sweeping, q) })
	defer sweeper.Wait()
	defer stop()
	return c.serve(ctx, marks, c.emptySchedule(false), Limits{})
}

// Drain serves every mark that was there when it began, without waiting, and
// returns; earlier if a limit says so. marks must come from a draining consumer.
// Hours that cannot be rewritten keep a mark; they are counted in the summary and
// are an error.
func (c *Compactor) Drain(ctx context.Context, marks dirty.Consumer, l Limits) (Summary, error) {
	sum, err := c.serve(ctx, marks, c.emptySchedule(true), l)
	switch {
	case err != nil:
		return sum, err
	case ctx.Err() != nil:
		return sum, fmt.Errorf("drain: stopped with work left: %w", ctx.Err())
	case sum.Failed > 0:
		return sum, fmt.Errorf("drain: %d hours could not be rewritten and stay marked", sum.Failed)
	}
	return sum, nil
}

// server is the state of one Run; it belongs to the goroutine of serve.
type server struct {
	*Compactor
	marks    dirty.Consumer
	schedule *schedule
	limits   Limits
	deadline <-chan time.Time
	stuck    map[afterhours.Hour]store.Stuck
	sum      Summary
	gaps     chan struct{} // the queue told of some; to be closed when the board knows
	ended    bool          // no more marks will come
	limited  bool          // a limit was reached

	started, running, giants int // rewrites begun, under way, and giants among these
	tasks                    chan task
	results                  chan finished
	deferred                 chan error // nil while none are being deferred
	givenUp                  []dirty.Mark
}

// task is a rewrite to do.
type task struct {
	w     *waiting
	class class
	stay  stay
}

// finished is a rewrite that came to an end.
type finished struct {
	w   *waiting
	out Outcome
}

// polled is what the polling goroutine brings.
type polled struct {
	dirty.Polled
	err error

	// recorded is closed when the board knows of the gaps; nil if there are none. To
	// poll again would say that they are taken care of.
	recorded chan struct{}
}

// wait waits until the board knows of the gaps.
func (p polled) wait(ctx context.Context) error {
	if p.recorded == nil {
		return nil
	}
	select {
	case <-p.recorded:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Compactor) serve(ctx context.Context, marks dirty.Consumer, s *schedule, l Limits) (Summary, error) {
	v := &server{Compactor: c, marks: marks, schedule: s, limits: l, stuck: map[afterhours.Hour]store.Stuck{}, tasks: make(chan task), results: make(chan finished)}
	s.resume(c.cfg.Now())
	known, err := c.board.StuckHours(ctx)
	if err != nil {
		return v.sum, fmt.Errorf("read stuck hours: %w", err)
	}
	for _, k := range known {
		v.stuck[k.Hour] = k
		c.health.stick(k)
	}
	if l.Runtime > 0 {
		v.deadline = time.After(l.Runtime)
	}
	// Rewrites outlive ctx by the grace period, so that finished work is kept.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	polls, stopPolling := poll(ctx, marks)
	defer stopPolling()
	var workers sync.WaitGroup
	for range c.cfg.Workers {
		workers.Go(func() { v.work(work) })
	}
	err = v.loop(ctx, work, cancel, polls)
	close(v.tasks)
	workers.Wait()
	v.health.ends()
	v.sum.Left, v.sum.Limited = int64(v.schedule.owed()), v.limited
	return v.sum, errors.Join(err, v.deferGivenUp(work))
}

// poll hands on what the consumer brings, until it ends or the returned function
// is called, which waits for the goroutine.
func poll(ctx context.Context, marks dirty.Consumer) (<-chan polled, func()) {
	ctx, cancel := context.WithCancel(ctx)
	out, done := make(chan polled), make(chan struct{})
	go func() {
		defer close(done)
		for {
			p, err := marks.Poll(ctx)
			it := polled{Polled: p, err: err}
			if len(p.Gaps) > 0 {
				it.recorded = make(chan struct{})
			}
			select {
			case out <- it:
			case <-ctx.Done():
				return
			}
			if err != nil || it.wait(ctx) != nil {
				return
			}
		}
	}()
	return out, func() { cancel(); <-done }
}

// loop is the one place where marks, rewrites and time meet.
func (v *server) loop(ctx, work context.Context, cancel func(), polls <-chan polled) error {
	var failure error
	stop := ctx.Done()
	wake := time.NewTimer(0)
	defer wake.Stop()
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	var grace <-chan time.Time
	for {
		stopping := ctx.Err() != nil || failure != nil || v.limited
		for !stopping && v.start() {
			stopping = v.limited
		}
		if v.running == 0 && v.deferred == nil && (stopping || v.ended && v.schedule.owed() == 0) {
			return failure
		}
		// What is due and is not begun any more would wake the loop for ever.
		if due, any := v.schedule.nextDue(v.roomForGiant()); any && !stopping && v.running < v.cfg.Workers {
			wake.Reset(due.Sub(v.cfg.Now()))
		}
		select {
		case p := <-polls:
			failure = errors.Join(v.polled(ctx, p), v.distrust(work))
		case f := <-v.results:
			v.finished(work, f)
		case err := <-v.deferred:
			v.deferred = nil
			if err != nil {
				v.cfg.Logger.Warn("waiting hours hold the committed offset back, will be tried again", "err", err)
			}
		case <-ticks.C:
			failure = errors.Join(failure, v.distrust(work))
			v.deferBehind(work)
			v.health.look(v.cfg.Now(), v.schedule, v.cfg.StallAfter, v.store.TTL())
		case <-wake.C:
		case <-v.deadline:
			v.limited = true
		case <-stop:
			stop, grace = nil, time.After(v.cfg.ShutdownGrace)
		case <-grace:
			cancel()
		}
	}
}

// work rewrites one hour after the other. A goroutine for each would have to grow its
// stack for each, which takes longer than many a request.
func (v *server) work(ctx context.Context) {
	for t := range v.tasks {
		v.results <- finished{t.w, v.rewriteIn(ctx, t.w.hour, t.class, t.stay)}
	}
}

// start begins a rewrite, if one is due and a worker is free.
func (v *server) start() bool {
	if v.running >= v.cfg.Workers {
		return false
	}
	w := v.schedule.start(v.cfg.Now(), v.roomForGiant())
	if w == nil {
		return false
	}
	v.running++
	v.started++
	if w.giant {
		v.giants++
	}
	v.limited = v.limited || v.limits.Hours > 0 && v.started >= v.limits.Hours
	of := smallClass
	switch {
	case v.cfg.Giants >= v.cfg.Workers:
		of = anyClass
	case w.giant:
		of = giantClass
	}
	v.tasks <- task{w, of, v.schedule.stay(w)}
	return true
}

func (v *server) roomForGiant() bool { return v.giants < v.cfg.Giants }

// polled takes what a poll brought; the error is one that ends the service.
func (v *server) polled(ctx context.Context, p polled) error {
	now := v.now()
	for _, m := range p.Marks {
		v.schedule.take(notAhead(m, now))
	}
	if len(p.Revoked) > 0 {
		v.schedule.revoke(p.Revoked)
		v.schedule.resume(v.cfg.Now())
	}
	if p.recorded != nil {
		v.gaps = p.recorded
	}
	switch {
	case p.err == nil, ctx.Err() != nil:
		return nil
	case errors.Is(p.err, io.EOF):
		v.ended = true
		return nil
	}
	return fmt.Errorf("poll marks: %w", p.err)
}

// distrust has every hour swept if the queue told of gaps. It is tried again until
// it works, but for a drain, which ends with the error.
func (v *server) distrust(ctx context.Context) error {
	if v.gaps == nil {
		return nil
	}
	if err := v.distrustMarks(ctx); err != nil {
		err = fmt.Errorf("marks may be gone from the queue; have every hour swept: %w", err)
		if v.schedule.now {
			v.gaps = nil // and not closed: the queue is to tell of them again
			return err
		}
		v.cfg.Logger.Error("will be tried again", "err", err)
		return nil
	}
	close(v.gaps)
	v.gaps = nil
	return nil
}

// finished settles what a rewrite leaves behind: its marks are done, or its hour
// is due again. That it is not worth it yet is no progress: to find that out takes
// neither a download nor an upload.
func (v *server) finished(ctx context.Context, f finished) {
	v.running--
	if f.w.giant {
		v.giants--
	}
	if errors.Is(f.out.Err, errGiant) {
		v.started--
		v.schedule.tooLarge(f.w)
		return
	}
	v.finish(f.out)
	var wait NotYet
	if errors.As(f.out.Err, &wait) {
		v.schedule.notYet(f.w, v.cfg.Now(), wait.Until)
		return
	}
	if f.out.Err != nil {
		v.failed(ctx, f)
		return
	}
	// Done only now: a crash before this line repeats the rewrite, which finds
	// nothing new.
	for _, m := range f.w.marks {
		v.marks.Done(m)
	}
	v.unstick(ctx, f.w.hour)
	v.sum.add(f.out)
	v.schedule.served(f.w)
	v.health.progress(v.cfg.Now())
}

// failed decides what becomes of an hour that could not be rewritten.
func (v *server) failed(ctx context.Context, f finished) {
	v.health.failed(f.out.Err)
	hopeless := isStuck(f.out.Err)
	if hopeless {
		v.stick(ctx, f.w.hour, f.out.Err)
	}
	if v.schedule.now && (hopeless || f.w.failures+1 >= drainTries) {
		v.sum.add(f.out)
		v.givenUp = append(v.givenUp, v.schedule.giveUp(f.w)...)
		return
	}
	f.w.stuck = hopeless
	v.schedule.failed(f.w, v.cfg.Now().Add(v.retryAfter(f.w.failures, hopeless)))
}

// isStuck reports whether trying again does not help until somebody acts.
func isStuck(err error) bool { return errors.Is(err, lake.ErrRefused) || errors.Is(err, ErrVanished) }

// retryAfter is the pause before an hour is tried again.
func (v *server) retryAfter(failures int, hopeless bool) time.Duration {
	if hopeless {
		return v.cfg.StuckRetry
	}
	return min(v.cfg.MaxRetry, v.cfg.Retry<<min(failures, 20))
}

// deferBehind moves the marks of hours that hold the offset back to the end of
// the log, in the background. An hour that is being rewritten is done soon.
func (v *server) deferBehind(ctx context.Context) {
	if v.deferred != nil {
		return
	}
	var marks []dirty.Mark
	for _, m := range v.marks.Behind() {
		if v.schedule.busy[m.Hour] == nil {
			marks = append(marks, m)
		}
	}
	if len(marks) == 0 {
		return
	}
	v.deferred = make(chan error)
	done := v.deferred
	go func() { done <- v.marks.Defer(ctx, marks...) }()
}

// deferGivenUp lets the offset pass the hours that a drain gave up: the next one
// finds their marks at the end.
func (v *server) deferGivenUp(ctx context.Context) error {
	if len(v.givenUp) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deferTimeout)
	defer cancel()
	if err := v.marks.Defer(ctx, v.givenUp...); err != nil {
		return fmt.Errorf("mark again what could not be rewritten: %w", err)
	}
	return nil
}

// stick records an hour that cannot be rewritten until somebody acts; at each try
// again, since a repair by another process may have removed the record.
func (v *server) stick(ctx context.Context, h afterhours.Hour, cause error) {
	s, known := v.stuck[h]
	if !known {
		s = store.Stuck{Hour: h, Since: v.now()}
	}
	s.Reason = cause.Error()
	if err := v.board.PutStuck(ctx, s); err != nil {
		v.cfg.Logger.Error("record stuck hour", "hour", h.String(), "err", err) // it may be there all the same
	}
	v.stuck[h] = s
	v.health.stick(s)
}

// unstick removes the record of an hour that works again.
func (v *server) unstick(ctx context.Context, h afterhours.Hour) {
	if _, known := v.stuck[h]; !known {
		return
	}
	if err := v.board.ClearStuck(ctx, h); err != nil {
		v.cfg.Logger.Error("clear stuck hour", "hour", h.String(), "err", err)
		return
	}
	delete(v.stuck, h)
	v.health.unstick(h)
}
