// Package metamorphic holds the whole path, from ingest to the lake, to what must
// not matter: the same events give the same rows in the same order and the same
// books, in however many pieces they come, in whatever lanes they are kept, and
// however often and in whatever way their hours are compacted. And it shows what
// damaged partitions and hostile names do to the path: nothing but what they must.
package metamorphic

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/dirty"
	dirtypebble "github.com/afterhours/afterhours/dirty/pebble"
	"github.com/afterhours/afterhours/ingest"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
	storepebble "github.com/afterhours/afterhours/store/pebble"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// rawTTL is how long raw rows live at a site.
const rawTTL = 30 * 24 * time.Hour

// clock is the time at a site. It moves when it is looked at, so that whoever waits
// for it gets on. That of real servers is the real one, and cannot be set.
type clock struct {
	atomic.Int64
	real bool
}

// Now returns the time.
func (c *clock) Now() time.Time {
	if c.real {
		return time.Now()
	}
	return time.UnixMicro(c.Add(100)).UTC()
}

func (c *clock) set(t time.Time)      { c.Store(t.UnixMicro()) }
func (c *clock) pass(d time.Duration) { c.Add(d.Microseconds()) }

// site is where a test ingests and compacts: the backends, and how to open them
// again.
type site struct {
	t     testing.TB
	clock *clock
	open  func() (store.Store, dirty.Queue, *lake.Lake)

	read func(lake.Object) ([]byte, error)

	store store.Store
	queue dirty.Queue
	lake  *lake.Lake
}

// embeddedSite is a site in a directory, at a time.
func embeddedSite(t testing.TB, at time.Time) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t: t, clock: &clock{}}
	s.clock.set(at)
	s.read = func(o lake.Object) ([]byte, error) { return os.ReadFile(filepath.Join(dir, "lake", o.Key)) }
	s.open = func() (store.Store, dirty.Queue, *lake.Lake) {
		st, err1 := storepebble.Open(filepath.Join(dir, "store"), storepebble.Options{TTL: rawTTL, Now: s.clock.Now, Logger: quiet})
		q, err2 := dirtypebble.Open(filepath.Join(dir, "queue"), dirtypebble.Options{Now: s.clock.Now, Logger: quiet})
		l, err3 := lake.Open(context.Background(), "file://"+dir+"/lake", lake.Options{TempDir: dir, Now: s.clock.Now, Logger: quiet})
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		return st, q, l
	}
	s.store, s.queue, s.lake = s.open()
	t.Cleanup(s.close)
	return s
}

func (s *site) close() {
	if err := errors.Join(s.lake.Close(), s.queue.Close(), s.store.Close()); err != nil {
		s.t.Error(err)
	}
}

// restart closes the backends and opens them again, as new processes do.
func (s *site) restart() {
	s.close()
	s.store, s.queue, s.lake = s.open()
}

// config is a compactor's that tries nothing twice in a test's time.
func (s *site) config() compact.Config {
	cfg := compact.Defaults()
	cfg.Policy, cfg.Now, cfg.Logger = compact.Policy{}, s.clock.Now, quiet
	cfg.Retry, cfg.MaxRetry = time.Millisecond, 10*time.Millisecond
	return cfg
}

func (s *site) compactor(cfg compact.Config) *compact.Compactor {
	s.t.Helper()
	c, err := compact.New(s.store, s.lake, cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// drain serves the marks of a group.
func (s *site) drain(c *compact.Compactor, group string, limits compact.Limits) (compact.Summary, error) {
	s.t.Helper()
	consumer, err := s.queue.Consume(context.Background(), group, dirty.Options{Drain: true})
	if err != nil {
		s.t.Fatal(err)
	}
	sum, err := c.Drain(context.Background(), consumer, limits)
	return sum, errors.Join(err, consumer.Close())
}

// run serves marks as a daemon does, until ctx ends.
func (s *site) run(ctx context.Context, c *compact.Compactor) error {
	s.t.Helper()
	consumer, err := s.queue.Consume(ctx, group, dirty.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = c.Run(ctx, consumer, s.queue)
	return errors.Join(err, consumer.Close())
}

// source puts records.
type source func(ctx context.Context, put ingest.Put) error

// Run implements [ingest.Source].
func (s source) Run(ctx context.Context, put ingest.Put) error { return s(ctx, put) }

// ingest keeps what a source brings.
func (s *site) ingest(src ingest.Source, o ingest.Options) (ingest.Summary, error) {
	o.Now, o.Log, o.Columns = s.clock.Now, quiet, mapping.Columns
	return ingest.Run(context.Background(), src, mapping, ingest.New(s.store, s.queue, o))
}

// visit shows every partition of the lake to a function.
func (s *site) visit(f func(o lake.Object, file []byte) error) error {
	return s.lake.Hours(context.Background(), func(o lake.Object) error {
		file, err := s.read(o)
		if err != nil {
			return err
		}
		return f(o, file)
	})
}
