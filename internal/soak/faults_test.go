package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// witness records what a driver does to its targets.
type witness struct {
	mu     sync.Mutex
	busy   map[string]int
	worst  int // faults at once
	twice  []string
	events []string
	wrong  []string
}

func (w *witness) fault(class, what, target string, weight int, err error) fault {
	return fault{class, what, target, weight, func(ctx context.Context, hold time.Duration) error {
		w.mu.Lock()
		w.busy[target]++
		if w.busy[target] > 1 {
			w.twice = append(w.twice, target)
		}
		n := 0
		for _, b := range w.busy {
			n += b
		}
		w.worst = max(w.worst, n)
		w.mu.Unlock()
		pause(ctx, hold)
		w.mu.Lock()
		w.busy[target]--
		w.mu.Unlock()
		return err
	}}
}

func (w *witness) add(to *[]string, line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*to = append(*to, line)
}

func (w *witness) driver(every time.Duration) *driver {
	w.busy = map[string]int{}
	d := newDriver(rand.New(rand.NewPCG(1, 2)), every)
	d.events = func(msg string, _ ...any) { w.add(&w.events, msg) }
	d.wrong = func(f string, a ...any) { w.add(&w.wrong, fmt.Sprintf(f, a...)) }
	return d
}

// Faults come as often as their weights say, several at once, but never two to one
// target; and when the driver returns, all are undone.
func TestDriverRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &witness{}
		d := w.driver(2 * time.Second)
		d.faults = []fault{
			w.fault(classKill, "often", "a", 3, nil), w.fault(classKill, "rare", "b", 1, nil),
			w.fault(classPause, "often", "c", 3, nil), w.fault(classPause, "rare", "a", 1, nil),
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		d.run(ctx)
		kills, pauses := d.count(classKill), d.count(classPause)
		total := kills["often"] + kills["rare"] + pauses["often"] + pauses["rare"]
		if total < 150 || kills["often"] < 2*kills["rare"] || pauses["often"] < 2*pauses["rare"] || pauses["rare"] == 0 {
			t.Errorf("%v %v", kills, pauses)
		}
		if len(w.twice) > 0 || w.worst < 2 || w.worst > atOnce || len(d.busy) > 0 || len(w.wrong) > 0 {
			t.Errorf("twice %v, %d at once, %v left, wrong %v", w.twice, w.worst, d.busy, w.wrong)
		}
	})
}

// The short form does every kind of fault once, to whichever target. One that is
// down is spared for a while; what cannot be undone is a violation.
func TestDriverOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &witness{}
		d := w.driver(time.Second)
		tries := 0
		d.faults = []fault{
			w.fault(classKill, "good", "a", 9, nil), w.fault(classKill, "good", "b", 9, nil), w.fault(classPause, "good", "a", 1, nil),
			w.fault(classKill, "bad", "c", 1, errors.New("it stays broken")),
			{classKill, "down", "d", 1, func(context.Context, time.Duration) error {
				if tries++; tries < 3 {
					return errDown
				}
				return nil
			}},
		}
		if !d.once(t.Context()) {
			t.Error("not every fault was done")
		}
		if kills := d.count(classKill); len(kills) != 2 || kills["good"] != 1 || kills["down"] != 1 || d.count(classPause)["good"] != 1 {
			t.Errorf("%v %v", kills, d.count(classPause))
		}
		if len(w.wrong) != 1 || !strings.Contains(w.wrong[0], "it stays broken") {
			t.Errorf("wrong %q", w.wrong)
		}
		short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if d.once(short) {
			t.Error("every fault was done in no time")
		}
	})
}

// While the lake is late, no fault begins.
func TestDriverHoldsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &witness{}
		d := w.driver(time.Second)
		d.faults = []fault{w.fault(classKill, "x", "a", 1, nil)}
		begin := time.Now()
		d.mayDo = func() bool { return time.Since(begin) > time.Minute }
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
		defer cancel()
		if d.run(ctx); len(w.events) > 0 || d.heldOff < 49 {
			t.Errorf("%q, held off %d times", w.events, d.heldOff)
		}
		if !d.once(t.Context()) || d.count(classKill)["x"] != 1 {
			t.Errorf("%q", w.events)
		}
	})
}

// A compactor's disk is its own, and can be filled from outside to the last byte.
func TestFullDisk(t *testing.T) {
	d := script(t, `i=0; while :; do i=$((i+1)); echo hello >tmp/f$i && rm tmp/f$i || echo "no room"; sleep 0.02; done`)
	if err := os.Mkdir(d.tempDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	d.argv = onSmallDisk(d.tempDir(), d.argv)
	d.start()
	defer d.halt(time.Second)
	waitFor(t, func() bool { _, err := d.pid(); return err == nil })
	f := fullDisk(d)
	waitFor(t, func() bool { return f.do(t.Context(), 200*time.Millisecond) == nil })
	waitFor(t, func() bool { return d.inspect("no room") > 0 })
	if left, err := os.ReadDir(d.tempDir()); err != nil || len(left) > 0 {
		t.Errorf("outside, the disk has %v, %v", left, err)
	}
	if err := os.WriteFile(filepath.Join(d.tempDir(), "x"), []byte("there is room outside"), 0o600); err != nil {
		t.Error(err)
	}
}
