package compact

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// TestHealthIsAboutProgress: red only when hours are due and none is served; a
// stuck hour is named and does not count.
func TestHealthIsAboutProgress(t *testing.T) {
	var h health
	s := newSchedule(always(Policy{}), true)
	now := noon
	look := func(after time.Duration) Health {
		now = now.Add(after)
		h.look(now, s, 15*time.Minute, 30*24*time.Hour)
		return h.now()
	}
	if got := look(0); !got.Healthy {
		t.Errorf("with nothing to do: %+v", got)
	}
	stuck, other := testHour, afterhours.HourOf("other", testHour.Start)
	s.take(markAt(stuck, 1, noon))
	w := s.start(now, true)
	w.stuck = true
	s.failed(w, now.Add(time.Hour))
	h.stick(store.Stuck{Hour: stuck, Reason: "unreadable"})
	if got := look(time.Hour); !got.Healthy || len(got.Stuck) != 1 || got.Stuck[0].Hour != stuck {
		t.Errorf("with a stuck hour alone: %+v, want green, and the hour named", got)
	}
	s.take(markAt(other, 2, noon))
	if got := look(14 * time.Minute); !got.Healthy || got.Due != 1 {
		t.Errorf("with a due hour for a while: %+v, want green and 1 due", got)
	}
	if got := look(16 * time.Minute); got.Healthy || got.Reason == "" {
		t.Errorf("with a due hour for too long: %+v, want red and a reason", got)
	}
	w = s.start(now, true)
	s.failed(w, now.Add(time.Hour))
	if got := look(time.Minute); got.Healthy {
		t.Errorf("with an hour that fails again and again: %+v, want red", got)
	}
	h.progress(now)
	if got := look(time.Minute); !got.Healthy {
		t.Errorf("after another hour was served: %+v, want green", got)
	}
}

// TestHealthSaysWhy: a reason for a stall names the last error, until something
// goes well.
func TestHealthSaysWhy(t *testing.T) {
	var h health
	s := newSchedule(always(Policy{}), true)
	h.look(noon, s, time.Minute, 30*24*time.Hour)
	s.take(markAt(testHour, 1, noon))
	h.failed(errors.New("the disk is full"))
	h.look(noon.Add(2*time.Minute), s, time.Minute, 30*24*time.Hour)
	got := h.now()
	if len(got.Problems) != 1 || got.Problems[0].Check != "progress" || got.Problems[0].Remedy == "" || !strings.Contains(got.Reason, "the disk is full") {
		t.Errorf("%+v, want one problem with its cause and a remedy", got)
	}
	h.progress(noon)
	h.look(noon.Add(2*time.Minute), s, time.Minute, 30*24*time.Hour)
	if got := h.now(); strings.Contains(got.Reason, "disk") {
		t.Errorf("%s, want no word on an error before the last success", got.Reason)
	}
}

// TestOldMarksAreRed: an hour that waits for more than a quarter of the raw rows'
// TTL is red, whether it is due, being rewritten or stuck, and although others are
// served; the mark tells since when it waits, also if it was made again.
func TestOldMarksAreRed(t *testing.T) {
	const ttl = 40 * time.Hour
	other := afterhours.HourOf("other", testHour.Start)
	for name, c := range map[string]struct {
		then   func(*schedule)
		remedy string
	}{
		"waits":           {func(*schedule) {}, "--max-delay"},
		"is rewritten":    {func(s *schedule) { s.start(noon.Add(24*time.Hour), true) }, "--max-delay"},
		"fails":           {func(s *schedule) { s.failed(s.start(noon.Add(24*time.Hour), true), noon) }, "rewrites fail"},
		"is stuck":        {func(s *schedule) { w := s.start(noon.Add(24*time.Hour), true); w.stuck = true; s.failed(w, noon) }, "compactor status"},
		"is marked again": {func(s *schedule) { s.take(markAt(testHour, 2, noon.Add(9*time.Hour))) }, "--max-delay"},
		"was moved": {func(s *schedule) {
			s.revoke([]int32{0})
			m := markAt(testHour, 2, noon.Add(9*time.Hour))
			m.Since = afterhours.MicrosOf(noon)
			s.take(m)
		}, "--max-delay"},
	} {
		t.Run(name, func(t *testing.T) {
			var h health
			s := newSchedule(always(Policy{MaxDelay: 100 * time.Hour, Quiet: time.Hour}), false)
			s.take(markAt(testHour, 1, noon))
			c.then(s)
			s.take(markAt(other, 3, noon.Add(9*time.Hour)))
			look := func(after time.Duration) Health {
				h.progress(noon.Add(after))
				h.look(noon.Add(after), s, time.Minute, ttl)
				return h.now()
			}
			if got := look(10 * time.Hour); !got.Healthy || !got.Oldest.Equal(noon) {
				t.Errorf("after a quarter of the TTL: %+v, want green, waiting since %s", got, noon)
			}
			got := look(10*time.Hour + time.Second)
			if got.Healthy || len(got.Problems) != 1 || got.Problems[0].Check != "age" {
				t.Fatalf("after more than a quarter of the TTL: %+v, want red for the age alone", got)
			}
			if p := got.Problems[0]; !strings.Contains(p.Reason, testHour.String()) || !strings.Contains(p.Remedy, c.remedy) {
				t.Errorf("%+v, want the hour, and a remedy with %q", p, c.remedy)
			}
			s.revoke([]int32{0})
			for _, w := range s.busy {
				s.served(w)
			}
			if got := look(11 * time.Hour); !got.Healthy || !got.Oldest.IsZero() {
				t.Errorf("when nothing waits: %+v, want green", got)
			}
		})
	}
}

// TestRunTellsTheAge: a daemon compares its marks with the store's own TTL.
func TestRunTellsTheAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		s.ttl = 8 * time.Hour
		l, _ := openLake(t)
		c := newCompactor(t, s, l)
		c.cfg.Policy, c.cfg.StallAfter = Policy{Grace: time.Hour}, 24*time.Hour
		c.cfg.Retry, c.cfg.MaxRetry = time.Minute, time.Minute
		s.Fault = func(op string, _ afterhours.Hour) (bool, error) {
			if op == "Lanes" {
				return false, errors.New("no rewrite today")
			}
			return true, nil
		}
		q := newFakeQueue(false)
		if err := q.Mark(t.Context(), afterhours.HourOf("waits", afterhours.MicrosOf(time.Now().Add(3*time.Hour)))); err != nil {
			t.Fatal(err)
		}
		end := runInBackground(t, c, q)
		time.Sleep(119 * time.Minute)
		if h := c.Health(); !h.Healthy || h.Waiting != 1 {
			t.Errorf("before two hours: %+v, want green", h)
		}
		time.Sleep(2 * time.Minute)
		if h := c.Health(); h.Healthy || h.Hung(time.Now()) {
			t.Errorf("after two hours: %+v, want red, but not hung", h)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
		if h := c.Health(); !h.Healthy || h.Hung(time.Now().Add(time.Hour)) {
			t.Errorf("after the end: %+v, want green", h)
		}
	})
}

// TestRunTellsItsLastError: a daemon whose rewrites all fail says what with.
func TestRunTellsItsLastError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		e := event(0)
		e.Time = 0
		s.append(afterhours.NewSegment(), 0, e)
		s.Fault = func(op string, _ afterhours.Hour) (bool, error) {
			return true, map[string]error{"ReadRows": errors.New("no quorum")}[op]
		}
		l, _ := openLake(t)
		c := newCompactor(t, s, l)
		c.cfg.Policy, c.cfg.Retry, c.cfg.MaxRetry = Policy{}, time.Second, time.Minute
		q := newFakeQueue(false)
		if err := q.Mark(t.Context(), e.Hour()); err != nil {
			t.Fatal(err)
		}
		end := runInBackground(t, c, q)
		time.Sleep(c.cfg.StallAfter + time.Minute)
		if h := c.Health(); h.Healthy || !strings.Contains(h.Reason, "last error: ") || !strings.Contains(h.Reason, "no quorum") {
			t.Errorf("%+v, want red, with the error", h)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	})
}

// TestOnlyAStandingLoopIsHung: that dependencies fail does not make a restart
// worth while; that the loop stands still does.
func TestOnlyAStandingLoopIsHung(t *testing.T) {
	var h health
	s := newSchedule(always(Policy{}), true)
	s.take(markAt(testHour, 1, noon))
	h.look(noon, s, time.Minute, time.Hour)
	h.look(noon.Add(24*time.Hour), s, time.Minute, time.Hour)
	now := noon.Add(24*time.Hour + beatless)
	if got := h.now(); got.Healthy || got.Hung(now) || !got.Hung(now.Add(1)) {
		t.Errorf("%+v, want red, and hung only after %s", got, beatless)
	}
}

// TestWaitingHourIsMoved: an hour that waits far behind the others is marked again
// at the end, and its old mark is done; hours that are due are not moved.
func TestWaitingHourIsMoved(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	q := newFakeQueue(false)
	q.slack = 10
	future := afterhours.HourOf("waiting", afterhours.MicrosOf(time.Now()))
	if err := q.Mark(t.Context(), future); err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		e := event(0)
		e.Time += afterhours.Micros(n * int(time.Hour/time.Microsecond))
		s.append(afterhours.NewSegment(), 0, e)
		if err := q.Mark(t.Context(), e.Hour()); err != nil {
			t.Fatal(err)
		}
	}
	c.cfg.Policy = Policy{}
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		for {
			if m, _ := q.Pending(ctx, ""); len(m) == 1 && m[0].Offset == 21 && m[0].Since > 0 {
				stop()
				return
			}
			if pause(t.Context(), time.Millisecond) != nil {
				return
			}
		}
	}()
	if _, err := c.Run(ctx, q, q); err != nil {
		t.Fatal(err)
	}
}

// TestLimitsEndADrain: it stops beginning rewrites, keeps the rest marked, and is
// no failure.
func TestLimitsEndADrain(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	q := newFakeQueue(true)
	for n := range 10 {
		e := event(0)
		e.Time += afterhours.Micros(n * int(time.Hour/time.Microsecond))
		s.append(afterhours.NewSegment(), 0, e)
		if err := q.Mark(t.Context(), e.Hour()); err != nil {
			t.Fatal(err)
		}
	}
	sum, err := newCompactor(t, s, l).Drain(t.Context(), q, Limits{Hours: 3})
	if err != nil || !sum.Limited || sum.Rewritten != 3 || sum.Left != 7 || q.undone(t) != 7 {
		t.Errorf("summary %+v, error %v, %d marks left; want 3 hours rewritten and 7 left", sum, err, q.undone(t))
	}
	q.read = 0
	sum, err = newCompactor(t, s, l).Drain(t.Context(), q, Limits{Runtime: 1})
	if err != nil || !sum.Limited || sum.Rewritten+int64(q.undone(t)) != 7 {
		t.Errorf("summary %+v, error %v, %d marks left; want what time allowed, and the rest left", sum, err, q.undone(t))
	}
}

// TestGiantsDoNotHoldUpTheRest: while a giant is being read, all small hours are
// served, although there are more giants than workers.
func TestGiantsDoNotHoldUpTheRest(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	c.cfg.GiantBytes = 1000
	q := newFakeQueue(true)
	const giants, smalls = 5, 20
	for n := range giants + smalls {
		e := event(0)
		e.Time += afterhours.Micros(n * int(time.Hour/time.Microsecond))
		lane := s.append(afterhours.NewSegment(), 0, e)
		if n < giants {
			lane.Bytes = 5000
			s.lanes[e.Hour()][lane.Name] = lane
		}
		if err := q.Mark(t.Context(), e.Hour()); err != nil {
			t.Fatal(err)
		}
	}
	released, served := make(chan struct{}), 0
	results := make(chan Outcome, giants+smalls)
	c.cfg.Finished = func(o Outcome) { results <- o }
	s.Fault = func(op string, h afterhours.Hour) (bool, error) {
		if op == "ReadRows" && h.Start < testHour.Start+giants*3600e6 {
			<-released
		}
		return true, nil
	}
	go func() {
		for range smalls {
			<-results
			served++
		}
		close(released)
	}()
	sum, err := c.Drain(t.Context(), q, Limits{})
	if err != nil || sum.Rewritten != giants+smalls || served != smalls {
		t.Errorf("summary %+v, error %v, %d small hours served before the giants; want all", sum, err, served)
	}
}

// TestLargePartitionIsAGiant: what has to be moved counts, not only what is new,
// and that is known before it is fetched.
func TestLargePartitionIsAGiant(t *testing.T) {
	s := newFakeStore()
	l, _ := openLake(t)
	c := newCompactor(t, s, l)
	s.append(afterhours.NewSegment(), 0, events(0, 50)...)
	rewrite(t, c)
	c.cfg.GiantBytes = s.partitions[testHour].Bytes - 1
	s.calls = nil
	if out := c.rewriteIn(t.Context(), testHour, smallClass, stay{}); !errors.Is(out.Err, errGiant) {
		t.Errorf("outcome %+v among the small, want that it is a giant", out)
	}
	if slices.Contains(s.calls, "Lanes "+testHour.String()) {
		t.Errorf("calls %v, want the board alone", s.calls)
	}
	if out := c.rewriteIn(t.Context(), testHour, giantClass, stay{}); out.Err != nil {
		t.Error(out.Err)
	}
}
