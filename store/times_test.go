package store

import (
	"testing"
	"time"
)

// An index row, which lives for two TTLs, outlives every row that is acknowledged
// while it is young, whatever the TTL.
func TestIndexRowsOutliveRows(t *testing.T) {
	for _, ttl := range []time.Duration{time.Second, time.Minute, 59 * time.Minute, time.Hour, 90 * time.Minute, 2 * time.Hour, 720 * time.Hour} {
		age := RenewalFor(ttl)
		if age <= 0 || age+ttl >= 2*ttl || age > Renewal {
			t.Errorf("rows live %s: a row that is acknowledged when its index row is %s old outlives it", ttl, age)
		}
	}
}

// No row is acknowledged into a lane that somebody takes for settled, though their
// clocks differ.
func TestSettledLanesGetNoRows(t *testing.T) {
	const day = 24 * time.Hour
	// The last row is acknowledged SharedFor after the end of the lane's day; the first
	// who takes the lane for settled does so SettledAfter whole days after that end.
	if room := time.Duration(SettledAfter)*day - SharedFor; room < Skew {
		t.Errorf("clocks may differ by %s, the room is %s", Skew, room)
	}
}
