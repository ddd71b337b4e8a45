package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// tellShortest leaves out of a failing schedule what it does not need, and prints
// the rest.
func tellShortest(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		s, r := shrink(t, schedule{seed: seed})
		if r.err == nil {
			fmt.Printf("seed %d did not fail again\n", seed)
			return
		}
		fmt.Printf("shortest: %s\n%s%s\n", s, r.plan, strings.Join(r.trace.lines, "\n"))
	})
}

// shrink drops faults, events and records one by one while the schedule fails.
func shrink(t *testing.T, s schedule) (schedule, result) {
	s.steps, s.records = map[int]bool{}, map[int]bool{}
	best := simulate(t, s, true)
	if best.err == nil {
		return s, best
	}
	for again := true; again; {
		again = false
		try := func(set map[int]bool, n int) {
			if set[n] {
				return
			}
			set[n] = true
			if r := simulate(t, s, true); r.err != nil {
				best, again = r, true
				return
			}
			delete(set, n)
		}
		for _, step := range slices.Backward(slices.Clone(best.trace.faults)) {
			try(s.steps, step)
		}
		for n := range 10 {
			try(s.records, n)
		}
		if r := simulate(t, s, true); r.err != nil {
			best = r
		}
	}
	return s, best
}

// String prints a schedule as a line of testdata/failed-seeds.
func (s schedule) String() string {
	return fmt.Sprintf("%d steps=%s records=%s", s.seed, numbers(s.steps), numbers(s.records))
}

func numbers(set map[int]bool) string {
	var b []string
	for _, n := range slices.Sorted(maps.Keys(set)) {
		b = append(b, fmt.Sprint(n))
	}
	if b == nil {
		return "-"
	}
	return strings.Join(b, ",")
}
