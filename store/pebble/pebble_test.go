package pebble

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/internal/embedded"
	"github.com/afterhours/afterhours/store"
	"github.com/afterhours/afterhours/store/storetest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		os.Exit(writeUntilKilled(dir))
	}
	os.Exit(m.Run())
}

// TestContract shows that the embedded store keeps the contract.
func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, t.TempDir(), Options{}) })
}

// open opens a store that the test closes, or its end does.
func open(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// clock is a time that the test sets.
type clock struct{ atomic.Int64 }

func newClock() *clock {
	var c clock
	c.Store(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC).UnixMicro())
	return &c
}

func (c *clock) Now() time.Time            { return time.UnixMicro(c.Load()) }
func (c *clock) micros() afterhours.Micros { return afterhours.Micros(c.Load()) }
func (c *clock) pass(d time.Duration)      { c.Add(d.Microseconds()) }

var testHour = afterhours.HourOf("purchase", 1_795_000_000e6)

func numbered(seg afterhours.Segment, n int) []store.Row {
	rows := make([]store.Row, n)
	for i := range rows {
		rows[i].ID = afterhours.RowID{Segment: seg, Seq: uint32(i)}
		rows[i].Event = afterhours.Event{ID: seg.String(), Type: testHour.Type, Time: testHour.Start, Payload: []byte("{}")}
	}
	return rows
}

// fill writes a lane of its own with n rows.
func fill(t *testing.T, s *Store, wrote afterhours.Micros, n int) store.Lane {
	t.Helper()
	seg := afterhours.NewSegment()
	l := store.OwnLane(seg)
	if err := errors.Join(s.PutLane(t.Context(), testHour, l), s.Append(t.Context(), testHour, l.Name, wrote, numbered(seg, n))); err != nil {
		t.Fatal(err)
	}
	return l
}

func countRows(t *testing.T, s *Store, l store.Lane) int {
	t.Helper()
	n := 0
	if err := s.ReadRows(t.Context(), testHour, l, nil, func(store.Row) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func lanes(t *testing.T, s *Store) []store.Lane {
	t.Helper()
	ls, err := s.Lanes(t.Context(), testHour)
	if err != nil {
		t.Fatal(err)
	}
	return ls
}

func countHours(t *testing.T, s *Store) int {
	t.Helper()
	n := 0
	if err := s.Hours(t.Context(), func(afterhours.Hour) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// countKeys counts what is stored under a table's letter, expired or not.
func countKeys(t *testing.T, s *Store, table table) int {
	t.Helper()
	n := 0
	if err := s.scan(t.Context(), []byte{byte(table)}, []byte{byte(table) + 1}, func(_, _ []byte) ([]byte, error) { n++; return nil, nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestReopened shows that everything is there after the store was closed.
func TestReopened(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	l := fill(t, s, afterhours.MicrosOf(time.Now()), 500)
	l.Closed, l.Rows = true, 500
	cols := []afterhours.Column{{Name: "c", Field: "f", Type: afterhours.Double}}
	if err := errors.Join(s.PutLane(t.Context(), testHour, l), s.DeclareColumns(t.Context(), "purchase", cols), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	if n := countRows(t, s, l); n != 500 {
		t.Errorf("%d rows, want 500", n)
	}
	if got := lanes(t, s); len(got) != 1 || got[0].Until == 0 || got[0].Rows != 500 || !got[0].Closed {
		t.Errorf("lanes %v, want %v", got, l)
	}
	if got, err := s.Columns(t.Context(), "purchase"); err != nil || !slices.Equal(got, cols) {
		t.Errorf("columns %v, want %v, error %v", got, cols, err)
	}
}

// TestColumnsRace lets two declare at once so often that they meet within the few
// microseconds between reading and writing.
func TestColumnsRace(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	for round := range 300 {
		eventType, start, won := strconv.Itoa(round), make(chan struct{}), atomic.Int32{}
		var wg sync.WaitGroup
		for _, typ := range []afterhours.ColumnType{afterhours.Int64, afterhours.String} {
			wg.Go(func() {
				<-start
				err := s.DeclareColumns(t.Context(), eventType, []afterhours.Column{{Name: "c", Field: "f", Type: typ}})
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, store.ErrColumnConflict) {
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("round %d: %d won, want one", round, won.Load())
		}
	}
}

// TestInUse shows that the error is the store's.
func TestInUse(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, Options{})
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "embedded store "+dir) {
		t.Errorf("second open: %v", err)
	}
}

// TestCloseWhileReading shows that a reading under way ends with an error, and
// that Close waits for it.
func TestCloseWhileReading(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	l := fill(t, s, afterhours.MicrosOf(time.Now()), 1_000)
	visited, closed := 0, make(chan error, 1)
	err := s.ReadRows(t.Context(), testHour, l, nil, func(store.Row) error {
		if visited++; visited == 10 {
			go func() { closed <- s.Close() }()
			<-s.db.Lifetime().Done()
			_, _, err := s.db.Begin(t.Context()) // waits until Close has told all calls
			if !errors.Is(err, embedded.ErrClosed) {
				t.Error(err)
			}
		}
		return nil
	})
	if !errors.Is(err, embedded.ErrClosed) || visited != 10 {
		t.Errorf("visited %d rows, error %v, want 10 and %v", visited, err, embedded.ErrClosed)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// TestDamagedRow shows that a value that cannot be read, or lies under the wrong
// hour, is an error that names the row, never a row left out.
func TestDamagedRow(t *testing.T) {
	now := afterhours.MicrosOf(time.Now())
	fresh := binary.AppendVarint(nil, int64(now))
	wrong := afterhours.Event{ID: "e", Type: testHour.Type, Time: testHour.End()}
	for name, value := range map[string][]byte{
		"empty":             {},
		"no event":          fresh,
		"an unknown format": append(slices.Clone(fresh), 9, 9, 9),
		"another hour's":    store.AppendEvent(slices.Clone(fresh), wrong),
		"an endless varint": {0xff, 0xff},
		"a truncated event": append(slices.Clone(fresh), 1, 0, 0, 200),
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), Options{})
			l := fill(t, s, now, 3)
			seg, _ := l.Own()
			key := appendRowID(laneKey(rowTable, testHour, l.Name), afterhours.RowID{Segment: seg, Seq: 1})
			if err := s.db.Set(key, value, pebble.NoSync); err != nil {
				t.Fatal(err)
			}
			err := s.ReadRows(t.Context(), testHour, l, nil, func(store.Row) error { return nil })
			if err == nil || !strings.Contains(err.Error(), seg.String()+"/1") {
				t.Errorf("error %v, want one of row %s/1", err, seg)
			}
		})
	}
}

// TestHaveIsNotRead shows that runs of rows which the reader has are jumped
// over: a row inside one that cannot be decoded is not even noticed.
func TestHaveIsNotRead(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	l := fill(t, s, afterhours.MicrosOf(time.Now()), 10)
	seg, _ := l.Own()
	key := appendRowID(laneKey(rowTable, testHour, l.Name), afterhours.RowID{Segment: seg, Seq: 5})
	if err := s.db.Set(key, nil, pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	for _, have := range []afterhours.Ranges{{{First: 5, Last: 5}}, {{First: 2, Last: 5}}, {{First: 0, Last: math.MaxUint32}}} {
		n := 0
		err := s.ReadRows(t.Context(), testHour, l, afterhours.RowSet{seg: have}, func(store.Row) error { n++; return nil })
		if want := 10 - int(min(have.Count(), 10)); err != nil || n != want {
			t.Errorf("have %s: %d rows, want %d, error %v", have, n, want, err)
		}
	}
}
