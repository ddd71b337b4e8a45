package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/compact"
	dirtypebble "github.com/afterhours/afterhours/dirty/pebble"
	"github.com/afterhours/afterhours/ingest"
	"github.com/afterhours/afterhours/internal/testenv"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
	"github.com/afterhours/afterhours/store/cassandra"
	storepebble "github.com/afterhours/afterhours/store/pebble"
)

// The year that is simulated, and how long raw rows live in it.
const (
	weeks  = 52
	week   = 7 * 24 * time.Hour
	rawTTL = 30 * 24 * time.Hour

	// cassandraTTL stands for rawTTL on a real server, whose clock is not ours.
	cassandraTTL = 3 * time.Second
)

// clock is a simulated one.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// yearStore is a store whose time passes with the simulated clock. It counts what
// is read.
type yearStore struct {
	store.Store
	pass  func(time.Duration) // lets rows grow older
	wrote func(afterhours.Micros) afterhours.Micros

	mu          sync.Mutex
	lanes, rows int
}

func (y *yearStore) TTL() time.Duration { return rawTTL }

func (y *yearStore) Append(ctx context.Context, h afterhours.Hour, lane string, wrote afterhours.Micros, rows []store.Row) error {
	return y.Store.Append(ctx, h, lane, y.wrote(wrote), rows)
}

// Lanes leaves out when lanes expire, so that expired ones are read as well, with
// whatever tombstones they have.
func (y *yearStore) Lanes(ctx context.Context, h afterhours.Hour) ([]store.Lane, error) {
	lanes, err := y.Store.Lanes(ctx, h)
	for i := range lanes {
		lanes[i].Until = 0
	}
	return lanes, err
}

func (y *yearStore) ReadRows(ctx context.Context, h afterhours.Hour, l store.Lane, have afterhours.RowSet, visit func(store.Row) error) error {
	y.count(1, 0)
	return y.Store.ReadRows(ctx, h, l, have, func(r store.Row) error {
		y.count(0, 1)
		return visit(r)
	})
}

func (y *yearStore) count(lanes, rows int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.lanes += lanes
	y.rows += rows
}

// read returns what was read since it was last called.
func (y *yearStore) read() (lanes, rows int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	lanes, rows = y.lanes, y.rows
	y.lanes, y.rows = 0, 0
	return lanes, rows
}

// embeddedYear is the embedded store on the simulated clock.
func embeddedYear(t *testing.T, c *clock) *yearStore {
	s, err := storepebble.Open(t.TempDir(), storepebble.Options{TTL: rawTTL, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &yearStore{Store: s, pass: c.pass, wrote: func(at afterhours.Micros) afterhours.Micros { return at }}
}

// cassandraYear is Cassandra with a TTL of seconds. Rows are written with the real
// time, which passes in proportion.
func cassandraYear(t *testing.T, c *clock) *yearStore {
	s, err := cassandra.Open(t.Context(), testenv.Keyspace(t)+"?ttl="+cassandraTTL.String(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &yearStore{
		Store: s,
		wrote: func(afterhours.Micros) afterhours.Micros { return afterhours.MicrosOf(time.Now()) },
		pass: func(d time.Duration) {
			c.pass(d)
			time.Sleep(time.Duration(float64(d) * float64(cassandraTTL) / float64(rawTTL)))
		},
	}
}

// TestYear is a year of an hour that gets one straggler a week, from a new process
// each time, and every fourth week a copy of one that it has: nothing is lost, the
// manifest stays small, and a rewrite reads what is new and the receipt day before.
func TestYear(t *testing.T) {
	for name, open := range map[string]func(*testing.T, *clock) *yearStore{"embedded": embeddedYear, "cassandra": cassandraYear} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &clock{now: time.Date(2026, 1, 1, 0, 30, 0, 0, time.UTC)}
			y := &year{clock: c, store: open(t, c), hour: afterhours.HourOf("purchase", afterhours.MicrosOf(c.now))}
			y.open(t)
			y.run(t)
		})
	}
}

// year is the hour and what it is kept in.
type year struct {
	clock   *clock
	store   *yearStore
	hour    afterhours.Hour
	lake    *lake.Lake
	marks   *dirtypebble.Queue
	compact *compact.Compactor
	kept    int // events acknowledged
	largest int64
}

func (y *year) open(t *testing.T) {
	var err error
	if y.lake, err = lake.Open(t.Context(), "file://"+t.TempDir(), lake.Options{Now: y.clock.Now}); err != nil {
		t.Fatal(err)
	}
	if y.marks, err = dirtypebble.Open(t.TempDir(), dirtypebble.Options{}); err != nil {
		t.Fatal(err)
	}
	cfg := compact.Defaults()
	cfg.Now, cfg.Logger = y.clock.Now, slog.New(slog.DiscardHandler)
	if y.compact, err = compact.New(y.store, y.lake, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = y.lake.Close(), y.marks.Close() })
}

func (y *year) event(n int) afterhours.Event {
	at := y.hour.Start.Time().Add(time.Duration(n) * time.Second)
	return afterhours.NewEvent(fmt.Sprintf("e%05d", n), "purchase", at, y.clock.Now(), fmt.Appendf(nil, `{"n":%d}`, n))
}

func (y *year) ingest(t *testing.T, events ...afterhours.Event) {
	t.Helper()
	ingestEvents(t, y.store, y.marks, y.clock.Now, events)
}

// ingestEvents writes events as a process of its own would, which ends then.
func ingestEvents(t *testing.T, s ingest.Store, marks ingest.Marks, now func() time.Time, events []afterhours.Event) {
	t.Helper()
	w := ingest.New(s, marks, ingest.Options{Now: now, Log: slog.New(slog.DiscardHandler)})
	done := make(chan error, 1)
	go func() { done <- w.Run(t.Context()) }()
	for _, e := range events {
		if err := w.Write(t.Context(), e, ingest.Record{}, func() {}); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// rewrite brings the partition up to date and checks what it holds and what was
// read for it.
func (y *year) rewrite(t *testing.T, mostLanes, mostRows int) {
	t.Helper()
	y.store.read()
	if out := y.compact.Rewrite(t.Context(), y.hour); out.Err != nil || out.Rows != int64(y.kept) {
		t.Fatalf("at %s: %d rows, want %d (%v)", y.clock.Now(), out.Rows, y.kept, out.Err)
	}
	if lanes, rows := y.store.read(); lanes > mostLanes || rows > mostRows {
		t.Errorf("at %s: %d lanes and %d rows were read, want at most %d and %d", y.clock.Now(), lanes, rows, mostLanes, mostRows)
	}
	b, err := y.lake.Base(t.Context(), y.hour)
	if err != nil {
		t.Fatal(err)
	}
	y.largest = max(y.largest, b.ManifestSize())
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

func (y *year) run(t *testing.T) {
	const busy = 500
	var first []afterhours.Event
	for n := range busy {
		first = append(first, y.event(n))
	}
	y.ingest(t, first...)
	y.kept = busy
	y.rewrite(t, 10, busy)
	for n := range weeks {
		y.store.pass(week)
		y.ingest(t, y.event(busy+n))
		y.kept++
		y.rewrite(t, 2, 2)
		if n%4 == 3 {
			y.ingest(t, y.event(busy+n))
			y.rewrite(t, 2, 2)
		}
	}
	if y.largest > 4<<10 {
		t.Errorf("the manifest grew to %d bytes, want it to forget what has expired", y.largest)
	}
	y.books(t)
	t.Logf("%d rows, manifest at most %d bytes", y.kept, y.largest)
}

// books recounts everything: each copy was seen once.
func (y *year) books(t *testing.T) {
	t.Helper()
	sum, err := y.compact.Verify(t.Context(), y.marks, func(v compact.Verified) error {
		if v.Problem != "" {
			t.Errorf("%s: %s", v.Hour, v.Problem)
		}
		return nil
	})
	if err != nil || sum.Rows != int64(y.kept) || sum.Missing != 0 {
		t.Errorf("verified %+v, error %v; want %d rows and none missing", sum, err, y.kept)
	}
	if sum.Seen != int64(y.kept)+weeks/4 || sum.Duplicates != weeks/4 {
		t.Errorf("%d rows seen and %d duplicates, want %d and %d", sum.Seen, sum.Duplicates, y.kept+weeks/4, weeks/4)
	}
}
