package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/afterhours/afterhours"
)

// outcome is what a comparison of the lake with the ledger found.
type outcome struct {
	inLake  int64 // events and broken records
	lost    int64 // of those acknowledged
	doubled int64
	wrong   []string // everything, lost and doubled ones too, in words
}

func (o *outcome) fault(format string, args ...any) {
	o.wrong = append(o.wrong, fmt.Sprintf(format, args...))
}

// compare compares the whole lake with the ledger: every acknowledged event is in
// its hour once, with one of the payloads it was sent with and the right flag;
// every broken record that was acknowledged is in quarantine once; and nothing is
// there that nobody sent.
func (l *ledger) compare(lake map[afterhours.Hour]object) outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out outcome
	places := make([]int, len(l.events))
	broken := make([]int, len(l.broken))
	for _, h := range slices.SortedFunc(maps.Keys(lake), afterhours.Hour.Compare) {
		for _, f := range lake[h].faults(h) {
			out.fault("%s: %s", h, f)
		}
		for _, r := range lake[h].rows {
			if h.Type == afterhours.QuarantineType {
				l.compareQuarantined(&out, h, r, broken)
			} else {
				l.compareEvent(&out, h, r, places)
			}
		}
	}
	l.count(&out, places, broken)
	return out
}

func (l *ledger) compareEvent(out *outcome, h afterhours.Hour, r row, places []int) {
	serial := parseID(r.id)
	if serial < 0 || serial >= len(l.events) {
		out.fault("%s: ID %s was never sent", h, r.id)
		return
	}
	e := &l.events[serial]
	places[serial]++
	if e.hour != h {
		out.fault("%s: ID %s was sent for %s", h, r.id, e.hour)
	}
	if !slices.ContainsFunc(e.copies, func(p payload) bool { return p.digest == r.payload }) {
		out.fault("%s: ID %s has a payload that nobody sent", h, r.id)
	}
	acked := 0
	for _, p := range e.copies {
		if p.acked {
			acked++
		}
	}
	// A copy that is not acknowledged may be there, or may not.
	if r.conflict && len(e.copies) == 1 || !r.conflict && acked > 1 {
		out.fault("%s: ID %s came with %d payloads, %d of them acknowledged, and its conflict flag is %t", h, r.id, len(e.copies), acked, r.conflict)
	}
}

var brokenMarks = regexp.MustCompile(`broken-(\d{9})`)

func (l *ledger) compareQuarantined(out *outcome, h afterhours.Hour, r row, broken []int) {
	b, err := r.envelope.bytes()
	if err != nil {
		out.fault("%s: %s: %v", h, r.id, err)
		return
	}
	m := brokenMarks.FindSubmatch(b)
	if m == nil {
		out.fault("%s: %s is no broken record of ours: %.80q, %s", h, r.id, b, r.envelope.Reason)
		return
	}
	serial, err := strconv.Atoi(string(m[1]))
	if err != nil || serial >= len(broken) {
		out.fault("%s: %s was never sent", h, m[0])
		return
	}
	broken[serial]++
}

// count says what is lost and what is doubled.
func (l *ledger) count(out *outcome, places, broken []int) {
	one := func(n int, acked bool, name string) {
		switch {
		case n == 0 && acked:
			out.lost++
			out.fault("lost: %s was acknowledged and is not in the lake", name)
		case n > 1:
			out.doubled++
			out.fault("doubled: %s is %d times in the lake", name, n)
		}
		out.inLake += int64(min(n, 1))
	}
	for i, n := range places {
		e := &l.events[i]
		one(n, !e.acked.IsZero(), fmt.Sprintf("%s of %s", eventID(i), e.hour))
	}
	for i, n := range broken {
		one(n, l.broken[i], brokenMark(i))
	}
}
