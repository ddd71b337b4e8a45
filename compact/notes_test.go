package compact

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// version returns the version of the test hour's object.
func version(t *testing.T, l Lake) string {
	t.Helper()
	b, err := l.Base(t.Context(), testHour)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	return b.Version()
}

// wantRead fails unless lanes were read n times since calls was cleared.
func wantRead(t *testing.T, s *fakeStore, n int) {
	t.Helper()
	read := 0
	for _, c := range s.calls {
		if strings.HasPrefix(c, "ReadRows") {
			read++
		}
	}
	if read != n {
		t.Errorf("%d lanes were read, want %d", read, n)
	}
	s.calls = nil
}

// TestReingestPublishesNothing: the same events again leave the object alone, are
// read once, and are in the books.
func TestReingestPublishesNothing(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	s.close(testHour, s.append(afterhours.NewSegment(), 0, events(0, 10)...))
	rewrite(t, c)
	before := version(t, l)
	s.close(testHour, s.append(afterhours.NewSegment(), 0, events(0, 10)...))
	if out := rewrite(t, c); !out.Unchanged || out.Duplicates != 10 {
		t.Errorf("outcome %+v, want 10 duplicates and no publish", out)
	}
	if after := version(t, l); after != before {
		t.Errorf("version %s after the same events again, was %s", after, before)
	}
	s.calls = nil
	rewrite(t, c)
	wantRead(t, s, 0)
	if p := s.partitions[testHour]; p.Seen != 20 || p.Duplicates != 10 || p.Rows != 10 {
		t.Errorf("the board has %+v, want 20 seen = 10 rows + 10 duplicates", p)
	}
	sum, err := c.Verify(t.Context(), newFakeQueue(true), func(Verified) error { return nil })
	if err != nil || sum.Seen != 20 || sum.Duplicates != 10 || sum.Raw != 20 || sum.Missing != 0 || sum.Broken != 0 {
		t.Errorf("verified %+v, error %v; want 20 raw rows seen, 10 of them duplicates, none missing", sum, err)
	}
}

// TestNotesAreFoldedIntoTheNextPublish: the manifest counts noted rows once, and
// from then on without their notes.
func TestNotesAreFoldedIntoTheNextPublish(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	rewrite(t, c)
	s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	rewrite(t, c)
	for n := range 2 { // the notes are still there the second time
		s.append(afterhours.NewSegment(), 0, event(10+n))
		rewrite(t, c)
		m, _ := published(t, l)
		if m.Seen != int64(21+n) || m.Duplicates != 10 || m.Merged.Count() != int64(21+n) {
			t.Errorf("manifest has %d seen, %d duplicates, %d merged; want %d, 10, %d", m.Seen, m.Duplicates, m.Merged.Count(), 21+n, 21+n)
		}
	}
	wantEvents(t, l, events(0, 12))
}

// TestCopyThatWinsIsPublished: a copy received earlier changes the row, and one
// with another payload changes its conflict flag.
func TestCopyThatWinsIsPublished(t *testing.T) {
	earlier, other := event(0), event(1)
	earlier.Received -= 5
	other.Payload = []byte(`{"n":"another"}`)
	other.Received += 5
	for name, e := range map[string]afterhours.Event{"earlier": earlier, "conflict": other} {
		t.Run(name, func(t *testing.T) {
			s := newFakeStore()
			l, _ := openLake(t)
			c := newCompactor(t, s, l)
			s.append(afterhours.NewSegment(), 0, events(0, 10)...)
			rewrite(t, c)
			s.append(afterhours.NewSegment(), 0, e)
			if out := rewrite(t, c); out.Unchanged || out.Duplicates != 1 {
				t.Errorf("outcome %+v, want a publish with one duplicate", out)
			}
			s.append(afterhours.NewSegment(), 0, e)
			if out := rewrite(t, c); !out.Unchanged {
				t.Errorf("outcome %+v of the same copy again, want no publish", out)
			}
		})
	}
}

// TestNotesOfUnlistedLanesAreNotCounted: what the index does not list any more may
// have left the manifest, and a note that lives longer must not bring it back.
func TestNotesOfUnlistedLanesAreNotCounted(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	rewrite(t, c)
	s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	rewrite(t, c)
	s.unlist(testHour)
	s.append(afterhours.NewSegment(), 0, event(10))
	rewrite(t, c)
	if m, _ := published(t, l); m.Seen != 11 || m.Duplicates != 0 {
		t.Errorf("manifest has %d seen, %d duplicates; want 11 and 0", m.Seen, m.Duplicates)
	}
	clear(s.partitions) // for the sweep to repair
	sweepOnce(t, c, true)
	if p := s.partitions[testHour]; p.Seen != 11 || p.Duplicates != 0 {
		t.Errorf("the swept board has %d seen, %d duplicates; want 11 and 0", p.Seen, p.Duplicates)
	}
	if len(s.notes) != 1 {
		t.Fatal("the test has no note any more")
	}
}

// TestNotesDoNotHoldForAnOlderObject: somebody puts an older version back, which
// lacks the event that a noted row is a copy of, while the other copy has expired.
func TestNotesDoNotHoldForAnOlderObject(t *testing.T) {
	s := newFakeStore()
	l, dir := openLake(t)
	c := newCompactor(t, s, l)
	s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	rewrite(t, c)
	old := contents(t, object(t, dir))
	s.append(afterhours.NewSegment(), 0, event(10))
	rewrite(t, c)
	s.expire(testHour)
	s.append(afterhours.NewSegment(), 0, event(10)) // a copy
	if out := rewrite(t, c); !out.Unchanged || out.Duplicates != 1 {
		t.Fatalf("outcome %+v, want the copy noted", out)
	}
	newest, _ := published(t, l)
	overwrite(t, object(t, dir), old)
	if out := rewrite(t, c); out.Added != 1 {
		t.Errorf("outcome %+v, want the event back", out)
	}
	wantEvents(t, l, events(0, 11))
	if m, _ := published(t, l); m.Lineage == newest.Lineage || m.Generation <= newest.Generation {
		t.Errorf("lineage %s generation %d, want another than %s and more than %d", m.Lineage, m.Generation, newest.Lineage, newest.Generation)
	}
}

// TestManyNotesArePublished: notes do not pile up for ever.
func TestManyNotesArePublished(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	rewrite(t, c)
	seg := afterhours.NewSegment()
	for n := range maxNoted + 1 {
		s.append(seg, uint32(2*n), event(n%10))
	}
	rewrite(t, c)
	if out := rewrite(t, c); out.Unchanged {
		t.Errorf("outcome %+v, want the notes in the manifest", out)
	}
	if m, _ := published(t, l); m.Seen != int64(10+maxNoted+1) {
		t.Errorf("the manifest has %d rows seen, want %d", m.Seen, 10+maxNoted+1)
	}
}

// shared puts events into the shared lane of a day.
func (s *fakeStore) shared(d afterhours.Day, seg afterhours.Segment, seq uint32, events ...afterhours.Event) {
	s.appendTo(store.SharedLane(d), seg, seq, events...)
}

// TestSettledLanesAreReadOnce: a shared lane is read until two days after its own,
// then never again; a row that lands in it by then is found.
func TestSettledLanesAreReadOnce(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	now := noon
	c.cfg.Now = func() time.Time { return now }
	today := afterhours.DayOf(afterhours.MicrosOf(now))
	seg, other := afterhours.NewSegment(), afterhours.NewSegment()
	s.shared(today, seg, 100, event(0))
	rewrite(t, c)
	s.calls = nil

	now = now.Add(24 * time.Hour)
	s.shared(today, seg, 250, event(1)) // late, but acknowledged in time
	s.shared(today+1, other, 7, event(2))
	rewrite(t, c)
	wantRead(t, s, 2)
	wantEvents(t, l, events(0, 3))

	now = now.Add(3 * 24 * time.Hour)
	last := afterhours.NewSegment()
	s.shared(today+4, last, 0, event(3))
	rewrite(t, c)
	wantRead(t, s, 3)
	s.shared(today+4, last, 1, event(4))
	rewrite(t, c)
	wantRead(t, s, 1)
	wantEvents(t, l, events(0, 5))
}

// TestManifestForgetsWhatHasExpired: a segment leaves the manifest when the index
// does not list its lane and its rows are past the TTL, and not before; the books
// keep counting it.
func TestManifestForgetsWhatHasExpired(t *testing.T) {
	for _, c := range []struct {
		name           string
		listed         bool
		after          time.Duration
		pruned, merged int64
	}{
		{"listed and expired", true, 60 * 24 * time.Hour, 0, 11},
		{"not listed, not expired", false, 10 * 24 * time.Hour, 0, 11},
		{"not listed and expired", false, 60 * 24 * time.Hour, 10, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newFakeStore()
			l, _ := openLake(t)
			k := newCompactor(t, s, l)
			now := noon.Add(2 * time.Hour)
			k.cfg.Now = func() time.Time { return now }
			s.append(afterhours.NewSegment(), 0, events(0, 5)...)
			s.shared(afterhours.DayOf(afterhours.MicrosOf(now)), afterhours.NewSegment(), 3, events(5, 10)...)
			rewrite(t, k)
			s.expire(testHour)
			if !c.listed {
				s.unlist(testHour)
			}
			now = now.Add(c.after)
			e := event(10)
			e.Received = afterhours.MicrosOf(now)
			s.append(afterhours.NewSegment(), 0, e)
			rewrite(t, k)
			m, _ := published(t, l)
			if m.Pruned != c.pruned || m.Merged.Count() != c.merged || m.Seen != 11 {
				t.Errorf("%d pruned, %d merged, %d seen; want %d, %d, 11", m.Pruned, m.Merged.Count(), m.Seen, c.pruned, c.merged)
			}
			wantEvents(t, l, events(0, 11))
		})
	}
}

// TestExpiredLanesAreNotRead: nothing of them is left but tombstones.
func TestExpiredLanesAreNotRead(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	now := noon
	c.cfg.Now = func() time.Time { return now }
	lane := s.append(afterhours.NewSegment(), 0, event(0))
	lane.Until = afterhours.MicrosOf(noon)
	s.lanes[testHour][lane.Name] = lane
	now = noon.Add(24*time.Hour - 1)
	rewrite(t, c)
	wantRead(t, s, 1)
	now = noon.Add(24 * time.Hour)
	rewrite(t, c)
	wantRead(t, s, 0)
}

// TestFeedMissesNoPublish: a crash after the upload, before the feed was told, is
// made up for by the next look at the hour, which finds nothing new.
func TestFeedMissesNoPublish(t *testing.T) {
	for _, op := range []string{"PutPublications", "PutPartition"} {
		s := newFakeStore()
		l, _ := openLake(t)
		c := newCompactor(t, s, l)
		s.append(afterhours.NewSegment(), 0, events(0, 10)...)
		rewrite(t, c)
		s.Fault = func(o string, _ afterhours.Hour) (bool, error) {
			if o == op {
				return false, fmt.Errorf("crash at %s", o)
			}
			return true, nil
		}
		for n := range 2 {
			s.append(afterhours.NewSegment(), 0, event(10+n))
			if out := c.Rewrite(t.Context(), testHour); out.Err == nil {
				t.Fatal("want the error of the board")
			}
		}
		s.Fault = nil
		if out := rewrite(t, c); !out.Unchanged {
			t.Fatalf("outcome %+v, want unchanged", out)
		}
		var got []int64
		err := c.Feed(t.Context(), 0, 1<<62, func(p store.Publication) error { got = append(got, p.Generation); return nil })
		if slices.Sort(got); err != nil || !slices.Equal(slices.Compact(got), []int64{1, 2, 3}) || s.partitions[testHour].Generation != 3 {
			t.Errorf("%s: the feed has generations %v and the board %d, want 1 to 3, and 3", op, got, s.partitions[testHour].Generation)
		}
	}
}
