package dirtytest

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
)

// deferred defers marks, which must work.
func deferred(t *testing.T, r *reader, marks ...dirty.Mark) {
	t.Helper()
	check(t, r.Defer(t.Context(), marks...))
}

// waitingHour lets one hour wait among many that are served as they come: with
// Behind and Defer the floor keeps up, and a restart reads little.
func waitingHour(t *testing.T, q dirty.Queue) {
	const slack = 20
	hs := hours(101)
	waits, live := hs[0], hs[1:]
	r := consume(t, q, "g", dirty.Options{Slack: slack})
	mark(t, q, waits)
	first := r.until(t, waits)[waits]
	times := 0
	for range 8 {
		mark(t, q, live...)
		r.serve(r.until(t, live...), live...)
		behind := r.Behind()
		if len(behind) == 0 {
			continue
		}
		if len(behind) != 1 || behind[0].Hour != waits || behind[0].Began() != first.Time {
			t.Fatalf("behind: %+v, want a mark of %s that tells of %s", behind, waits, first.Time)
		}
		deferred(t, r, behind...)
		if got := r.until(t, waits)[waits]; got.Offset <= behind[0].Offset || len(r.Behind()) > 0 {
			t.Fatalf("%+v was deferred, handed out %+v, still behind %+v", behind[0], got, r.Behind())
		}
		times++
	}
	check(t, r.Close())
	if times == 0 {
		t.Fatal("the waiting hour was never behind")
	}
	left, err := q.Pending(t.Context(), "g")
	check(t, err)
	if len(left) > 1+slack {
		t.Errorf("a restart would read %d marks, the slack is %d", len(left), slack)
	}
	// Hours that were served may come as well: their marks are not below the floor.
	if got := leftover(t, q, "g"); !slices.Contains(got, waits) || len(got) > 1+slack {
		t.Errorf("a new consumer is handed %v, want %s among few", got, waits)
	}
}

// nobodyIsBehind lets hours wait within the slack, and then more of them than
// the slack: to defer those would never end.
func nobodyIsBehind(t *testing.T, q dirty.Queue) {
	hs := hours(60)
	r := consume(t, q, "g", dirty.Options{Slack: 10})
	if got := r.Behind(); len(got) > 0 {
		t.Errorf("nothing was marked, behind: %+v", got)
	}
	mark(t, q, hs...)
	r.until(t, hs...)
	if got := r.Behind(); len(got) > 0 {
		t.Errorf("all %d hours wait, behind: %+v", len(hs), got)
	}
	check(t, r.Close())
}

// markedAgainAndAgain shows that only the last mark of a waiting hour holds the
// floor, though nobody defers it.
func markedAgainAndAgain(t *testing.T, q dirty.Queue) {
	hs := hours(41)
	waits, live := hs[0], hs[1:]
	r := consume(t, q, "g", dirty.Options{})
	for range 4 {
		mark(t, q, hs...)
		r.serve(r.until(t, hs...), live...)
	}
	mark(t, q, waits)
	last := r.until(t, waits)[waits]
	check(t, r.Close())
	left, err := q.Pending(t.Context(), "g")
	check(t, err)
	if len(left) != 1 || !same(left[0], last) {
		t.Errorf("pending %+v, want %+v alone", left, last)
	}
}

// deferredHasSince follows an hour that is deferred twice, and then marked by
// somebody who has something new.
func deferredHasSince(t *testing.T, q dirty.Queue) {
	h := hours(1)[0]
	mark(t, q, h)
	r := consume(t, q, "g", dirty.Options{})
	first := r.until(t, h)[h]
	if first.Since != 0 {
		t.Errorf("a first mark has since %s", first.Since)
	}
	at := first
	for range 2 {
		deferred(t, r, at)
		next := r.until(t, h)[h]
		if next.Since != first.Time || next.Time < at.Time || next.Offset <= at.Offset {
			t.Fatalf("%+v was deferred to %+v, the hour waits since %s", at, next, first.Time)
		}
		at = next
	}
	left, err := q.Pending(t.Context(), "g")
	check(t, err)
	if len(left) == 0 || !same(left[len(left)-1], at) {
		t.Errorf("pending %+v, want %+v last", left, at)
	}
	mark(t, q, h)
	if last := r.until(t, h)[h]; last.Since != 0 || last.Offset <= at.Offset {
		t.Errorf("a new mark after %+v: %+v", at, last)
	}
	check(t, r.Close())
}

// deferredIsOwed restarts after hours were deferred, before and after the new
// marks were handed out: all of them come again until they are done.
func deferredIsOwed(t *testing.T, q dirty.Queue) {
	hs := hours(300)
	mark(t, q, hs...)
	r := consume(t, q, "g", dirty.Options{})
	marks := r.until(t, hs...)
	deferred(t, r)
	deferred(t, r, values(marks)...)
	check(t, r.Close())
	wantHours(t, "pending, the new marks not handed out", pending(t, q, "g"), hs)

	r = consume(t, q, "g", dirty.Options{})
	again := r.until(t, hs...)
	for _, h := range hs {
		if again[h].Since != marks[h].Time {
			t.Errorf("%+v was deferred to %+v", marks[h], again[h])
		}
	}
	r.serve(marks, hs...) // of the old marks: says nothing of the new
	check(t, r.Close())
	wantHours(t, "delivered, the new marks not done", leftover(t, q, "g"), hs)

	r = consume(t, q, "g", dirty.Options{})
	r.serve(r.until(t, hs...), hs...)
	check(t, r.Close())
	wantHours(t, "delivered, all done", leftover(t, q, "g"), nil)
}

func values(marks map[afterhours.Hour]dirty.Mark) []dirty.Mark {
	var all []dirty.Mark
	for _, h := range sorted(marks) {
		all = append(all, marks[h])
	}
	return all
}

// deferFails shows that an hour waits on by its old mark if the new one could not
// be made, and that it may be deferred again.
func deferFails(t *testing.T, q dirty.Queue) {
	hs := hours(3)
	mark(t, q, hs...)
	r := consume(t, q, "g", dirty.Options{})
	marks := r.until(t, hs...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r.Defer(ctx, values(marks)...) == nil {
		t.Error("Defer returned no error after its context had ended")
	}
	check(t, r.Close())
	wantHours(t, "delivered after Defer failed", leftover(t, q, "g"), hs)

	r = consume(t, q, "g", dirty.Options{})
	deferred(t, r, values(r.until(t, hs...))...)
	r.serve(r.until(t, hs...), hs...)
	check(t, r.Close())
	wantHours(t, "delivered after all is done", leftover(t, q, "g"), nil)
}

// deferTakesNothing lets one group defer, and serve what it deferred: groups that
// have read the old marks, or have not, get all hours.
func deferTakesNothing(t *testing.T, q dirty.Queue) {
	hs := hours(20)
	mark(t, q, hs...)
	a, read := consume(t, q, "a", dirty.Options{}), consume(t, q, "read", dirty.Options{})
	read.until(t, hs...)
	marks := a.until(t, hs...)
	deferred(t, a, values(marks)...)
	a.serve(a.until(t, hs...), hs...)
	check(t, a.Close())

	again := read.until(t, hs...)
	for _, h := range hs {
		if again[h].Offset <= marks[h].Offset {
			t.Errorf("a group that had read %+v is handed %+v", marks[h], again[h])
		}
	}
	check(t, read.Close())
	wantHours(t, "the group that deferred", leftover(t, q, "a"), nil)
	wantHours(t, "the group that had read", leftover(t, q, "read"), hs)
	wantHours(t, "a new group", leftover(t, q, "new"), hs)
}

// drainDefers defers one hour as soon as it is handed out and another at the end:
// the new marks are left to the next consumer, or a drain would never end, and the
// old ones hold the floor no more.
func drainDefers(t *testing.T, q dirty.Queue) {
	hs := hours(50)
	early, late := hs[0], hs[1]
	mark(t, q, hs...)
	r := consume(t, q, "g", dirty.Options{Drain: true, Slack: 1})
	marks := map[afterhours.Hour]dirty.Mark{}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for len(marks) < len(hs) {
		p, err := r.Poll(ctx)
		check(t, err)
		r.enter(t, p, marks)
		for _, m := range p.Marks {
			if m.Hour == early {
				deferred(t, r, m)
			}
		}
	}
	r.serve(marks, hs[2:]...)
	if got := r.Behind(); len(got) != 1 || got[0] != marks[late] {
		t.Errorf("behind %+v, want %+v", got, marks[late])
	}
	deferred(t, r, marks[late])
	if got := r.Behind(); len(got) > 0 {
		t.Errorf("deferred, and behind: %+v", got)
	}
	wantHours(t, "drained after all was handed out", sorted(r.drain(t)), nil)
	check(t, r.Close())
	wantHours(t, "drained by the next", leftover(t, q, "g"), hs[:2])
}

// deferAtOnce defers every mark as soon as it is handed out, while others mark
// the same hours: none is served, so all are owed.
func deferAtOnce(t *testing.T, q dirty.Queue) {
	hs := hours(40)
	r := consume(t, q, "g", dirty.Options{})
	var wg sync.WaitGroup
	marked := make(chan struct{})
	wg.Go(func() {
		defer close(marked)
		for range 10 {
			if err := q.Mark(t.Context(), hs...); err != nil {
				t.Error(err)
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	handed, all := map[afterhours.Hour]dirty.Mark{}, false
	for !all || len(handed) < len(hs) {
		p, err := r.Poll(ctx)
		check(t, err)
		r.enter(t, p, handed)
		wg.Go(func() {
			if err := r.Defer(t.Context(), p.Marks...); err != nil {
				t.Error(err)
			}
		})
		select {
		case <-marked:
			all = true
		default:
		}
	}
	wg.Wait()
	check(t, r.Close())
	wantHours(t, "delivered", leftover(t, q, "g"), hs)
}
