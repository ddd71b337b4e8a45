package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/store"
)

// What cannot be cured by waiting ends Run, and with it Write.
func TestRunFails(t *testing.T) {
	refused := fmt.Errorf("no permission: %w", store.ErrRefused)
	for name, c := range map[string]struct {
		op   string
		want string
	}{
		"index row refused":      {"index", "write index row of purchase/2026-11-20T03: no permission"},
		"quarantine row refused": {"append", "keep 3-0 of test in quarantine: no permission"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				f.fault = func(op string, _ afterhours.Hour) (bool, error) {
					if op == c.op {
						return false, refused
					}
					return true, nil
				}
				w := New(f, f, Options{InHand: 1})
				ended := make(chan error, 1)
				go func() { ended <- w.Run(t.Context()) }()
				f.write(w, testEvent(3, 0))
				e := testEvent(3, 1)
				writeErr := w.Write(t.Context(), e, testRecord(e), func() { t.Error("acknowledged") })
				for _, err := range []error{<-ended, writeErr} {
					if err == nil || !strings.Contains(err.Error(), c.want) {
						t.Errorf("error is %v, want %s", err, c.want)
					}
				}
				f.allAcked()
			})
		})
	}
}

// Columns are declared once for a type, before the first of its events is
// written; quarantine has columns of its own.
func TestColumnsAreDeclaredFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		g := newGate("columns")
		f.fault = g.fault
		cols := []afterhours.Column{{Name: "id", Field: "id", Type: afterhours.String}}
		w, end := f.start(Options{Columns: cols})
		go f.write(w, testEvent(3, 0))
		time.Sleep(time.Hour)
		if n := f.count("append"); n != 0 {
			t.Errorf("%d appends before the columns are declared", n)
		}
		close(g.open)
		synctest.Wait()
		f.write(w, testEvent(3, 1))
		f.write(w, quarantine(Record{Bytes: []byte("x")}, "no event", 0))
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if n := f.count("columns"); n != 2 {
			t.Errorf("columns are declared %d times for 2 types", n)
		}
		if got := f.declared["purchase"]; len(got) != 1 || got[0].Name != "id" {
			t.Errorf("columns of purchase are %v", got)
		}
		if got := fmt.Sprint(f.declared["_quarantine"]); got != "[reason=reason:string source=source:string position=position:string]" {
			t.Errorf("columns of _quarantine are %v", got)
		}
	})
}

// A column that is declared differently is an error that names it.
func TestColumnConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.fault = func(op string, _ afterhours.Hour) (bool, error) {
			return false, fmt.Errorf("column %q: %w", "user", store.ErrColumnConflict)
		}
		w, end := f.start(Options{Columns: []afterhours.Column{{Name: "user", Field: "user", Type: afterhours.String}}})
		e := testEvent(3, 0)
		err := w.Write(t.Context(), e, testRecord(e), func() { t.Error("acknowledged") })
		if !errors.Is(err, store.ErrColumnConflict) || !strings.Contains(err.Error(), `"user"`) || !strings.Contains(err.Error(), `"purchase"`) {
			t.Errorf("error is %v", err)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	})
}

// What is in hand is bounded, and a Write that waits ends with its context.
func TestWriteBlocksWhileTooMuchIsInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		g := newGate("append")
		f.fault = g.fault
		w, end := f.start(Options{InHand: 100 * (overhead + 40)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var taken []afterhours.Event
		for i := 0; ; i++ {
			e := testEvent(i%20, i)
			if err := w.Write(ctx, e, testRecord(e), func() { f.acked(e) }); err != nil {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error is %v", err)
				}
				break
			}
			taken = append(taken, e)
		}
		if n := len(taken); n < 90 || n > 110 {
			t.Errorf("%d events are in hand, want about 100", n)
		}
		close(g.open)
		if err := end(); err != nil {
			t.Fatal(err)
		}
		f.allAcked(taken...)
	})
}

// When Run's context ends, what is not acknowledged never will be, and no
// goroutine stays.
func TestCancelledRunAcknowledgesNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.fault = func(op string, _ afterhours.Hour) (bool, error) {
			if op == "type" {
				return true, nil
			}
			return true, errFault
		}
		w := New(f, f, Options{Log: quiet})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		for _, e := range testEvents(5, 50) {
			f.write(w, e)
		}
		time.Sleep(time.Minute)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
		f.allAcked()
		if err := w.Write(t.Context(), testEvent(1, 1), Record{}, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("write: %v", err)
		}
	})
}

// A call that fails for long is logged at once and then twice a minute, not for
// each attempt of each batch.
func TestFailuresAreLoggedRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		f := newFake(t)
		began := time.Now()
		f.fault = func(op string, _ afterhours.Hour) (bool, error) {
			if op == "append" && time.Since(began) < 5*time.Minute {
				return false, errFault
			}
			return true, nil
		}
		w, end := f.start(Options{Log: slog.New(slog.NewTextHandler(&out, nil))})
		for _, e := range testEvents(20, 100) {
			f.write(w, e)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(out.String(), `call="append rows" err=fault`); n < 8 || n > 11 {
			t.Errorf("%d warnings in five minutes:\n%s", n, &out)
		}
	})
}
