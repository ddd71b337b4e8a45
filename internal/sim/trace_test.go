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

// stats counts what happened in one schedule, or in many.
type stats struct {
	schedules, steps, violations                             int
	drawn, events                                            int // of this schedule, against the plan
	crashes, rebalances, terminations, jumps, cleaned, waits int
	publishes, conflicts, notes, deferred, sweeps            int
	acked, quarantined                                       int
	faults                                                   map[string]int
}

func (s *stats) fault(kind string) {
	if s.faults == nil {
		s.faults = map[string]int{}
	}
	s.faults[strings.TrimLeft(kind, " !")]++
}

// add adds what another schedule counted.
func (s *stats) add(o stats) {
	for _, p := range []struct {
		to *int
		n  int
	}{
		{&s.schedules, o.schedules}, {&s.steps, o.steps}, {&s.violations, o.violations}, {&s.events, o.events}, {&s.drawn, o.drawn},
		{&s.crashes, o.crashes}, {&s.rebalances, o.rebalances}, {&s.terminations, o.terminations}, {&s.jumps, o.jumps}, {&s.cleaned, o.cleaned}, {&s.waits, o.waits},
		{&s.publishes, o.publishes}, {&s.conflicts, o.conflicts}, {&s.notes, o.notes}, {&s.deferred, o.deferred}, {&s.sweeps, o.sweeps},
		{&s.acked, o.acked}, {&s.quarantined, o.quarantined},
	} {
		*p.to += p.n
	}
	if s.faults == nil {
		s.faults = map[string]int{}
	}
	for k, n := range o.faults {
		s.faults[k] += n
	}
}

func (s stats) table() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(s.faults)) {
		fmt.Fprintf(&b, "  fault %-24s %10d\n", k, s.faults[k])
	}
	for _, p := range []struct {
		name string
		n    int
	}{
		{"crashes", s.crashes}, {"rebalances", s.rebalances}, {"terminations", s.terminations}, {"clock jumps", s.jumps}, {"marks cleaned", s.cleaned},
		{"publishes", s.publishes}, {"conflicts", s.conflicts}, {"notes", s.notes}, {"marks deferred", s.deferred}, {"sweeps", s.sweeps},
		{"events acknowledged", s.acked}, {"of these quarantined", s.quarantined},
	} {
		fmt.Fprintf(&b, "  %-30s %10d\n", p.name, p.n)
	}
	return b.String()
}
