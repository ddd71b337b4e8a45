package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"
)

// A record's payload is always the same, those of an event's copies differ, and
// its time lies in its hour.
func TestPayload(t *testing.T) {
	for serial := range 50 {
		r := record{serial: serial}
		b := payloadOf(r, noon)
		other := payloadOf(record{serial: serial, copy: 1}, noon)
		if !bytes.Equal(b, payloadOf(r, noon)) || bytes.Equal(b, other) {
			t.Errorf("%s, and a copy %s", b, other)
		}
		var e struct {
			ID   string    `json:"event_id"`
			Time time.Time `json:"event_time"`
		}
		if err := json.Unmarshal(b, &e); err != nil || parseID(e.ID) != serial || e.Time.Truncate(time.Hour) != noon.Start.Time() {
			t.Errorf("%s: %v", b, err)
		}
	}
}

// Events come for some dozens of hours, for the one under way only while it is
// open; among the records are copies, copies that differ, and broken ones, and the
// ledger knows them all.
func TestLoadIsMixed(t *testing.T) {
	open := false
	l := &load{ledger: &ledger{}, rng: rand.New(rand.NewPCG(1, 1)), open: func(time.Time) bool { return open }}
	now := time.Date(2026, 11, 20, 12, 30, 0, 0, time.UTC)
	under := 0
	for i := range 20_000 {
		open = i >= 10_000
		h := l.hour(now)
		if h.Contains(noon.Start) {
			if under++; !open {
				t.Fatal("an event of the hour under way, which is not open")
			}
		}
		l.next(h)
	}
	differ, hours := 0, map[string]bool{}
	for _, e := range l.ledger.events {
		hours[e.hour.String()] = true
		if len(e.copies) > 1 {
			differ++
		}
	}
	sent, _ := l.ledger.counts()
	if events := len(l.ledger.events); under == 0 || sent != 20_000 || differ < 300 || len(l.ledger.broken) < 50 || events > 18_500 || len(hours) < 20 || len(hours) > 40 {
		t.Errorf("%d records: %d events of %d hours, %d of the hour under way, %d came with differing payloads, %d broken",
			sent, events, len(hours), under, differ, len(l.ledger.broken))
	}
}
