package compact

import (
	"context"
	"testing"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/lake"
)

// verified verifies everything and returns what was found of the test hour.
func verified(t *testing.T, c *Compactor, q Marker) (Verification, Verified) {
	t.Helper()
	var found Verified
	sum, err := c.Verify(t.Context(), q, func(v Verified) error { found = v; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return sum, found
}

// TestVerify is promise 6: the books of a right hour balance, missing rows are
// marked, and an object that lies is found out.
func TestVerify(t *testing.T) {
	s := newFakeStore()
	l, dir := openLake(t)
	c := newCompactor(t, s, l)
	q := newFakeQueue(true)
	s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	s.append(afterhours.NewSegment(), 0, events(0, 4)...)
	rewrite(t, c)
	sum, v := verified(t, c, q)
	if v.Problem != "" || v.Rows != 10 || v.Seen != 14 || v.Duplicates != 4 || v.Raw != 14 || sum.Behind+sum.Broken != 0 {
		t.Errorf("a right hour: %+v", v)
	}

	s.append(afterhours.NewSegment(), 0, events(10, 13)...)
	if _, v = verified(t, c, q); v.Missing != 3 || q.undone(t) != 1 {
		t.Errorf("an hour that is behind: %+v, %d marks; want 3 rows missing and the hour marked", v, q.undone(t))
	}
	if _, err := c.Drain(t.Context(), q, Limits{}); err != nil {
		t.Fatal(err)
	}
	if sum, v = verified(t, c, q); sum.Behind+sum.Broken != 0 {
		t.Errorf("after the drain: %+v", v)
	}

	truncate(t, object(t, dir))
	if sum, v = verified(t, c, q); sum.Broken != 1 || v.Problem == "" {
		t.Errorf("a truncated object: %+v", v)
	}
}

// TestVerifyFindsLostEvents: a manifest that names rows as merged whose events
// the partition does not have is the loss that books alone cannot see.
func TestVerifyFindsLostEvents(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	seg := afterhours.NewSegment()
	s.append(seg, 0, events(0, 10)...)
	rewrite(t, c)
	s.expire(testHour)
	s.append(seg, 0, events(20, 30)...) // the same rows now hold other events
	if sum, v := verified(t, c, newFakeQueue(true)); sum.Broken != 1 || v.Lost != 10 {
		t.Errorf("found %+v, want 10 lost events", v)
	}
}

// conflictingLake is a lake of which an object in a bucket is replaced while it is
// read for the first time.
type conflictingLake struct {
	Lake
	reads int
}

func (c *conflictingLake) Base(ctx context.Context, h afterhours.Hour) (*lake.Base, error) {
	if c.reads++; c.reads == 1 {
		return nil, lake.ErrConflict
	}
	return c.Lake.Base(ctx, h)
}

// TestVerifyReadsWhatWasPublishedMeanwhile: that an hour moves on is no error.
func TestVerifyReadsWhatWasPublishedMeanwhile(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	s.append(afterhours.NewSegment(), 0, events(0, 10)...)
	rewrite(t, newCompactor(t, s, l))
	racing := &conflictingLake{Lake: l}
	if _, v := verified(t, newCompactor(t, s, racing), newFakeQueue(true)); v.Rows != 10 || v.Problem != "" || racing.reads != 2 {
		t.Errorf("%+v after %d reads, want 10 rows at the second", v, racing.reads)
	}
}
