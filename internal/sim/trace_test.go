package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// trace is what happened in words, if it is kept.
type trace struct {
	keep   bool
	lines  []string
	faults []int // steps in which something unusual was drawn
	step   *int
}

func (t *trace) addf(format string, args ...any) {
	if !t.keep {
		return
	}
	line := fmt.Sprintf(format, args...)
	t.lines = append(t.lines, fmt.Sprintf("%5d  %s", *t.step, line))
}

func (t *trace) fault(step int) {
	if n := len(t.faults); n == 0 || t.faults[n-1] != step {
		t.faults = append(t.faults, step)
	}
}

// stats counts what happened, by name, in one schedule or in many.
type stats struct {
	drawn, events int // unusual things drawn in this schedule, against the plan
	counts        map[string]int
}

// What the first line of a summary tells. All else is told by name.
const (
	schedules  = "schedules"
	steps      = "steps"
	violations = "violations"
)

func (s *stats) count(name string, n int) {
	if s.counts == nil {
		s.counts = map[string]int{}
	}
	s.counts[name] += n
}

// add adds what others counted.
func (s *stats) add(counts map[string]int) {
	for name, n := range counts {
		s.count(name, n)
	}
}

// String is the summary: one line, then a table.
func (s stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "schedules %d, steps %d, violations %d\n", s.counts[schedules], s.counts[steps], s.counts[violations])
	for _, name := range slices.Sorted(maps.Keys(s.counts)) {
		if name != schedules && name != steps && name != violations {
			fmt.Fprintf(&b, "  %-32s %12d\n", name, s.counts[name])
		}
	}
	return b.String()
}
