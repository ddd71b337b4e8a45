package compact

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

func closedLane(bytes int64) []store.Lane {
	l := store.OwnLane(afterhours.NewSegment())
	l.Closed, l.Rows, l.Bytes = true, 1, bytes
	return []store.Lane{l}
}

// TestHoursShareTheBudget: hundreds of small hours have memory at once, a large one
// waits for it without holding up those that need another pool, and all is given
// back.
func TestHoursShareTheBudget(t *testing.T) {
	c := Defaults()
	c.Workers = 200
	pools := c.pools()
	var releases []func()
	sum := int64(0)
	for range 200 {
		memory, release, err := pools[smallClass].reserve(t.Context(), closedLane(2000), 0)
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
		sum += memory
	}
	if sum > c.Memory/2 {
		t.Errorf("%d bytes are reserved of %d", sum, c.Memory/2)
	}
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, _, err := pools[smallClass].reserve(soon, closedLane(60<<20), 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a large hour beside them: %v, want it to wait", err)
	}
	giant, release, err := pools[giantClass].reserve(t.Context(), closedLane(math.MaxInt64/2), 0)
	if err != nil || giant != c.Memory/2 {
		t.Errorf("a giant has %d bytes, %v; want %d", giant, err, c.Memory/2)
	}
	release()
	for _, release := range releases {
		release()
	}
	large, release, err := pools[smallClass].reserve(t.Context(), closedLane(60<<20), 0)
	if err != nil || large != largestShare {
		t.Errorf("a large hour has %d bytes, %v; want %d", large, err, largestShare)
	}
	release()
}

// TestNeed: rows are sorted in memory if there is room for them.
func TestNeed(t *testing.T) {
	open := closedLane(0)
	open[0].Closed = false
	for _, c := range []struct {
		lanes     []store.Lane
		partition int64
		want      int64
	}{
		{nil, 0, leastShare},
		{closedLane(5000), 0, leastShare},
		{open, 0, unknownShare},
		{closedLane(1 << 20), 0, 24 << 20},
		{closedLane(0), 1 << 20, 96 << 20},
	} {
		if got := need(c.lanes, c.partition); got != c.want {
			t.Errorf("%+v and %d bytes: %d, want %d", c.lanes, c.partition, got, c.want)
		}
	}
}
