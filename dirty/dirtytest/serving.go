package dirtytest

import (
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
)

// markedIsDelivered shows what a mark carries.
func markedIsDelivered(t *testing.T, q dirty.Queue) {
	hs := hours(3)
	r := consume(t, q, "g", dirty.Options{})
	defer func() { check(t, r.Close()) }()
	before := time.Now()
	mark(t, q, hs...)
	marks := r.until(t, hs...)
	for _, h := range hs {
		// The clock may be another machine's.
		if d := marks[h].Time.Time().Sub(before); d < -time.Minute || d > time.Minute {
			t.Errorf("mark of %s has time %s, now is %s", h, marks[h].Time, before)
		}
	}
}

// olderThanTheGroup shows that a new group starts at the beginning.
func olderThanTheGroup(t *testing.T, q dirty.Queue) {
	hs := hours(20)
	mark(t, q, hs[:10]...)
	mark(t, q, hs[10:]...)
	r := consume(t, q, "g", dirty.Options{})
	defer func() { check(t, r.Close()) }()
	r.until(t, hs...)
}

// markWakes lets a consumer wait at the end of the log.
func markWakes(t *testing.T, q dirty.Queue) {
	hs := hours(6)
	mark(t, q, hs[0])
	r := consume(t, q, "g", dirty.Options{})
	defer func() { check(t, r.Close()) }()
	r.until(t, hs[0])
	for _, h := range hs[1:] {
		failed := make(chan error, 1)
		go func() { failed <- q.Mark(t.Context(), h) }()
		r.until(t, h)
		check(t, <-failed)
	}
}

// oddHours marks types that a text form might mangle, and all widths of time.
func oddHours(t *testing.T, q dirty.Queue) {
	var hs []afterhours.Hour
	for _, name := range []string{
		"a/b", "/", "a//", " ", "a b", ".", "..", "a'b\"c", `\`, "naïve", "事件", "🎉", "\u2028", "\ufffd", "a:b=c,d", "%2F", "null", "{}", "A", "a",
		"2026-11-20T10", "a/2026-11-20T10", afterhours.QuarantineType,
	} {
		for _, span := range []string{"2026-11-20T10", "2026-11-20", "1969-12-31T23", "0001-01-01T00", "9999-12-31T23"} {
			h, err := afterhours.ParseSpan(name, span)
			check(t, err)
			hs = append(hs, h)
		}
	}
	mark(t, q, hs...)
	wantHours(t, "delivered", leftover(t, q, "g"), hs)
	wantHours(t, "pending", pending(t, q, "g"), hs)
}

// notDoneComesAgain is what a crash leaves to the next consumer.
func notDoneComesAgain(t *testing.T, q dirty.Queue) {
	hs := hours(10)
	mark(t, q, hs...)
	for range 2 {
		r := consume(t, q, "g", dirty.Options{})
		r.until(t, hs...)
		check(t, r.Close())
	}
}

// doneStaysDone shows that Close commits, and that newer marks still come.
func doneStaysDone(t *testing.T, q dirty.Queue) {
	hs := hours(10)
	mark(t, q, hs[:8]...)
	r := consume(t, q, "g", dirty.Options{})
	r.serve(r.until(t, hs[:8]...), hs[:8]...)
	check(t, r.Close())
	wantHours(t, "pending after all is done", pending(t, q, "g"), nil)
	wantHours(t, "delivered after all is done", leftover(t, q, "g"), nil)

	again := []afterhours.Hour{hs[3], hs[8], hs[9]}
	mark(t, q, again...)
	wantHours(t, "pending after new marks", pending(t, q, "g"), again)
	wantHours(t, "delivered after new marks", leftover(t, q, "g"), again)
}

// floorIsContiguous finishes marks out of order, each hour but one in turn: the
// one that is owed comes again, wherever in the log it lies.
func floorIsContiguous(t *testing.T, q dirty.Queue) {
	hs := hours(5)
	for owed, h := range hs {
		mark(t, q, hs...)
		r := consume(t, q, "g", dirty.Options{})
		marks := r.until(t, hs...)
		for i := range hs {
			if other := hs[len(hs)-1-i]; len(hs)-1-i != owed {
				r.serve(marks, other)
			}
		}
		check(t, r.Close())
		if got := leftover(t, q, "g"); !slices.Contains(got, h) {
			t.Fatalf("hour %d was not done; delivered again: %v", owed, got)
		}
	}
}

// markedWhileServed marks an hour again after it was handed out: to be done with
// the first mark is not to be done with the second.
func markedWhileServed(t *testing.T, q dirty.Queue) {
	h := hours(1)[0]
	mark(t, q, h)
	r := consume(t, q, "g", dirty.Options{})
	first := r.until(t, h)
	mark(t, q, h)
	second := r.until(t, h)
	if second[h].Offset <= first[h].Offset || second[h].Partition != first[h].Partition {
		t.Fatalf("second mark %+v, first %+v: want the same log, further on", second[h], first[h])
	}
	r.serve(first, h)
	check(t, r.Close())
	wantHours(t, "delivered while the second mark is owed", leftover(t, q, "g"), []afterhours.Hour{h})

	r = consume(t, q, "g", dirty.Options{})
	r.serve(r.until(t, h), h)
	mark(t, q, h) // never handed out to this consumer
	check(t, r.Close())
	wantHours(t, "delivered after a third mark", leftover(t, q, "g"), []afterhours.Hour{h})
}

// committedInBackground watches the floor move while the consumer is open.
func committedInBackground(t *testing.T, q dirty.Queue) {
	hs := hours(4)
	mark(t, q, hs...)
	r := consume(t, q, "g", dirty.Options{})
	defer func() { check(t, r.Close()) }()
	r.serve(r.until(t, hs...), hs...)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); len(pending(t, q, "g")) > 0; {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%v are done but not committed after %s", hs, patience)
		}
	}
}

// groupsAreIndependent serves one group; the other is owed everything.
func groupsAreIndependent(t *testing.T, q dirty.Queue) {
	hs := hours(5)
	mark(t, q, hs...)
	a, b := consume(t, q, "a", dirty.Options{}), consume(t, q, "b", dirty.Options{})
	a.serve(a.until(t, hs...), hs...)
	b.serve(b.until(t, hs...), hs[0])
	check(t, a.Close())
	check(t, b.Close())
	wantHours(t, "group a", leftover(t, q, "a"), nil)
	if got := leftover(t, q, "b"); !slices.Contains(got, hs[1]) {
		t.Errorf("group b is handed %v, it had not done %v", got, hs[1:])
	}
	wantHours(t, "a new group", leftover(t, q, "ab"), hs)
}

// pendingMarks looks at a group before it exists, while it works and after.
func pendingMarks(t *testing.T, q dirty.Queue) {
	hs := hours(12)
	wantHours(t, "pending of an empty log", pending(t, q, "g"), nil)
	mark(t, q, hs...)
	mark(t, q, hs[2], hs[3])
	wantHours(t, "pending of a new group", pending(t, q, "g"), hs)
	marks, err := q.Pending(t.Context(), "g")
	check(t, err)
	at := map[int32]int64{}
	for _, m := range marks {
		if old, ok := at[m.Partition]; ok && m.Offset <= old {
			t.Errorf("pending mark %+v follows offset %d", m, old)
		}
		at[m.Partition] = m.Offset
	}

	r := consume(t, q, "g", dirty.Options{Drain: true})
	got := r.drain(t)
	wantHours(t, "pending of a group that was handed everything", pending(t, q, "g"), hs)
	r.serve(got, hs...)
	check(t, r.Close())
	wantHours(t, "pending of a group that served everything", pending(t, q, "g"), nil)
	wantHours(t, "pending of another group", pending(t, q, "other"), hs)
}

// newToTheLog shows that a group that has committed nothing, perhaps because its log
// is not the one it knew, is told of the gap until it has polled again, and then no
// more, though it has served nothing.
func newToTheLog(t *testing.T, q dirty.Queue) {
	mark(t, q, hours(1)...)
	for range 2 {
		r := consume(t, q, "g", dirty.Options{Drain: true})
		for told := false; !told; {
			p, err := r.Poll(t.Context())
			check(t, err)
			told = len(p.Gaps) > 0
		}
		check(t, r.Close()) // before it could take note
	}
	if gaps(t, q) == 0 {
		t.Error("a new group was told of no gap")
	}
	if n := gaps(t, q); n != 0 {
		t.Errorf("told of %d gaps again", n)
	}
}

// gaps returns how many gaps a drain is told of.
func gaps(t *testing.T, q dirty.Queue) (n int) {
	r := consume(t, q, "g", dirty.Options{Drain: true})
	defer func() { check(t, r.Close()) }()
	for {
		p, err := r.Poll(t.Context())
		if errors.Is(err, io.EOF) {
			return n
		}
		check(t, err)
		n += len(p.Gaps)
	}
}
