package compact

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
)

// openLake returns a lake in a fresh directory, and the directory.
func openLake(t *testing.T) (*lake.Lake, string) {
	t.Helper()
	dir := t.TempDir()
	l, err := lake.Open(t.Context(), "file://"+dir, lake.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, dir
}

func newCompactor(t *testing.T, s Store, l Lake) *Compactor {
	t.Helper()
	cfg := Defaults()
	cfg.Logger = slog.New(slog.DiscardHandler)
	cfg.Retry, cfg.MaxRetry = 1, 2 // tests do not wait
	c, err := New(s, l, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// rewrite rewrites the test hour, which must go well.
func rewrite(t *testing.T, c *Compactor) Outcome {
	t.Helper()
	out := c.Rewrite(t.Context(), testHour)
	if out.Err != nil {
		t.Fatal(out.Err)
	}
	return out
}

// published returns the test hour's manifest and event IDs, in their order.
func published(t *testing.T, l Lake) (*lake.Manifest, []string) {
	t.Helper()
	b, err := l.Base(t.Context(), testHour)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Manifest == nil {
		return nil, nil
	}
	if err := b.Verify(); err != nil {
		t.Fatal(err)
	}
	var ids []string
	if err := b.Rows(func(c afterhours.Copies) error { ids = append(ids, c.ID); return nil }); err != nil {
		t.Fatal(err)
	}
	return b.Manifest, ids
}

// wantEvents fails unless the partition has exactly the events, each once.
func wantEvents(t *testing.T, l Lake, want []afterhours.Event) {
	t.Helper()
	_, got := published(t, l)
	slices.Sort(got)
	var ids []string
	for _, e := range want {
		ids = append(ids, e.ID)
	}
	slices.Sort(ids)
	if d := cmp.Diff(ids, got); d != "" {
		t.Errorf("event IDs of the partition (-want +got):\n%s", d)
	}
}

// TestLateEventDoesNotReplaceTheHour is promise 3: the raw rows have expired,
// and one more late event comes.
func TestLateEventDoesNotReplaceTheHour(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	seg := afterhours.NewSegment()
	s.close(testHour, s.append(seg, 0, events(0, 50)...))
	rewrite(t, c)
	s.expire(testHour)
	s.append(afterhours.NewSegment(), 0, event(50))
	if out := rewrite(t, c); out.Before != 50 || out.Rows != 51 || out.Added != 1 {
		t.Errorf("outcome %+v, want 50 rows before and 51 after", out)
	}
	wantEvents(t, l, events(0, 51))
}

// TestHolesAreRead: a row below the largest merged number, which landed after a
// later one, is new all the same.
func TestHolesAreRead(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	seg := afterhours.NewSegment()
	s.append(seg, 0, event(0))
	s.append(seg, 2, event(2))
	rewrite(t, c)
	s.append(seg, 1, event(1))
	if out := rewrite(t, c); out.Added != 1 {
		t.Errorf("outcome %+v, want the row in the hole added", out)
	}
	m, _ := published(t, l)
	if got := m.Merged[seg].String(); got != "0-2" {
		t.Errorf("merged rows %s, want 0-2", got)
	}
	wantEvents(t, l, events(0, 3))
}

// TestNothingNewPublishesNothing: same object, same version, and closed lanes
// whose rows are all merged are not even read.
func TestNothingNewPublishesNothing(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	s.close(testHour, s.append(afterhours.NewSegment(), 0, events(0, 10)...))
	rewrite(t, c)
	before, _ := published(t, l)
	s.calls = nil
	if out := rewrite(t, c); !out.Unchanged {
		t.Errorf("outcome %+v, want unchanged", out)
	}
	if after, _ := published(t, l); after.Generation != before.Generation {
		t.Errorf("generation %d after nothing new, was %d", after.Generation, before.Generation)
	}
	if slices.ContainsFunc(s.calls, func(c string) bool { return strings.HasPrefix(c, "ReadRows") }) {
		t.Errorf("a complete lane was read again: %v", s.calls)
	}
}

// TestClosedLaneWithMissingRowsIsRead: closed says how many rows there are, not
// that they are merged.
func TestClosedLaneWithMissingRowsIsRead(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	seg := afterhours.NewSegment()
	s.append(seg, 0, event(0))
	rewrite(t, c)
	s.close(testHour, s.append(seg, 1, event(1)))
	rewrite(t, c)
	wantEvents(t, l, events(0, 2))
}

// orderedLake notes when a base is read, among the store's calls.
type orderedLake struct {
	Lake
	s *fakeStore
}

func (o orderedLake) Base(ctx context.Context, h afterhours.Hour) (*lake.Base, error) {
	o.s.mu.Lock()
	o.s.calls = append(o.s.calls, "Base "+h.String())
	o.s.mu.Unlock()
	return o.Lake.Base(ctx, h)
}

// TestIndexIsReadAfterTheBase: the other order forgets lanes that the base knows.
func TestIndexIsReadAfterTheBase(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	seg := afterhours.NewSegment()
	s.append(seg, 0, event(0))
	rewrite(t, newCompactor(t, s, l))
	s.append(seg, 1, event(1))
	s.calls = nil
	rewrite(t, newCompactor(t, s, orderedLake{l, s}))
	base := slices.Index(s.calls, "Base "+testHour.String())
	index := slices.Index(s.calls, "Lanes "+testHour.String())
	rows := slices.Index(s.calls, "ReadRows "+testHour.String())
	if base < 0 || base > index || index > rows {
		t.Errorf("calls %v, want the base, then the index, then the rows", s.calls)
	}
}

// TestFirstPublishReadsNoBase, unless it finds that somebody has published, or has
// nothing to publish.
func TestFirstPublishReadsNoBase(t *testing.T) {
	for what, c := range map[string]struct {
		published, row bool // somebody else has, which the board does not know; there is a row
		read           bool // the base is
	}{
		"first":       {row: true},
		"second":      {published: true, row: true, read: true},
		"nothing":     {read: true},
		"nothing new": {published: true, read: true},
	} {
		t.Run(what, func(t *testing.T) {
			l, _ := openLake(t)
			want := 0
			if c.published {
				other := newFakeStore()
				other.append(afterhours.NewSegment(), 0, events(10, 12)...)
				rewrite(t, newCompactor(t, other, l))
				want = 2
			}
			s := newFakeStore()
			if c.row {
				s.append(afterhours.NewSegment(), 0, event(0))
				want++
			}
			out := rewrite(t, newCompactor(t, s, orderedLake{l, s}))
			if read := slices.Contains(s.calls, "Base "+testHour.String()); read != c.read {
				t.Errorf("the base is read: %t; calls %v", read, s.calls)
			}
			if int(out.Rows) != want {
				t.Errorf("%d rows, want %d", out.Rows, want)
			}
		})
	}
}

// TestFailureAnywherePublishesNothingWrong fails every call of the store once,
// with and without effect: the partition stays as it was or is right, and the
// next rewrite makes it right.
func TestFailureAnywherePublishesNothingWrong(t *testing.T) {
	for _, op := range []string{"Requests", "Partition", "Lanes", "Columns", "Notes", "ReadRows", "PutPublications", "PutPartition", "DeleteRequest"} {
		for _, apply := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s applied=%v", op, apply), func(t *testing.T) {
				s := newFakeStore()
				l, _ := openLake(t)
				c := newCompactor(t, s, l)
				s.append(afterhours.NewSegment(), 0, events(0, 20)...)
				rewrite(t, c)
				s.append(afterhours.NewSegment(), 0, events(20, 40)...)
				if err := s.PutRequest(t.Context(), store.Request{Hour: testHour, ID: "r"}); err != nil {
					t.Fatal(err)
				}
				boom := errors.New("boom")
				s.Fault = func(o string, _ afterhours.Hour) (bool, error) {
					if o == op {
						return apply, boom
					}
					return true, nil
				}
				if out := c.Rewrite(t.Context(), testHour); !errors.Is(out.Err, boom) {
					t.Fatalf("error %v, want the store's", out.Err)
				}
				if _, ids := published(t, l); len(ids) != 20 && len(ids) != 40 {
					t.Errorf("the partition has %d rows, want the 20 of before or all 40", len(ids))
				}
				s.Fault = nil
				rewrite(t, c)
				wantEvents(t, l, events(0, 40))
				if len(s.requests) != 0 {
					t.Errorf("a served request is still there: %v", s.requests)
				}
			})
		}
	}
}

// racingLake publishes something else between the base and the publish.
type racingLake struct {
	*lake.Lake
	once sync.Once
	race func()
}

func (r *racingLake) Rewrite(b *lake.Base, o lake.RewriteOptions) (*lake.Rewrite, error) {
	r.once.Do(r.race)
	return r.Lake.Rewrite(b, o)
}

// TestLoserStartsAgainFromTheBase is promise 4: of two rewrites that read the
// same base, the one that publishes later loses nothing of the other.
func TestLoserStartsAgainFromTheBase(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	racing := &racingLake{Lake: l}
	racing.race = func() {
		lane := s.append(afterhours.NewSegment(), 0, events(10, 20)...)
		rewrite(t, newCompactor(t, s, l))
		delete(s.rows[testHour], lane.Name) // the base alone has them now
	}
	if out := rewrite(t, newCompactor(t, s, racing)); out.Conflicts != 1 {
		t.Errorf("%d conflicts, want 1", out.Conflicts)
	}
	wantEvents(t, l, events(0, 20))
}

// TestRebuild leaves the base out if the raw rows cover it, and merges if some
// of them have expired.
func TestRebuild(t *testing.T) {
	for _, expired := range []bool{false, true} {
		t.Run(fmt.Sprintf("expired=%v", expired), func(t *testing.T) {
			s := newFakeStore()
			l, _ := openLake(t)
			c := newCompactor(t, s, l)
			s.append(afterhours.NewSegment(), 0, events(0, 10)...)
			rewrite(t, c)
			before, _ := published(t, l)
			if expired {
				s.expire(testHour)
			}
			s.append(afterhours.NewSegment(), 0, events(10, 12)...)
			sum, err := c.Backfill(t.Context(), newFakeQueue(true), []afterhours.Hour{testHour}, true)
			if err != nil || sum.Rewritten != 1 {
				t.Fatalf("summary %+v, error %v", sum, err)
			}
			wantEvents(t, l, events(0, 12))
			after, _ := published(t, l)
			if (after.Lineage == before.Lineage) != expired {
				t.Errorf("lineage %s -> %s with expired=%v: a rebuild begins a new one, a merge does not", before.Lineage, after.Lineage, expired)
			}
			if after.Seen != 12 || after.Duplicates != 0 {
				t.Errorf("seen %d, duplicates %d, want 12 and 0", after.Seen, after.Duplicates)
			}
		})
	}
}

// TestDeclaredColumnReachesOldRows: a column declared later is filled for the
// rows that are published already, by a rebuild also without new rows.
func TestDeclaredColumnReachesOldRows(t *testing.T) {
	for _, expired := range []bool{false, true} {
		s := newFakeStore()
		l, _ := openLake(t)
		c := newCompactor(t, s, l)
		s.append(afterhours.NewSegment(), 0, events(0, 10)...)
		rewrite(t, c)
		s.columns["purchase"] = []afterhours.Column{{Name: "n", Field: "n", Type: afterhours.Int64}}
		if out := rewrite(t, c); !out.Unchanged {
			t.Errorf("a declaration alone caused a rewrite: %+v", out)
		}
		if expired {
			s.expire(testHour)
		}
		if _, err := c.Backfill(t.Context(), newFakeQueue(true), []afterhours.Hour{testHour}, true); err != nil {
			t.Fatal(err)
		}
		if m, _ := published(t, l); len(m.Columns) != 1 {
			t.Errorf("columns %v after the rebuild (expired=%v), want n", m.Columns, expired)
		}
		wantEvents(t, l, events(0, 10))
	}
}

// TestBackfillIsRecordedFirst: what a stopped backfill does not come to is
// served by the next drain, as it was asked for.
func TestBackfillIsRecordedFirst(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	q := newFakeQueue(true)
	s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	ctx, cancel := context.WithCancel(t.Context())
	s.Fault = func(op string, _ afterhours.Hour) (bool, error) {
		if op == "PutRequest" {
			cancel()
		}
		return true, nil
	}
	if _, err := c.Backfill(ctx, q, []afterhours.Hour{testHour}, false); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want that it was stopped", err)
	}
	s.Fault = nil
	if len(s.requests) != 1 || q.undone(t) != 1 {
		t.Fatalf("%d requests and %d marks were left behind, want 1 of each", len(s.requests), q.undone(t))
	}
	if _, err := c.Drain(t.Context(), q, Limits{}); err != nil {
		t.Fatal(err)
	}
	if len(s.requests) != 0 || q.undone(t) != 0 {
		t.Errorf("%d requests and %d marks after the drain, want none", len(s.requests), q.undone(t))
	}
	wantEvents(t, l, events(0, 10))
}

// TestFailedBackfillIsMarkedAgain: what became of an upload whose answer was lost is
// found out by whoever takes that mark, although the first one is served.
func TestFailedBackfillIsMarkedAgain(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	q := newFakeQueue(true)
	s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	died := errors.New("died")
	s.Fault = func(op string, _ afterhours.Hour) (bool, error) {
		if op == "PutPublications" {
			q.mu.Lock()
			q.log = nil // somebody served the mark
			q.mu.Unlock()
			return false, died
		}
		return true, nil
	}
	if _, err := c.Backfill(t.Context(), q, []afterhours.Hour{testHour}, false); !errors.Is(err, died) {
		t.Fatalf("error %v, want that the feed could not be told", err)
	}
	if n := q.undone(t); n != 1 {
		t.Errorf("%d marks are left, want one", n)
	}
}

// object returns the path of the test hour's object in a directory lake.
func object(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*", "*", "*", "*.parquet"))
	if err != nil || len(found) != 1 {
		t.Fatalf("objects %v, error %v", found, err)
	}
	return found[0]
}

// truncate cuts an object in half.
func truncate(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data[:len(data)/2], 0o600); err != nil {
		t.Fatal(err)
	}
}
