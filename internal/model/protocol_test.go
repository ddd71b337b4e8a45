package model

import (
	"flag"
	"fmt"
	"testing"
)

var (
	full  = flag.Bool("full", false, "explore every configuration")
	limit = flag.Int("limit", 100_000_000, "states after which a configuration of -full counts as not explored")
)

const ones = timeout | ingestDie | rebalance | kill | loss | erasure

func (w world) String() string { return fmt.Sprintf("%s %d of %s", w.name, w.budget, w.faults) }

func TestProtocol(t *testing.T) {
	for _, w := range fullList() {
		t.Run(w.String(), func(t *testing.T) {
			r := explore(newModel(w), *limit)
			t.Log(r)
			for i, s := range r.trace {
				t.Logf("%3d %s", i+1, s)
			}
			if r.violation != "" {
				t.Error(r.violation)
			}
		})
	}
}

func fullList() (ws []world) {
	lc := func(w world) world { w.lateCommit = true; return w }
	rn := func(w world) world { w.renewal = true; return w }
	bd := func(w world) world { w.board = true; return w }
	ws = append(ws, segments.with(1, ones), lc(segments).with(1, kill), lc(segments).with(1, rebalance), rn(segments).with(1, timeout|ingestDie), bd(segments).with(1, loss|kill))
	ws = append(ws, stragglers.with(1, timeout|ingestDie|kill|loss), stragglers.with(1, rebalance))
	ws = append(ws, hours.with(1, timeout|ingestDie|kill), hours.with(1, rebalance), hours.with(1, loss), hours.with(2, rebalance|kill))
	for _, k := range []faults{wentBack, vanish, restoring} {
		ws = append(ws, versions.with(1, k), versions.with(2, k|kill), versions.with(2, k|rebalance), versions.with(2, k|erasure), versions.with(2, k|loss))
	}
	ws = append(ws, versions.with(2, restoring|operatorDie), versions.with(2, restoring|wentBack|vanish))
	for _, k := range []faults{wentBack, vanish, restoring} {
		ws = append(ws, oldVersions.with(1, k), oldVersions.with(2, k|kill), oldVersions.with(2, k|rebalance), oldVersions.with(2, k|loss))
	}
	ws = append(ws, oldVersions.with(2, restoring|operatorDie), oldVersions.with(2, restoring|wentBack|vanish))
	ws = append(ws, segments.with(2, rebalance|regain), lc(hours).with(2, rebalance|regain))
	for i := range 6 {
		for j := range i {
			ws = append(ws, segments.with(2, 1<<i|1<<j))
		}
	}
	return ws
}
