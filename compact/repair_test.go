package compact

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
)

func contents(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func overwrite(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestVanishedPartitionStopsTheHour: the object is gone, its raw rows too, and a
// late event comes. It must not become the whole hour.
func TestVanishedPartitionStopsTheHour(t *testing.T) {
	s := newFakeStore()
	l, dir := openLake(t)
	c := newCompactor(t, s, l)
	s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	rewrite(t, c)
	path := object(t, dir)
	old := contents(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s.expire(testHour)
	s.append(afterhours.NewSegment(), 0, event(10))

	q := newFakeQueue(true)
	if err := q.Mark(t.Context(), testHour); err != nil {
		t.Fatal(err)
	}
	if sum, err := c.Drain(t.Context(), q, Limits{}); err == nil || sum.Failed != 1 {
		t.Errorf("summary %+v, error %v; want the hour stopped", sum, err)
	}
	if m, _ := published(t, l); m != nil {
		t.Fatalf("a partition of %d rows was published", m.Rows)
	}
	if _, stuck := s.stuck[testHour]; !stuck || q.undone(t) != 1 {
		t.Errorf("stuck %v, %d marks; want the hour recorded and still marked", s.stuck, q.undone(t))
	}
	sum, err := c.Verify(t.Context(), q, func(Verified) error { return nil })
	if err != nil || sum.Broken != 1 {
		t.Errorf("verified %+v, error %v; want the hour broken", sum, err)
	}

	saved := filepath.Join(t.TempDir(), "saved.parquet")
	overwrite(t, saved, old)
	if !slices.ContainsFunc(q.log, func(m dirty.Mark) bool { return m.Since > 0 }) {
		t.Error("the hour that was given up was not moved to the end of the log: it holds the offset")
	}
	q = newFakeQueue(true)
	if out := c.Restore(t.Context(), q, testHour, saved); out.Err != nil || out.Rows != 10 {
		t.Fatalf("outcome %+v of the restoration", out)
	}
	if len(s.stuck) != 0 {
		t.Errorf("stuck %v after the restoration", s.stuck)
	}
	if _, err := c.Drain(t.Context(), q, Limits{}); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, l, events(0, 11))
	if m, _ := published(t, l); m.Generation != 3 {
		t.Errorf("generation %d, want 3: the one that vanished, the restored one, and one with what was new", m.Generation)
	}
}

// TestDiscard makes a new partition of the raw rows that are left, when the old one
// cannot be read or is gone; only then does it give anything up.
func TestDiscard(t *testing.T) {
	for name, harm := range map[string]func(*testing.T, string){
		"unreadable": truncate,
		"vanished":   func(t *testing.T, path string) { _ = os.Remove(path) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeStore()
			l, dir := openLake(t)
			c := newCompactor(t, s, l)
			s.append(afterhours.NewSegment(), 0, events(0, 10)...)
			rewrite(t, c)
			harm(t, object(t, dir))
			s.expire(testHour)
			s.append(afterhours.NewSegment(), 0, events(8, 12)...)
			if out := c.Rewrite(t.Context(), testHour); !isStuck(out.Err) {
				t.Fatalf("error %v, want that the hour is stuck", out.Err)
			}
			if out := c.Discard(t.Context(), testHour); out.Err != nil || out.Rows != 4 {
				t.Fatalf("outcome %+v, want the 4 events that are left", out)
			}
			wantEvents(t, l, events(8, 12))
			if m, _ := published(t, l); m.Generation != 2 {
				t.Errorf("generation %d, want 2", m.Generation)
			}
			if out := rewrite(t, c); !out.Unchanged {
				t.Errorf("outcome %+v afterwards, want nothing new", out)
			}
		})
	}
}

// TestRestoreRefusesWhatIsNotThePartition: another hour's file and a broken one
// change nothing.
func TestRestoreRefusesWhatIsNotThePartition(t *testing.T) {
	s := newFakeStore()
	l, dir := openLake(t)
	c := newCompactor(t, s, l)
	s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	rewrite(t, c)
	before := version(t, l)
	saved := filepath.Join(t.TempDir(), "saved.parquet")
	overwrite(t, saved, contents(t, object(t, dir)))
	q := newFakeQueue(true)
	other := afterhours.HourOf("other", testHour.Start)
	if out := c.Restore(t.Context(), q, other, saved); out.Err == nil {
		t.Error("an hour was restored from another hour's partition")
	}
	truncate(t, saved)
	if out := c.Restore(t.Context(), q, testHour, saved); out.Err == nil || errors.Is(out.Err, os.ErrNotExist) {
		t.Errorf("error %v, want that the file is broken", out.Err)
	}
	if version(t, l) != before || q.undone(t) != 0 {
		t.Error("a restoration that failed left something behind")
	}
}
