package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/dirty"
	dirtykafka "github.com/afterhours/afterhours/dirty/kafka"
	"github.com/afterhours/afterhours/internal/testenv"
	"github.com/afterhours/afterhours/lake"
	storepebble "github.com/afterhours/afterhours/store/pebble"
)

// liveHours is how many hours are served beside one that waits and one that is
// stuck; slack is how many marks these two may hold the offset back.
const (
	liveHours = 10_000
	slack     = 500
)

// TestOffsetKeepsUp: on one Kafka partition there are a waiting hour, a stuck hour
// and ten thousand live ones. The committed offset keeps up, a restart reads
// little again, the two are not forgotten, and health is green and names the
// stuck one.
func TestOffsetKeepsUp(t *testing.T) {
	t.Parallel()
	o := newOffsets(t)
	day := time.Now().UTC().Truncate(24*time.Hour).AddDate(-2, 0, 0)
	stuck, waiting := o.event("stuck", day), o.event("waiting", time.Now())
	o.ingest(t, stuck)
	if out := o.compact.Rewrite(t.Context(), stuck.Hour()); out.Err != nil {
		t.Fatal(out.Err)
	}
	o.truncate(t)
	live := make([]afterhours.Event, liveHours)
	for n := range live {
		live[n] = o.event("live", day.Add(time.Duration(n)*time.Hour))
	}
	o.ingest(t, stuck, waiting)
	o.ingest(t, live...)

	ctx, stop := context.WithCancel(t.Context())
	ended := o.run(ctx, t)
	o.await(t, ended, func() bool { return o.served.Load() >= liveHours && o.compact.Health().Waiting == 2 })
	o.await(t, ended, func() bool { return len(o.pending(t)) <= 2*slack })
	h := o.compact.Health()
	if !h.Healthy || len(h.Stuck) != 1 || h.Stuck[0].Hour != stuck.Hour() || h.Waiting != 2 {
		t.Errorf("health %+v, want green, 2 hours waiting and %s stuck", h, stuck.Hour())
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	left := o.pending(t)
	t.Logf("a restart reads %d of %d marks again", len(left), liveHours+3)
	for _, e := range []afterhours.Event{stuck, waiting} {
		if !slices.ContainsFunc(left, func(m dirty.Mark) bool { return m.Hour == e.Hour() }) {
			t.Errorf("hour %s is forgotten", e.Hour())
		}
	}
}

// offsets is a compactor on the embedded store, with marks on a topic of one
// partition.
type offsets struct {
	store   *storepebble.Store
	queue   *dirtykafka.Queue
	dir     string
	compact *compact.Compactor
	served  atomic.Int64
}

func newOffsets(t *testing.T) *offsets {
	t.Helper()
	o := &offsets{dir: t.TempDir()}
	quiet := slog.New(slog.DiscardHandler)
	var err error
	if o.store, err = storepebble.Open(t.TempDir(), storepebble.Options{Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	url := "kafka://" + testenv.Kafka(t) + "/" + testenv.Topic(t, "offsets") + "?partitions=1"
	if o.queue, err = dirtykafka.Open(t.Context(), url, quiet); err != nil {
		t.Fatal(err)
	}
	l, err := lake.Open(t.Context(), "file://"+o.dir, lake.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	cfg := compact.Defaults()
	cfg.Logger, cfg.Policy, cfg.StallAfter = quiet, compact.Policy{Grace: 24 * time.Hour}, time.Minute
	cfg.Types = map[string]compact.Policy{"live": {}, "stuck": {}}
	cfg.Finished = func(r compact.Outcome) {
		if r.Err == nil {
			o.served.Add(1)
		}
	}
	if o.compact, err = compact.New(o.store, l, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _, _ = l.Close(), o.queue.Close(), o.store.Close() })
	return o
}

func (o *offsets) event(eventType string, at time.Time) afterhours.Event {
	return afterhours.NewEvent("e", eventType, at, at, fmt.Appendf(nil, `{"type":%q}`, eventType))
}

func (o *offsets) ingest(t *testing.T, events ...afterhours.Event) {
	t.Helper()
	ingestEvents(t, o.store, o.queue, time.Now, events)
}

// truncate harms the only partition there is.
func (o *offsets) truncate(t *testing.T) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(o.dir, "*", "*", "*", "*.parquet"))
	if err != nil || len(found) != 1 {
		t.Fatalf("partitions %v, error %v", found, err)
	}
	if err := os.Truncate(found[0], 100); err != nil {
		t.Fatal(err)
	}
}

// run serves marks until ctx ends.
func (o *offsets) run(ctx context.Context, t *testing.T) <-chan error {
	t.Helper()
	marks, err := o.queue.Consume(ctx, "group", dirty.Options{Slack: slack})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := o.compact.Run(ctx, marks, o.queue)
		if e := marks.Close(); err == nil {
			err = e
		}
		ended <- err
	}()
	return ended
}

func (o *offsets) pending(t *testing.T) []dirty.Mark {
	t.Helper()
	marks, err := o.queue.Pending(t.Context(), "group")
	if err != nil {
		t.Fatal(err)
	}
	return marks
}

// await waits until something holds, at most three minutes.
func (o *offsets) await(t *testing.T, ended <-chan error, holds func() bool) {
	t.Helper()
	limit, look := time.After(3*time.Minute), time.NewTicker(200*time.Millisecond)
	defer look.Stop()
	for !holds() {
		select {
		case err := <-ended:
			t.Fatalf("the compactor ended: %v", err)
		case <-limit:
			t.Fatalf("%d hours served, %d marks pending after three minutes", o.served.Load(), len(o.pending(t)))
		case <-look.C:
		}
	}
}
