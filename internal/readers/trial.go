package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// maxGaps bounds the gaps between the requests of a read that are tried, and so
// the time that readers with many requests take.
const maxGaps = 10

// score is what came of a trial.
type score struct {
	version  string // the reader's
	requests int    // of one read that nobody disturbs
	pinned   bool   // reads ask for the version they began with
	alone    tally  // of reads during which nobody replaced the object, though always since the last one
	during   tally  // of reads that were asking for more when it was replaced
}

// trial has one reader read the hour while its object is replaced: by the
// versions in turn, so that one of them comes back only when all others were
// there.
type trial struct {
	object   object
	versions []version
	reader   interface{ read() (answer, error) }
	score    score

	mu      sync.Mutex
	history []version // what the object has been; the last is what it is
}

// replace puts the next version.
func (t *trial) replace(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := t.versions[len(t.history)%len(t.versions)]
	if err := t.object.put(ctx, next); err != nil {
		return err
	}
	t.history = append(t.history, next)
	return nil
}

// now returns how often the object was put.
func (t *trial) now() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.history)
}

// read has the reader read once. It returns the verdict and how often the object
// was replaced meanwhile.
func (t *trial) read() (v verdict, said string, replaced int, err error) {
	before := t.now()
	a, err := t.reader.read()
	if err != nil {
		return 0, "", 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	during := slices.Clone(t.history[before-1:])
	older := slices.DeleteFunc(slices.Clone(t.versions), func(v version) bool { return among(v.answer(), during) })
	v, said = judge(a, during, older)
	return v, said, len(during) - 1, nil
}

// inBucket reads through the gate: first undisturbed, then with a replacement in
// every gap between two requests of a read, at least so many times. A reader that
// asks for nothing any more, as it trusts its caches, has no gaps.
func (t *trial) inBucket(ctx context.Context, g *gate, reads int) error {
	g.replace = func() error { return t.replace(ctx) }
	for range 2 * len(t.versions) {
		if err := t.replace(ctx); err != nil {
			return err
		}
		seen, err := t.gated(g, 0)
		if err != nil {
			return err
		}
		if t.score.alone.counts[whole] == 0 {
			return fmt.Errorf("reads wrong even if nobody replaces the object: %v", t.score.alone.said)
		}
		t.score.requests = max(t.score.requests, seen.all) // some have caches
	}
	for before := -1; before < t.score.during.reads() && t.score.during.reads() < reads; {
		before = t.score.during.reads()
		for _, gap := range gaps(t.score.requests) {
			for range t.versions {
				if _, err := t.gated(g, gap); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// gaps returns the requests of a read after which to replace the object.
func gaps(requests int) []int {
	var gaps []int
	for i := range min(maxGaps, requests-1) {
		gaps = append(gaps, 1+i*(requests-1)/min(maxGaps, requests-1))
	}
	return gaps
}

// gated reads once, with a replacement after the given request.
func (t *trial) gated(g *gate, after int) (requests, error) {
	g.begin(after)
	v, said, _, err := t.read()
	seen, failure := g.end()
	if err != nil {
		return seen, err
	}
	if failure != nil {
		return seen, fmt.Errorf("gate: %w", failure)
	}
	t.score.pinned = t.score.pinned || seen.pinned > 0
	if seen.later > 0 {
		t.score.during.add(v, said)
	} else {
		t.score.alone.add(v, said)
	}
	return seen, nil
}

// inDirectory reads while the file is replaced again and again.
func (t *trial) inDirectory(ctx context.Context, reads int) (err error) {
	for range 2 * len(t.versions) {
		if err := t.replace(ctx); err != nil {
			return err
		}
		if err := t.counted(); err != nil {
			return err
		}
	}
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- t.keepReplacing(ctx) }()
	defer func() {
		stop()
		if failure := <-done; err == nil {
			err = failure
		}
	}()
	for t.score.during.reads() < reads {
		if err := t.counted(); err != nil {
			return err
		}
	}
	return nil
}

// counted reads once.
func (t *trial) counted() error {
	v, said, replaced, err := t.read()
	if err != nil {
		return err
	}
	if replaced > 0 {
		t.score.during.add(v, said)
	} else {
		t.score.alone.add(v, said)
	}
	return nil
}

// keepReplacing replaces the object at random moments until ctx is done.
func (t *trial) keepReplacing(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rand.N(60 * time.Millisecond)):
		}
		if err := t.replace(ctx); err != nil {
			return err
		}
	}
}
