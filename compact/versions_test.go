package compact

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
)

// sweptLongAgo is an hour of two stragglers in the shared lane of a day that sweeps
// pass over by now, and a file with its first partition, which lacks the second.
func sweptLongAgo(t *testing.T) (c *Compactor, path, first string) {
	s := newFakeStore()
	l, dir := openLake(t)
	c = newCompactor(t, s, l)
	now := noon
	c.cfg.Now = func() time.Time { return now }
	s.shared(afterhours.DayOf(c.now()), afterhours.NewSegment(), 0, event(0))
	rewrite(t, c)
	path, first = object(t, dir), filepath.Join(t.TempDir(), "first.parquet")
	overwrite(t, first, contents(t, path))
	s.shared(afterhours.DayOf(c.now()), afterhours.NewSegment(), 0, event(1))
	rewrite(t, c)
	now = now.Add(10 * 24 * time.Hour)
	for range 2 {
		if _, marked := sweepOnce(t, c, false); len(marked) != 0 {
			t.Fatalf("marked %v, want nothing", marked)
		}
	}
	return c, path, first
}

// TestSweepBelievesTheLastOneOnlyOfTheSameObject: what an earlier sweep found
// complete is complete no more when somebody has put an older object in its place,
// or removed it.
func TestSweepBelievesTheLastOneOnlyOfTheSameObject(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, path, first string){
		"went back": func(t *testing.T, path, first string) { overwrite(t, path, contents(t, first)) },
		"vanished": func(t *testing.T, path, _ string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, path, first := sweptLongAgo(t)
			harm(t, path, first)
			if _, marked := sweepOnce(t, c, false); len(marked) != 1 {
				t.Errorf("marked %v, want the hour", marked)
			}
		})
	}
}

// TestSweepFindsThatAPartitionWentBack: also if no row can be read any more that
// would tell.
func TestSweepFindsThatAPartitionWentBack(t *testing.T) {
	c, path, first := sweptLongAgo(t)
	s := c.store.(*fakeStore)
	s.expire(testHour)
	delete(s.lanes, testHour)
	overwrite(t, path, contents(t, first))
	if _, marked := sweepOnce(t, c, false); len(marked) != 1 {
		t.Fatalf("marked %v, want the hour", marked)
	}
	rewrite(t, c)
	if _, marked := sweepOnce(t, c, false); len(marked) != 0 {
		t.Errorf("marked %v again, want nothing", marked)
	}
}

// brokenMarker cannot mark.
type brokenMarker struct{}

func (brokenMarker) Mark(context.Context, ...afterhours.Hour) error { return errors.New("down") }

// TestSweepFindsWhatARestorationDidNotMark: it died after its publish, and so did
// the first sweep after it, when both were to mark the hour. What the board says
// by then must not hide the hour from the next sweep.
func TestSweepFindsWhatARestorationDidNotMark(t *testing.T) {
	c, _, first := sweptLongAgo(t)
	if out := c.Restore(t.Context(), brokenMarker{}, testHour, first); out.Err == nil || out.Rows != 1 {
		t.Fatalf("outcome %+v, want one row and that the mark failed", out)
	}
	if _, err := c.Sweep(t.Context(), brokenMarker{}, false); err == nil {
		t.Fatal("a sweep that cannot mark went well")
	}
	if _, marked := sweepOnce(t, c, false); len(marked) != 1 {
		t.Errorf("marked %v, want the hour", marked)
	}
	rewrite(t, c)
	wantEvents(t, c.lake, events(0, 2))
}

// TestNotesComeAfterTheBoard: who notes copies of a partition that the board does not
// know yet tells it first. Otherwise, when two crashes have kept the board behind and
// somebody puts an older object back, nothing tells that the notes do not hold for it.
func TestNotesComeAfterTheBoard(t *testing.T) {
	s := newFakeStore()
	l, dir := openLake(t)
	c := newCompactor(t, s, l)
	s.append(afterhours.NewSegment(), 0, event(0))
	rewrite(t, c)
	old := contents(t, object(t, dir))

	died := errors.New("died")
	s.Fault = func(op string, _ afterhours.Hour) (bool, error) {
		if op == "PutPartition" {
			return false, died
		}
		return true, nil
	}
	s.append(afterhours.NewSegment(), 0, event(1))
	if out := c.Rewrite(t.Context(), testHour); !errors.Is(out.Err, died) {
		t.Fatalf("error %v, want that the board could not be told", out.Err)
	}
	s.expire(testHour)
	s.append(afterhours.NewSegment(), 0, event(1)) // a copy
	if out := c.Rewrite(t.Context(), testHour); !errors.Is(out.Err, died) {
		t.Fatalf("error %v, want that the board could not be told", out.Err)
	}

	s.Fault = nil
	overwrite(t, object(t, dir), old)
	rewrite(t, c)
	wantEvents(t, l, events(0, 2))
}

// TestBoardDoesNotGoBack: a compactor that was slow to tell of its publish finds that
// another has told of a later one. The board keeps that, or an object that goes back
// would not be noticed.
func TestBoardDoesNotGoBack(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	slow, other := newCompactor(t, s, l), newCompactor(t, s, l)
	s.append(afterhours.NewSegment(), 0, event(0))
	overtaken := false
	s.Fault = func(op string, _ afterhours.Hour) (bool, error) {
		if op == "PutPublications" && !overtaken {
			overtaken = true
			s.append(afterhours.NewSegment(), 0, event(1))
			rewrite(t, other)
		}
		return true, nil
	}
	rewrite(t, slow)
	if p := s.partitions[testHour]; !overtaken || p.Generation != 2 || p.Version != version(t, l) {
		t.Errorf("the board has generation %d, version %s; want 2 and that of the object, %s", p.Generation, p.Version, version(t, l))
	}
}
