package model

import (
	"cmp"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

var full = flag.Bool("full", false, "explore every world with pairs of faults, which takes many minutes and up to 4 GiB")

// fullLimit is more states than memory has room for.
const fullLimit = 60_000_000

// TestProtocol: the protocol as it is built keeps its promises in every state that
// a world can reach. Without -full the worlds are small.
func TestProtocol(t *testing.T) {
	var all report
	worlds, limit := smallWorlds(), smallLimit
	if *full {
		worlds, limit = allWorlds(), fullLimit
		t.Cleanup(func() { t.Logf("\n%s", all.String()) })
	}
	for _, w := range worlds {
		t.Run(w.String(), func(t *testing.T) {
			t.Parallel()
			r := explore(newModel(w), limit)
			t.Log(r)
			all.add(w, r)
			if r.violation != "" {
				t.Errorf("%s\n%s%s", r.violation, w.cast(), r.story())
			}
			if !r.complete && *full {
				t.Error("not every state was visited")
			}
		})
	}
}

// smallWorlds are those that every run of the tests explores.
func smallWorlds() []world {
	return []world{
		pair.with(2, timeout|ingestDie|rebalance|kill|loss|erasure),
		segments,
		renewal.with(1, timeout|ingestDie|kill),
		copies,
		pair.with(2, rebalance|regain),
		pair.told().with(2, rebuilding|kill|erasure),
		stragglers.quick(),
		hours.with(1, kill),
		line.unclosed().with(1, wentBack|vanish|restoring),
		lone.with(1, wentBack|vanish|restoring),
		lone.quick().with(2, restoring|operatorDie),
	}
}

// allWorlds are those of -full: every fault of the processes and each pair of them in
// the world of own lanes, and with every fault that hands do in that of versions.
func allWorlds() []world {
	const process, hands = timeout | ingestDie | rebalance | kill | loss | erasure, wentBack | vanish | restoring
	worlds := append(smallWorlds(),
		segments.with(1, process),
		segments.told().with(1, process),
		segments.aging().with(1, timeout|ingestDie|kill|loss),
		segments.unnoted().with(1, process),
		segments.late().with(1, rebalance|kill),
		segments.with(2, rebalance|regain),
		stragglers.with(1, process),
		stragglers.with(2, timeout|ingestDie|kill|loss),
		hours.with(1, process),
		hours.with(2, rebalance|regain|kill),
		segments.with(2, rebuilding|rebalance),
		versions.with(2, hands),
		versions.with(2, rebuilding|wentBack),
		versions.with(2, restoring|operatorDie),
		oldVersions.with(2, hands),
		oldVersions.with(2, restoring|operatorDie),
	)
	for _, two := range pairsOf(process) {
		worlds = append(worlds, segments.with(2, two))
	}
	for _, hand := range []faults{wentBack, vanish, restoring} {
		for _, fault := range []faults{rebalance, kill, loss, erasure} {
			w := versions
			if hand == restoring && fault == rebalance {
				w = versions.quick() // else it has more states than memory has room for
			}
			worlds = append(worlds, w.with(2, hand|fault))
		}
		for _, fault := range []faults{kill, loss} {
			worlds = append(worlds, oldVersions.with(2, hand|fault))
		}
	}
	return worlds
}

// pairsOf returns every two of kinds.
func pairsOf(kinds faults) (pairs []faults) {
	for a := faults(1); a <= kinds; a <<= 1 {
		for b := a << 1; b <= kinds; b <<= 1 {
			if kinds&a != 0 && kinds&b != 0 {
				pairs = append(pairs, a|b)
			}
		}
	}
	return pairs
}

// report is what was explored, for people. It is safe for concurrent use.
type report struct {
	mu   sync.Mutex
	rows []explored
}

type explored struct {
	world
	result
}

func (t *report) add(w world, r result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, explored{w, r})
}

func (t *report) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.SortFunc(t.rows, func(a, b explored) int { return cmp.Compare(a.world.String(), b.world.String()) })
	var b strings.Builder
	line := func(columns ...any) { fmt.Fprintf(&b, "%-60v %12v %12v %8v\n", columns...) }
	line("configuration", "states", "transitions", "seconds")
	var sum result
	for _, r := range t.rows {
		line(r.world, r.states, r.transitions, fmt.Sprintf("%.0f", r.elapsed.Seconds()))
		sum.states, sum.transitions = sum.states+r.states, sum.transitions+r.transitions
		sum.elapsed += r.elapsed
	}
	line(fmt.Sprintf("%d configurations, none breaks a promise", len(t.rows)), sum.states, sum.transitions, fmt.Sprintf("%.0f", sum.elapsed.Seconds()))
	return b.String()
}
