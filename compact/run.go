package compact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
)

// drainTries is how often a drain tries an hour before it gives up on it.
const drainTries = 3

// Run serves marks until ctx ends, as a daemon does, with the policy's waiting.
// When ctx ends, rewrites under way may finish; then it returns nil.
// An error is the queue's: no hour's failure ends it.
func (c *Compactor) Run(ctx context.Context, marks dirty.Consumer) (Summary, error) {
	return c.serve(ctx, marks, newSchedule(c.cfg.Policy, false))
}

// Drain serves every mark that was there when it began, without waiting, and
// returns. marks must come from a draining consumer. Hours that cannot be
// rewritten keep their marks; they are counted in the summary and are an error.
func (c *Compactor) Drain(ctx context.Context, marks dirty.Consumer) (Summary, error) {
	sum, err := c.serve(ctx, marks, newSchedule(c.cfg.Policy, true))
	switch {
	case err != nil:
		return sum, err
	case ctx.Err() != nil:
		return sum, fmt.Errorf("drain: stopped with work left: %w", ctx.Err())
	case sum.Failed > 0:
		return sum, fmt.Errorf("drain: %d hours could not be rewritten and keep their marks", sum.Failed)
	}
	return sum, nil
}

// server is the state of one Run; it belongs to the goroutine of serve.
type server struct {
	*Compactor
	marks    dirty.Consumer
	schedule *schedule
	stuck    map[afterhours.Hour]bool
	sum      Summary
	ended    bool // no more marks will come
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
}

func (c *Compactor) serve(ctx context.Context, marks dirty.Consumer, s *schedule) (Summary, error) {
	v := &server{Compactor: c, marks: marks, schedule: s, stuck: map[afterhours.Hour]bool{}}
	known, err := c.store.StuckHours(ctx)
	if err != nil {
		return v.sum, fmt.Errorf("read stuck hours: %w", err)
	}
	for _, k := range known {
		v.stuck[k.Hour] = true
	}
	// Rewrites outlive ctx by the grace period, so that finished work is kept.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	polls, stopPolling := poll(ctx, marks)
	defer stopPolling()
	err = v.loop(ctx, work, cancel, polls)
	return v.sum, err
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
			select {
			case out <- polled{p, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return out, func() { cancel(); <-done }
}

// loop is the one place where marks, rewrites and time meet.
func (v *server) loop(ctx, work context.Context, cancel func(), polls <-chan polled) error {
	results := make(chan finished)
	running := 0
	var failure error
	stop := ctx.Done()
	wake := time.NewTimer(0)
	defer wake.Stop()
	var grace <-chan time.Time
	for {
		stopping := ctx.Err() != nil || failure != nil
		for !stopping && running < v.cfg.Workers {
			w := v.schedule.start(time.Now())
			if w == nil {
				break
			}
			running++
			go func() { results <- finished{w, v.Rewrite(work, w.hour)} }()
		}
		if running == 0 && (stopping || v.ended && v.schedule.owed() == 0) {
			return failure
		}
		if due, any := v.schedule.nextDue(); any && running < v.cfg.Workers {
			wake.Reset(time.Until(due))
		}
		select {
		case p := <-polls:
			failure = v.polled(ctx, p)
		case f := <-results:
			running--
			v.finished(work, f)
		case <-wake.C:
		case <-stop:
			stop, grace = nil, time.After(v.cfg.ShutdownGrace)
		case <-grace:
			cancel()
		}
	}
}

// polled takes what a poll brought; the error is one that ends the service.
func (v *server) polled(ctx context.Context, p polled) error {
	for _, m := range p.Marks {
		v.schedule.take(m)
	}
	if len(p.Revoked) > 0 {
		v.schedule.revoke(p.Revoked)
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

// finished settles what a rewrite leaves behind: its marks are done, or its hour
// is due again.
func (v *server) finished(ctx context.Context, f finished) {
	h := f.w.hour
	if f.out.Err == nil {
		// Done only now: a crash before this line repeats the rewrite, which
		// finds nothing new.
		for _, m := range f.w.marks {
			v.marks.Done(m)
		}
		v.unstick(ctx, h)
		v.sum.add(f.out)
		v.schedule.served(f.w)
		return
	}
	if v.schedule.now && f.w.failures+1 >= drainTries || v.schedule.now && errors.Is(f.out.Err, lake.ErrRefused) {
		v.sum.add(f.out)
		delete(v.schedule.busy, h) // given up: its marks stay undone
		delete(v.schedule.next, h)
	} else {
		v.schedule.failed(f.w, time.Now().Add(v.retryAfter(f)))
	}
	if errors.Is(f.out.Err, lake.ErrRefused) {
		v.stick(ctx, h, f.out.Err)
	}
}

// retryAfter is the pause before an hour is tried again.
func (v *server) retryAfter(f finished) time.Duration {
	if errors.Is(f.out.Err, lake.ErrRefused) {
		return v.cfg.MaxRetry
	}
	return min(v.cfg.MaxRetry, v.cfg.Retry<<min(f.w.failures, 20))
}

// stick records an hour that cannot be rewritten until somebody acts.
func (v *server) stick(ctx context.Context, h afterhours.Hour, cause error) {
	if v.stuck[h] {
		return
	}
	s := store.Stuck{Hour: h, Since: afterhours.MicrosOf(time.Now()), Reason: cause.Error()}
	if err := v.store.PutStuck(ctx, s); err != nil {
		v.cfg.Logger.Error("record stuck hour", "hour", h.String(), "err", err)
		return
	}
	v.stuck[h] = true
}

// unstick removes the record of an hour that works again.
func (v *server) unstick(ctx context.Context, h afterhours.Hour) {
	if !v.stuck[h] {
		return
	}
	if err := v.store.ClearStuck(ctx, h); err != nil {
		v.cfg.Logger.Error("clear stuck hour", "hour", h.String(), "err", err)
		return
	}
	delete(v.stuck, h)
}
