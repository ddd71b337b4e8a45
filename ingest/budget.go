package ingest

import (
	"context"
	"sync"
)

// budget bounds what is in hand.
type budget struct {
	mu      sync.Mutex
	free    int64
	waiting bool
	more    chan struct{} // closed when something was given back
}

func newBudget(n int64) *budget { return &budget{free: n, more: make(chan struct{})} }

// take waits until n are free. It ends early with ctx, or with [ErrClosed] when
// done is closed.
func (b *budget) take(ctx context.Context, done <-chan struct{}, n int64) error {
	for {
		b.mu.Lock()
		if b.free >= n {
			b.free -= n
			b.mu.Unlock()
			return nil
		}
		b.waiting = true
		more := b.more
		b.mu.Unlock()
		select {
		case <-more:
		case <-done:
			return ErrClosed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += n
	if b.waiting {
		b.waiting = false
		close(b.more)
		b.more = make(chan struct{})
	}
}
