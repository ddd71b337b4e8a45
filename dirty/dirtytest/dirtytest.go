// Package dirtytest is the conformance suite of [dirty.Queue]: what the contract
// promises, as cases that every backend passes. A backend's test calls [Run].
package dirtytest

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
)

// patience is how long a mark may take to arrive. It ends tests that would hang,
// and is long because a group may need seconds to form.
const patience = time.Minute

var cases = []struct {
	name string
	run  func(t *testing.T, q dirty.Queue)
}{
	{"a marked hour is delivered", markedIsDelivered},
	{"marks made before the group are delivered", olderThanTheGroup},
	{"a mark wakes the consumer that waits", markWakes},
	{"hours with odd names are delivered as they are", oddHours},
	{"what is not done comes again", notDoneComesAgain},
	{"what is done does not come again", doneStaysDone},
	{"an undone mark comes again whatever was done after it", floorIsContiguous},
	{"a mark made while its hour is served is not lost", markedWhileServed},
	{"done is committed in the background", committedInBackground},
	{"groups are independent", groupsAreIndependent},
	{"a group is told that it is new to the log until it has taken note", newToTheLog},
	{"pending marks are those that are not committed", pendingMarks},
	{"a drain of an empty log ends", drainEmpty},
	{"a drain hands out everything that was there, then ends", drainAll},
	{"a drain ends though nothing is done", drainUndone},
	{"a waiting hour among many live ones does not hold the floor", waitingHour},
	{"hours within the slack are not behind, however many wait", nobodyIsBehind},
	{"an hour that is marked again and again does not hold the floor", markedAgainAndAgain},
	{"a deferred mark tells since when its hour waits", deferredHasSince},
	{"deferred hours come again until they are done", deferredIsOwed},
	{"nothing is done after an hour could not be deferred", deferFails},
	{"what one group defers and serves is owed to the others", deferTakesNothing},
	{"a drain does not hand out what it deferred", drainDefers},
	{"hours may be deferred while they are marked and handed out", deferAtOnce},
	{"the last mark of an hour is never dropped", lastMarkStays},
	{"hours may be marked at once", markAtOnce},
	{"to mark nothing is fine", markNothing},
	{"a cancelled call is an error", cancelledCalls},
	{"waiting ends with its context, and may begin again", pollHonoursContext},
	{"a consumer may be closed at any time", closeEarly},
}

// Run runs the suite. Every call of open gives a new, empty queue, which the
// suite closes.
func Run(t *testing.T, open func(t *testing.T) dirty.Queue) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			q := open(t)
			defer func() { check(t, q.Close()) }()
			c.run(t, q)
		})
	}
}

// hours are n hours of one type, one after the other, from before 1970 on.
func hours(n int) []afterhours.Hour {
	all := make([]afterhours.Hour, n)
	for i := range all {
		all[i] = afterhours.HourOf("purchase", afterhours.Micros(i-2)*3_600e6)
	}
	return all
}

// mark marks hours, which must work.
func mark(t *testing.T, q dirty.Queue, hs ...afterhours.Hour) {
	t.Helper()
	check(t, q.Mark(t.Context(), hs...))
}

// reader is a consumer and, for each partition, the last mark it was handed.
type reader struct {
	dirty.Consumer
	seen map[int32]dirty.Mark
}

func consume(t *testing.T, q dirty.Queue, group string, o dirty.Options) *reader {
	t.Helper()
	c, err := q.Consume(t.Context(), group, o)
	check(t, err)
	return &reader{c, map[int32]dirty.Mark{}}
}

// until polls until every one of the hours was handed out, and returns the last
// mark of each.
func (r *reader) until(t *testing.T, hs ...afterhours.Hour) map[afterhours.Hour]dirty.Mark {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	last := map[afterhours.Hour]dirty.Mark{}
	missing := func(h afterhours.Hour) bool { _, ok := last[h]; return !ok }
	for slices.ContainsFunc(hs, missing) {
		p, err := r.Poll(ctx)
		if err != nil {
			t.Fatalf("poll for %v, got %v: %v", hs, last, err)
		}
		r.enter(t, p, last)
	}
	return last
}

// drain polls until io.EOF, and returns the last mark of each hour.
func (r *reader) drain(t *testing.T) map[afterhours.Hour]dirty.Mark {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	last := map[afterhours.Hour]dirty.Mark{}
	for {
		p, err := r.Poll(ctx)
		if errors.Is(err, io.EOF) {
			return last
		}
		if err != nil {
			t.Fatalf("drain, got %v: %v", last, err)
		}
		r.enter(t, p, last)
	}
}

// enter checks that marks come in the order of their log, and keeps them.
func (r *reader) enter(t *testing.T, p dirty.Polled, last map[afterhours.Hour]dirty.Mark) {
	t.Helper()
	for _, id := range p.Revoked {
		delete(r.seen, id) // if it is assigned again, it is read anew
	}
	for _, m := range p.Marks {
		if old, ok := r.seen[m.Partition]; ok && old.Offset >= m.Offset {
			t.Fatalf("%+v was handed out after %+v", m, old)
		}
		r.seen[m.Partition], last[m.Hour] = m, m
	}
}

// serve says that marks are done.
func (r *reader) serve(marks map[afterhours.Hour]dirty.Mark, hs ...afterhours.Hour) {
	for _, h := range hs {
		r.Done(marks[h])
	}
}

// leftover returns the hours that a group that starts anew is handed.
func leftover(t *testing.T, q dirty.Queue, group string) []afterhours.Hour {
	t.Helper()
	r := consume(t, q, group, dirty.Options{Drain: true})
	defer func() { check(t, r.Close()) }()
	return sorted(r.drain(t))
}

func sorted(marks map[afterhours.Hour]dirty.Mark) []afterhours.Hour {
	var hs []afterhours.Hour
	for h := range marks {
		hs = append(hs, h)
	}
	slices.SortFunc(hs, afterhours.Hour.Compare)
	return hs
}

// pending returns the hours that have pending marks.
func pending(t *testing.T, q dirty.Queue, group string) []afterhours.Hour {
	t.Helper()
	marks, err := q.Pending(t.Context(), group)
	check(t, err)
	last := map[afterhours.Hour]dirty.Mark{}
	for _, m := range marks {
		last[m.Hour] = m
	}
	return sorted(last)
}

func wantHours(t *testing.T, what string, got, want []afterhours.Hour) {
	t.Helper()
	want = slices.SortedFunc(slices.Values(want), afterhours.Hour.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// same reports whether two marks are one, whichever reading of the log brought it.
func same(a, b dirty.Mark) bool {
	a.Reading, b.Reading = 0, 0
	return a == b
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
