package ingest

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afterhours/afterhours"
)

// Red is when records wait and none is acknowledged for long, however long nothing
// came before; and green again with the first acknowledgement.
func TestHealthIsAboutAcknowledgements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		stuck := make(chan struct{})
		f.fault = func(op string, _ afterhours.Hour) (bool, error) {
			if op == "mark" {
				<-stuck
			}
			return true, nil
		}
		w, end := f.start(Options{})
		health := func(want bool, inHand int64) {
			t.Helper()
			h := w.Health(5 * time.Minute)
			if len(h.Problems) == 0 != want || h.InHand != inHand {
				t.Errorf("healthy %v, want %v: %+v", !want, want, h)
			}
		}
		time.Sleep(10 * time.Hour)
		health(true, 0)
		f.write(w, testEvent(1, 0))
		time.Sleep(5 * time.Minute)
		f.write(w, testEvent(1, 1))
		health(true, 2)
		time.Sleep(time.Second)
		health(false, 2)
		for _, p := range w.Health(5 * time.Minute).Problems {
			if p.Check != "progress" || !strings.Contains(p.Reason, "2 records") || p.Remedy == "" {
				t.Errorf("%+v", p)
			}
		}
		close(stuck)
		time.Sleep(time.Second)
		health(true, 0)
		if err := end(); err != nil {
			t.Fatal(err)
		}
	})
}

// A call that fails every time is red after a minute, and says what with, although
// it is repeated for ever because its error might go away.
func TestFailingCallIsRed(t *testing.T) {
	for op, check := range map[string]string{"mark": "queue", "append": "store", "index": "store"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				var granted atomic.Bool
				f.fault = func(o string, _ afterhours.Hour) (bool, error) {
					if o == op && !granted.Load() {
						return false, errors.New("not authorized")
					}
					return true, nil
				}
				w, end := f.start(Options{})
				f.write(w, testEvent(1, 0))
				time.Sleep(failAfter)
				if h := w.Health(time.Hour); len(h.Problems) != 0 {
					t.Errorf("after a minute: %+v, want green", h)
				}
				time.Sleep(10 * time.Second)
				h := w.Health(time.Hour)
				if len(h.Problems) != 1 || h.Problems[0].Check != check || !strings.Contains(h.Problems[0].Reason, "not authorized") {
					t.Errorf("after more: %+v, want red for the %s", h, check)
				}
				granted.Store(true)
				time.Sleep(10 * time.Second)
				if h := w.Health(time.Hour); len(h.Problems) != 0 {
					t.Errorf("after it works: %+v, want green", h)
				}
				if err := end(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}
