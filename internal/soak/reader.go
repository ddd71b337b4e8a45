package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/afterhours/afterhours"
)

// objects is the lake as a reader needs it.
type objects interface {
	list(ctx context.Context) (versions map[string]string, err error) // by key
	get(ctx context.Context, key string) (data []byte, version string, err error)
}

// reader loops over the lake as a user would, and remembers what it saw.
type reader struct {
	bucket  objects
	ledger  *ledger
	wrong   func(format string, args ...any)
	known   map[string]*version // by key
	passes  atomic.Int64
	objects atomic.Int64
	rows    atomic.Int64
	failed  atomic.Int64 // requests
	slowest atomic.Int64 // from an acknowledgement to a reader, in nanoseconds
}

// version is the newest version of a partition that was seen.
type version struct {
	etag       string
	generation int64
	ids        []uint64 // digests, in order
}

func newReader(b objects, l *ledger, wrong func(string, ...any)) *reader {
	return &reader{bucket: b, ledger: l, wrong: wrong, known: map[string]*version{}}
}

// readerPause is between two passes over the lake.
const readerPause = 300 * time.Millisecond

// run reads until ctx ends. That the store does not answer is no fault of the lake.
func (r *reader) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := r.pass(ctx); err != nil {
			r.failed.Add(1)
		}
		pause(ctx, readerPause)
	}
}

// pass reads every partition that has changed.
func (r *reader) pass(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	listed, err := r.bucket.list(ctx)
	if err != nil {
		return err
	}
	for key := range r.known {
		if _, ok := listed[key]; !ok {
			listed[key] = "not listed"
		}
	}
	var errs []error
	for key, etag := range listed {
		if known := r.known[key]; known == nil || known.etag != etag {
			errs = append(errs, r.read(ctx, key))
		}
	}
	r.passes.Add(1)
	return errors.Join(errs...)
}

// read reads one partition and compares it with its earlier version.
func (r *reader) read(ctx context.Context, key string) error {
	data, etag, err := r.bucket.get(ctx, key)
	if errors.Is(err, errAbsent) {
		r.wrong("%s: an object that was there has vanished", key)
		return nil
	}
	if err != nil {
		return err
	}
	r.objects.Add(1)
	h, _ := hourOf(key)
	o, err := decode(data, h.Type == afterhours.QuarantineType)
	if err != nil {
		r.wrong("%s, version %s: not whole: %v", key, etag, err)
		return nil
	}
	r.rows.Add(int64(len(o.rows)))
	for _, f := range o.faults(h) {
		r.wrong("%s, version %s: %s", key, etag, f)
	}
	now := newVersion(etag, o)
	if before := r.known[key]; before != nil {
		r.compare(key, before, now)
	}
	r.known[key] = now
	r.see(o)
	return nil
}

// see tells the ledger which events have arrived.
func (r *reader) see(o object) {
	serials := make([]int, len(o.rows))
	for i := range o.rows {
		serials[i] = parseID(o.rows[i].id)
	}
	if d := int64(r.ledger.see(time.Now(), serials)); d > r.slowest.Load() {
		r.slowest.Store(d)
	}
}

// compare looks for what must not happen from a version to a later one.
func (r *reader) compare(key string, before, now *version) {
	if n := missing(before.ids, now.ids); n > 0 {
		r.wrong("%s: the hour shrank: version %s lacks %d of the %d events of version %s", key, now.etag, n, len(before.ids), before.etag)
	}
	if now.generation < before.generation {
		r.wrong("%s: generation %d follows %d", key, now.generation, before.generation)
	}
}

func newVersion(etag string, o object) *version {
	v := &version{etag: etag, generation: o.books.Generation, ids: make([]uint64, len(o.rows))}
	for i := range o.rows {
		v.ids[i] = digest([]byte(o.rows[i].id))
	}
	slices.Sort(v.ids)
	return v
}

// missing returns how many of want are not in have, both in order.
func missing(want, have []uint64) (n int) {
	for _, w := range want {
		at, ok := slices.BinarySearchFunc(have, w, cmp.Compare[uint64])
		if !ok {
			n++
		}
		have = have[at:]
	}
	return n
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
