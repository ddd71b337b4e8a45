package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// The shape of the sample: two waves of events of three types over six hours,
// three days ago.
const (
	sampleHours     = 6
	sampleDuplicate = 0.03 // of the events are sent twice
	sampleLate      = 0.04 // of the first wave come after their hour
	sampleBroken    = 12   // lines of the first wave are no events
	sampleStraggler = 0.02 // as many events again come days late
)

var sampleTypes = []struct {
	name  string
	share float64
}{{"page_view", 0.80}, {"search", 0.15}, {"purchase", 0.05}}

var countries = []string{"ES", "US", "TR", "FR", "DE", "BR"}

// sample writes JSON lines as a mobile app's backend would send them.
type sample struct {
	rng   *rand.Rand
	start time.Time // of the first hour
	next  int       // number of the next event
}

// newSample returns the sample of the hours that began three days before now.
// The same now gives the same events.
func newSample(now time.Time) *sample {
	start := now.UTC().Truncate(time.Hour).Add(-72 * time.Hour)
	return &sample{rng: rand.New(rand.NewPCG(uint64(start.Unix()), 1)), start: start}
}

// writeWaves writes both waves below dir and returns their paths.
func (s *sample) writeWaves(dir string, events int) (first, second string, err error) {
	first, second = filepath.Join(dir, "wave-1.jsonl"), filepath.Join(dir, "wave-2.jsonl")
	if err = s.write(first, events, s.promptly, sampleBroken); err != nil {
		return "", "", err
	}
	return first, second, s.write(second, int(float64(events)*sampleStraggler), s.daysLate, 0)
}

// write writes one wave; delay says how long after it happened an event comes.
func (s *sample) write(path string, events int, delay func() time.Duration, broken int) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write sample: %w", err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	for i := range events {
		line := s.event(delay())
		fmt.Fprintln(w, line)
		if s.rng.Float64() < sampleDuplicate {
			fmt.Fprintln(w, line)
		}
		if broken > 0 && i%(events/broken+1) == events/broken/2 {
			fmt.Fprintln(w, line[:len(line)/2]) // a sender that was cut off
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write sample %s: %w", path, err)
	}
	return f.Close()
}

// event makes one event that is received after the delay.
func (s *sample) event(delay time.Duration) string {
	at := s.start.Add(time.Duration(s.rng.Int64N(int64(sampleHours * time.Hour))))
	kind, pick := sampleTypes[0].name, s.rng.Float64()
	for _, t := range sampleTypes {
		if kind = t.name; pick < t.share {
			break
		}
		pick -= t.share
	}
	s.next++
	return fmt.Sprintf(`{"event_id":"evt-%07d","event_type":%q,"event_time":%q,"received_at":%q,"user_id":"u%05d","country":%q,"amount":%.2f,"items":%d}`,
		s.next, kind, at.Format(time.RFC3339Nano), at.Add(delay).Format(time.RFC3339Nano),
		s.rng.IntN(2000), countries[s.rng.IntN(len(countries))], s.rng.Float64()*90+5, s.rng.IntN(4)+1)
}

// promptly is the delay of the first wave: seconds, for some an hour or more.
func (s *sample) promptly() time.Duration {
	d := time.Duration(s.rng.ExpFloat64() * float64(4*time.Second))
	if s.rng.Float64() < sampleLate {
		d += time.Hour + time.Duration(s.rng.ExpFloat64()*float64(2*time.Hour))
	}
	return d
}

// daysLate is the delay of phones that were switched off.
func (s *sample) daysLate() time.Duration {
	return 48*time.Hour + time.Duration(s.rng.Int64N(int64(12*time.Hour)))
}
