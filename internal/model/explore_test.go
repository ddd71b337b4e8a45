package model

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// buckets is a puzzle: buckets of 3 and 5 litres, and 4 are forbidden. Once both are
// poured away, nothing is left to do.
type buckets struct {
	forbidden int
	leftover  int // what must not be left at the end; -1: nothing
}

type water struct {
	three, five int
	over        bool
}

func (b buckets) first() water { return water{} }

func (b buckets) next(w water, steps []step[water]) []step[water] {
	if w.over {
		return steps
	}
	add := func(three, five int, text string) {
		steps = append(steps, step[water]{to: water{three: three, five: five}, what: label{text: text}})
	}
	add(3, w.five, "fill 3")
	add(w.three, 5, "fill 5")
	add(0, w.five, "empty 3")
	add(w.three, 0, "empty 5")
	n := min(w.three, 5-w.five)
	add(w.three-n, w.five+n, "3 into 5")
	n = min(w.five, 3-w.three)
	add(w.three+n, w.five-n, "5 into 3")
	over := w
	over.over = true
	return append(steps, step[water]{to: over, what: label{text: "stop"}, weak: true})
}

func (b buckets) wrong(w water) string {
	if w.three+w.five == b.forbidden {
		return "forbidden"
	}
	return ""
}

func (b buckets) unfinished(w water) string {
	if w.three == b.leftover {
		return "left over"
	}
	return ""
}

// TestExploreFindsTheShortestTrace, of several.
func TestExploreFindsTheShortestTrace(t *testing.T) {
	r := explore(buckets{forbidden: 4, leftover: -1}, 1000)
	want := []string{"fill 3", "3 into 5", "fill 3", "3 into 5", "empty 5", "3 into 5", "fill 3"}
	if r.violation != "forbidden" || len(r.trace) > len(want) {
		t.Errorf("%v by %q, want no more than %d steps", r, r.trace, len(want))
	}
	if r.trace[0] != "fill 5" && r.trace[0] != "fill 3" {
		t.Errorf("trace %q does not begin at the beginning", r.trace)
	}
}

// TestExploreVisitsEveryState once, and says that it did.
func TestExploreVisitsEveryState(t *testing.T) {
	// One bucket is always full or empty, or the state is one of the first.
	r := explore(buckets{forbidden: 9, leftover: -1}, 1000)
	if !r.complete || r.violation != "" || r.states != 2*16 || r.transitions != 16*7 {
		t.Errorf("%v, want 32 states and 112 transitions", r)
	}
	if r := explore(buckets{forbidden: 9, leftover: -1}, 20); r.complete || r.states <= 20 {
		t.Errorf("%v, want the bound reached", r)
	}
}

// TestExploreFindsWhatIsUnfinished, in a state from which nothing leads on.
func TestExploreFindsWhatIsUnfinished(t *testing.T) {
	r := explore(buckets{forbidden: 9, leftover: 2}, 1000)
	if want := []string{"fill 5", "5 into 3", "empty 3", "5 into 3", "stop"}; r.violation != "left over" || !slices.Equal(r.trace, want) {
		t.Errorf("%v by %q, want %q", r, r.trace, want)
	}
}

// TestVisitedIsASet, also while it grows, and of the fingerprint that means none.
func TestVisitedIsASet(t *testing.T) {
	var v visited
	rnd, seen := rand.New(rand.NewPCG(1, 2)), map[uint64]bool{}
	for range 200_000 {
		print := rnd.Uint64N(1<<17) * 0x9e3779b97f4a7c15 // many of them twice
		if v.add(print) == seen[print] {
			t.Fatalf("fingerprint %x: known %v, the set says otherwise", print, seen[print])
		}
		seen[print] = true
	}
	if v.n != len(seen) {
		t.Errorf("%d fingerprints, want %d", v.n, len(seen))
	}
	if v = (visited{}); !v.add(0) || v.add(0) {
		t.Error("0 is not added once")
	}
}

// TestQueueKeepsOrder through many blocks, which it fills again.
func TestQueueKeepsOrder(t *testing.T) {
	var q queue[int]
	in, out := 0, 0
	for range 10 * block {
		for range 2 {
			q.push(in)
			in++
		}
		if got := q.pop(); got != out {
			t.Fatalf("popped %d, want %d", got, out)
		}
		out++
	}
	if q.n != in-out {
		t.Errorf("%d left, want %d", q.n, in-out)
	}
}

// TestLabel prints numbers and sets.
func TestLabel(t *testing.T) {
	got := newLabel("c%d reads %r of lane %d: %e", []uint8{1, 5, 2, 0}).String()
	if want := "c1 reads r0 r2 of lane 2: nothing"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if strings.Contains(got, "%") {
		t.Error("a verb is left")
	}
}
