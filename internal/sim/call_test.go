package sim

import (
	"cmp"
	"context"
	"slices"
)

// op is a call of a process to the outside. It waits until the scheduler lets it
// go through.
type op struct {
	p      *process
	kind   string
	key    string // what it is about
	detail string // for the trace
	n      int    // how many of this kind and key the process made before

	do    func() error          // has the effect, and notes the result; writes may do it again
	some  func(n func(int) int) // writes: has a part of the effect only
	ready func() bool           // nil: always
	size  int                   // rows of an append
	write bool                  // may be applied late, or twice

	reply   chan error
	stalled int         // not before this step
	awaited func() bool // nil: or else before, when this is so
	applied bool        // it was done, and its answer is on the way
	answer  error
}

// call hands an operation to the scheduler and waits for its end. A call whose
// context ends is withdrawn; if it writes, nobody knows whether it got through.
func (p *process) call(ctx context.Context, o *op) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	w := p.world
	w.mu.Lock()
	if p.dead {
		w.mu.Unlock()
		return errDead
	}
	if w.direct {
		return w.serve(ctx, o) // unlocks
	}
	o.p, o.reply = p, make(chan error, 1)
	o.n = p.calls[o.kind+o.key]
	p.calls[o.kind+o.key]++
	w.pending = append(w.pending, o)
	w.mu.Unlock()
	select {
	case err := <-o.reply:
		return err
	case <-ctx.Done():
		w.withdraw(o)
		return context.Cause(ctx)
	}
}

// serve applies an operation as soon as it is ready, without a scheduler.
func (w *world) serve(ctx context.Context, o *op) error {
	for o.ready != nil && !o.ready() {
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		w.mu.Lock()
	}
	defer w.mu.Unlock()
	err := o.do()
	close(w.changed)
	w.changed = make(chan struct{})
	return err
}

// withdraw takes back a call whose context has ended.
func (w *world) withdraw(o *op) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.Index(w.pending, o)
	if i < 0 {
		return
	}
	w.pending = slices.Delete(w.pending, i, i+1)
	w.trace.addf("%s withdrawn", o)
	if o.p.stopping && o.p.clean && !o.p.dead && !slices.Contains(idle, o.kind) {
		o.p.cut = o.String()
	}
	// Every other write that nobody waits for any more arrives all the same.
	if o.write && !o.applied && !o.p.dead && (len(o.key)+o.n+w.step)%2 == 0 {
		w.late = append(w.late, lateEffect{o.String(), o.do})
	}
}

// idle are the kinds of calls that a process which is told to stop may give up.
var idle = []string{"poll", "fetch", "join", "stuck", "last-sweep", "swept"}

// lateEffect is a write that was given up and will still be applied.
type lateEffect struct {
	name string
	do   func() error
}

func (o *op) String() string {
	s := o.p.String() + " " + o.kind
	if o.key != "" {
		s += " " + o.key
	}
	return s + o.detail
}

// compare orders operations by what they are, whatever goroutine came first.
func (o *op) compare(b *op) int {
	return cmp.Or(
		cmp.Compare(o.p.slot.name, b.p.slot.name),
		cmp.Compare(o.p.incarnation, b.p.incarnation),
		cmp.Compare(o.kind, b.kind),
		cmp.Compare(o.key, b.key),
		cmp.Compare(o.n, b.n),
	)
}

// finish ends an operation.
func (w *world) finish(o *op, err error) {
	if i := slices.Index(w.pending, o); i >= 0 {
		w.pending = slices.Delete(w.pending, i, i+1)
	}
	o.reply <- err
}
