package compact

import (
	"errors"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// TestWhyNotYet: the answer is what a schedule and a weighing make of the hour.
func TestWhyNotYet(t *testing.T) {
	ten := 10 * time.Minute
	older := func(s *fakeStore, _ *Compactor) {
		p := s.partitions[testHour]
		p.Version = "older"
		s.partitions[testHour] = p
	}
	for _, c := range []struct {
		name    string
		after   time.Duration // the mark
		change  func(*fakeStore, *Compactor)
		state   State
		decides string
		until   time.Duration // after the mark; 0: whatever the weighing gives
		rows    int64
	}{
		{"more may come", time.Minute, func(_ *fakeStore, c *Compactor) { c.cfg.Policy.RowWorth = 1 << 20 }, Quiet, "quiet", ten, 1},
		{"it is not worth it", time.Hour, func(*fakeStore, *Compactor) {}, Light, "row-worth", 0, 1},
		{"nor will it be, before it has waited for long enough", time.Hour, func(_ *fakeStore, c *Compactor) { c.cfg.Policy.RowWorth = 1 }, Light, "max-delay", 24 * time.Hour, 1},
		{"or before its rows may expire", time.Hour, func(s *fakeStore, c *Compactor) { c.cfg.Policy.RowWorth, s.ttl = 1, 16*time.Hour }, Light, "ttl", 2 * time.Hour, 1},
		{"rows are not weighed", time.Hour, func(_ *fakeStore, c *Compactor) { c.cfg.Policy.RowWorth = 0 }, Due, "quiet", ten, 1},
		{"it has waited for as long as it may", 25 * time.Hour, func(_ *fakeStore, c *Compactor) { c.cfg.Policy.RowWorth = 1 }, Due, "max-delay", 24 * time.Hour, 1},
		{"a rewrite was asked for", time.Minute, func(s *fakeStore, _ *Compactor) { s.requests["r"] = store.Request{Hour: testHour} }, Requested, "quiet", ten, 1},
		{"it is stuck", time.Hour, func(s *fakeStore, _ *Compactor) { s.stuck[testHour] = store.Stuck{Hour: testHour} }, Stuck, "row-worth", 0, 1},
		{"another object is there", time.Hour, older, Due, "quiet", ten, 1},
		{"every row is published", time.Hour, func(s *fakeStore, _ *Compactor) { s.expire(testHour) }, Empty, "quiet", ten, 0},
		{"nothing is published", time.Minute, func(s *fakeStore, _ *Compactor) { clear(s.partitions) }, Quiet, "quiet", ten, 11},
		{"it is not over", time.Minute, func(_ *fakeStore, c *Compactor) { c.cfg.Policy.Grace = 9 * time.Hour }, Running, "grace", 8 * time.Hour, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, s, stays := weighed(t, c.after)
			c.change(s, k)
			q := newFakeQueue(false)
			q.log = append(q.log, markAt(testHour, 0, stays.first.Time()), markAt(afterhours.HourOf("other", testHour.Start), 1, noon))
			y, err := k.WhyNotYet(t.Context(), q, "g", testHour)
			if err != nil {
				t.Fatal(err)
			}
			var decides string
			for _, m := range y.Terms {
				if m.Decides {
					decides += m.Name
					if !m.At.Equal(y.Until) {
						t.Errorf("%s decides with %s", m.Name, m.At)
					}
				}
			}
			if y.State != c.state || decides != c.decides || y.Rows != c.rows {
				t.Errorf("state %s by %s with %d rows, want %s by %s with %d", y.State, decides, y.Rows, c.state, c.decides, c.rows)
			}
			if got := y.Until.Sub(stays.first.Time()); c.until > 0 && got != c.until {
				t.Errorf("until %s after the mark, want %s", got, c.until)
			}
			k.agrees(t, y, stays)
		})
	}
}

// agrees fails unless a rewrite of the hour by a daemon does what the answer says.
func (c *Compactor) agrees(t *testing.T, y Why, stays stay) {
	t.Helper()
	if y.State != Light && y.State != Due {
		return
	}
	s := c.emptySchedule(false)
	s.take(markAt(testHour, 0, stays.first.Time()))
	out := c.rewriteIn(t.Context(), testHour, anyClass, s.stay(s.hours[testHour]))
	var wait NotYet
	if errors.As(out.Err, &wait) != (y.State == Light) || y.State == Light && !wait.Until.Equal(y.Until) {
		t.Errorf("the answer is %s until %s, but the rewrite ended with %v", y.State, y.Until, out.Err)
	}
}

// TestWhyNothingWaits: without a mark of the hour, what is there decides.
func TestWhyNothingWaits(t *testing.T) {
	for want, change := range map[State]func(*fakeStore){
		Settled:   func(*fakeStore) {},
		Unmarked:  func(s *fakeStore) { clear(s.partitions) },
		Stuck:     func(s *fakeStore) { s.stuck[testHour] = store.Stuck{Hour: testHour} },
		Requested: func(s *fakeStore) { s.requests["r"] = store.Request{Hour: testHour} },
	} {
		c, s, _ := weighed(t, time.Hour)
		change(s)
		if y, err := c.WhyNotYet(t.Context(), newFakeQueue(false), "g", testHour); err != nil || y.State != want || !y.Until.IsZero() || y.Terms != nil {
			t.Errorf("%+v, %v; want %s", y, err, want)
		}
	}
}

// TestStatusKnowsTheLatest: marks alone do not tell whether rows outweigh a partition.
func TestStatusKnowsTheLatest(t *testing.T) {
	c, _, stays := weighed(t, time.Hour)
	q := newFakeQueue(false)
	q.log = append(q.log, markAt(testHour, 0, stays.first.Time()))
	for worth, latest := range map[int64]time.Duration{100: 24 * time.Hour, 0: 10 * time.Minute} {
		c.cfg.Policy.RowWorth = worth
		got, err := c.Status(t.Context(), q, "g")
		if err != nil {
			t.Fatal(err)
		}
		w := got.Waiting[0]
		if first := stays.first.Time(); !w.Due.Equal(first.Add(10*time.Minute)) || !w.Latest.Equal(first.Add(latest)) {
			t.Errorf("row-worth %d: due %s, at the latest %s; want the latest %s after the mark", worth, w.Due, w.Latest, latest)
		}
	}
}
