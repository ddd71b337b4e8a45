package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afterhours/afterhours"
)

// send writes an event that comes from a source, and returns the reason if it is
// kept in quarantine.
func (f *fake) send(w *Writer, e afterhours.Event, source string) (reason string) {
	f.t.Helper()
	from := testRecord(e)
	from.Source = source
	q := quarantine(from, "", 0)
	done := make(chan struct{})
	err := w.Write(context.Background(), e, from, func() {
		f.mu.Lock()
		quarantined := len(f.copies[q.ID]) > 0
		f.mu.Unlock()
		if quarantined && e.Type != afterhours.QuarantineType {
			f.acked(q)
		} else {
			f.acked(e)
		}
		close(done)
	})
	if err != nil {
		f.t.Errorf("write %s: %v", e.ID, err)
		return ""
	}
	<-done
	f.mu.Lock()
	defer f.mu.Unlock()
	if kept := f.copies[q.ID]; len(kept) > 0 {
		var env envelope
		if err := json.Unmarshal(kept[0].event.Payload, &env); err != nil {
			f.t.Error(err)
		}
		return env.Reason
	}
	return ""
}

// declares reports whether any of the types is declared.
func (f *fake) declares(types ...string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(types, func(name string) bool { return f.types[name] })
}

// typed makes the n-th event of a type, in the first hour of the tests' clock.
func typed(eventType string, n int) afterhours.Event {
	at := time.Date(2000, 1, 1, 0, 0, n%3600, 0, time.UTC)
	id := fmt.Sprintf("%s-%d", eventType, n)
	return afterhours.NewEvent(id, eventType, at, at, fmt.Appendf(nil, `{"id":%q}`, id))
}

// guarded runs a test with a Writer.
func guarded(t *testing.T, o Options, test func(f *fake, w *Writer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.types["old"] = true
		w, end := f.start(o)
		test(f, w)
		if err := end(); err != nil {
			t.Fatal(err)
		}
	})
}

// wantReason checks that a record is kept as an event if no words are given, else
// in quarantine with a reason that says them.
func wantReason(t *testing.T, reason string, words ...string) {
	t.Helper()
	if (reason == "") != (len(words) == 0) {
		t.Errorf("the reason is %q, want %q", reason, words)
	}
	for _, word := range words {
		if !strings.Contains(reason, word) {
			t.Errorf("the reason %q does not say %q", reason, word)
		}
	}
}

// Only types of the list are written, if there is one; quarantine always is.
func TestAllowedTypes(t *testing.T) {
	guarded(t, Options{AllowTypes: []string{"a", "b"}}, func(f *fake, w *Writer) {
		wantReason(t, f.send(w, typed("a", 0), "s"))
		wantReason(t, f.send(w, typed("c", 0), "s"), `"c"`, "--allow-type")
		wantReason(t, f.send(w, typed("b", 0), "s"))
		if f.declares("c") {
			t.Error("a type that is not allowed is declared")
		}
	})
}

// A source may bring some new types a day. Those that the store knows are none,
// nor are those it brought before; another source and another day have their own.
func TestNewTypesHaveABudget(t *testing.T) {
	guarded(t, Options{NewTypes: 2}, func(f *fake, w *Writer) {
		for n, name := range []string{"old", "a", "b", "a", "old"} {
			wantReason(t, f.send(w, typed(name, n), "s"))
		}
		for n, name := range []string{"c", "d", "c"} {
			wantReason(t, f.send(w, typed(name, n), "s"), name, "2 new types", "--new-types-per-day")
		}
		if f.declares("c", "d") {
			t.Error("a type beyond the budget is declared")
		}
		wantReason(t, f.send(w, typed("e", 0), "another"))
		wantReason(t, f.send(w, typed("b", 9), "s"))
		time.Sleep(24 * time.Hour)
		wantReason(t, f.send(w, typed("c", 9), "s"))
		if n := f.count("types"); n != 1 {
			t.Errorf("the store is asked for its types %d times", n)
		}
	})
}

// A source may bring some new hours a minute. An hour that was written in the last
// ten minutes is not new; hours around now never are.
func TestNewHoursHaveABudget(t *testing.T) {
	guarded(t, Options{NewHours: 3}, func(f *fake, w *Writer) {
		for h := range 3 {
			wantReason(t, f.send(w, straggler(h, 0), "s"))
		}
		for h := range 3 {
			wantReason(t, f.send(w, straggler(10+h, 0), "s"), straggler(10+h, 0).Hour().String(), "3 new hours", "--new-hours-per-minute")
			wantReason(t, f.send(w, straggler(h, 1), "s")) // of hours that are not new
		}
		wantReason(t, f.send(w, straggler(20, 0), "another"))
		wantReason(t, f.send(w, typed("a", 0), "s"))
		time.Sleep(time.Minute)
		for h := range 3 {
			wantReason(t, f.send(w, straggler(10+h, 1), "s"))
		}
		wantReason(t, f.send(w, straggler(13, 1), "s"), "--new-hours-per-minute")
		wantReason(t, f.send(w, straggler(0, 2), "s"))
		time.Sleep(30 * time.Minute)
		for h := range 3 {
			wantReason(t, f.send(w, straggler(h, 3), "s"))
		}
		wantReason(t, f.send(w, straggler(10, 3), "s"), "--new-hours-per-minute")
	})
}

// Types that were refused cost no hours, so that who brings them spends nothing of
// others.
func TestRefusedTypesSpendNoHours(t *testing.T) {
	guarded(t, Options{NewTypes: 1, NewHours: 1}, func(f *fake, w *Writer) {
		f.send(w, typed("a", 0), "s")
		for n := range 10 {
			e := straggler(n, 0)
			e.Type = fmt.Sprint("random", n)
			wantReason(t, f.send(w, e, "s"), "--new-types-per-day")
		}
		e := straggler(0, 1)
		e.Type = "old"
		wantReason(t, f.send(w, e, "s"))
	})
}

// Quarantine is no new type, and what is in quarantine is never refused; but the
// times that its sources give make no more hours than the budget: the rest lie in
// the first hour of 1970.
func TestQuarantineHoursHaveABudget(t *testing.T) {
	guarded(t, Options{NewTypes: 1, NewHours: 3, AllowTypes: []string{"a"}}, func(f *fake, w *Writer) {
		for n := range 10 {
			r := Record{Source: "s", Position: fmt.Sprint(n), Bytes: []byte("x"), Time: straggler(n, 0).Time.Time()}
			q := quarantine(r, "no event", 0)
			if err := w.Write(context.Background(), q, r, func() { f.acked(q) }); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		f.mu.Lock()
		defer f.mu.Unlock()
		hours := map[string]int{}
		for l := range f.lanes {
			hours[l.hour.String()] = len(f.lanes[l].rows)
		}
		if len(hours) != 4 || hours["_quarantine/1970-01-01T00"] != 7 {
			t.Errorf("quarantine has the hours %v, want three and the first of 1970 for the rest", hours)
		}
	})
}

// What the guards remember is bounded.
func TestHoursAreForgotten(t *testing.T) {
	h := newHours(Options{NewHours: 1 << 30})
	now := afterhours.MicrosOf(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
	for i := range 3 * hoursRoom {
		h.admit(afterhours.HourOf("a", afterhours.Micros(i)*3600e6), "s", now)
	}
	n := 0
	for i := range h.shards {
		n += len(h.shards[i].lately.young) + len(h.shards[i].lately.old)
	}
	if n > 2*hoursRoom {
		t.Errorf("%d hours are remembered, want no more than %d", n, 2*hoursRoom)
	}
}

// A type is declared before the first of its events is acknowledged, once, with or
// without columns; and while the declaration of one hangs, others go on.
func TestTypesDoNotWaitForEachOther(t *testing.T) {
	for op, cols := range map[string][]afterhours.Column{
		"type": nil, "columns": {{Name: "id", Field: "id", Type: afterhours.String}},
	} {
		t.Run(op, func(t *testing.T) {
			guarded(t, Options{Columns: cols, NewTypes: 10}, func(f *fake, w *Writer) {
				hang, hung := make(chan struct{}), make(chan struct{})
				f.fault = func(at string, h afterhours.Hour) (bool, error) {
					if at == op && h.Type == "a" {
						<-hang
					}
					return true, nil
				}
				go func() { defer close(hung); f.send(w, typed("a", 0), "s") }()
				synctest.Wait()
				f.send(w, typed("b", 0), "s")
				f.send(w, typed("b", 1), "s")
				f.allAcked(typed("b", 0), typed("b", 1))
				close(hang)
				<-hung
				if n := f.count(op); n != 2 {
					t.Errorf("2 types are declared by %d calls", n)
				}
			})
		})
	}
}
