package main

import (
	"strings"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
)

var (
	noon = afterhours.Hour{Type: "purchase", Start: afterhours.MicrosOf(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC))}
	one  = afterhours.Hour{Type: "purchase", Start: noon.End()}
	bad  = afterhours.Hour{Type: afterhours.QuarantineType, Start: noon.Start}
)

// story is a ledger and the lake that agrees with it: event 0 and 1 of noon, of
// which 0 came with two payloads; event 2 of one, not acknowledged; and a broken
// record.
func story() (*ledger, map[afterhours.Hour]object) {
	l := &ledger{}
	for _, h := range []afterhours.Hour{noon, noon, one} {
		l.add(h, func(r record) []byte { return payloadOf(r, h) })
	}
	other, _ := l.again(0, true, payloadOf)
	l.ack(time.Now(), record{serial: 0}, record{serial: 1}, other, l.addBroken())
	lake := map[afterhours.Hour]object{
		noon: {rows: []row{
			{id: eventID(0), time: noon.Start, payload: l.events[0].copies[1].digest, conflict: true},
			{id: eventID(1), time: noon.Start, payload: l.events[1].copies[0].digest},
		}},
		bad: {rows: []row{{id: "q", time: bad.Start, envelope: envelope{Text: brokenMark(0) + " no JSON"}}}},
	}
	balance(lake)
	return l, lake
}

// balance gives every partition the books that go with its rows.
func balance(lake map[afterhours.Hour]object) {
	for h, o := range lake {
		n := int64(len(o.rows))
		o.books = books{Hour: h.String(), Generation: 1, Rows: n, Seen: n + 1, Duplicates: 1}
		lake[h] = o
	}
}

// A lake that agrees with the ledger passes, whether an event that is not
// acknowledged is there or not.
func TestCompareAgrees(t *testing.T) {
	l, lake := story()
	if out := l.compare(lake); len(out.wrong) > 0 || out.inLake != 3 {
		t.Errorf("%+v", out)
	}
	lake[one] = object{rows: []row{{id: eventID(2), time: one.Start, payload: l.events[2].copies[0].digest}}}
	balance(lake)
	if out := l.compare(lake); len(out.wrong) > 0 || out.inLake != 4 {
		t.Errorf("%+v", out)
	}
}

// Each way in which lake and ledger can differ is found, and called by its name.
func TestCompareFinds(t *testing.T) {
	for name, tt := range map[string]struct {
		change        func(l *ledger, lake map[afterhours.Hour]object)
		want          string
		lost, doubled int64
	}{
		"a lost event": {func(_ *ledger, lake map[afterhours.Hour]object) {
			cut(lake, noon, 1)
		}, "lost: e000000001", 1, 0},
		"a false entry of the ledger": {func(l *ledger, _ map[afterhours.Hour]object) {
			r, _ := l.add(one, func(r record) []byte { return payloadOf(r, one) })
			l.ack(time.Now(), r)
		}, "lost: e000000003", 1, 0},
		"a lost partition": {func(_ *ledger, lake map[afterhours.Hour]object) { delete(lake, noon) }, "lost: e000000000", 2, 0},
		"a lost broken record": {func(_ *ledger, lake map[afterhours.Hour]object) {
			cut(lake, bad, 0)
		}, "lost: broken-000000000", 1, 0},
		"an event twice in its hour": {func(_ *ledger, lake map[afterhours.Hour]object) {
			put(lake, noon, lake[noon].rows[1])
		}, "doubled: e000000001", 0, 1},
		"an event in two hours": {func(_ *ledger, lake map[afterhours.Hour]object) {
			r := lake[noon].rows[1]
			r.time = one.Start
			put(lake, one, r)
		}, "was sent for purchase/2026-11-20T12", 0, 1},
		"a broken record twice": {func(_ *ledger, lake map[afterhours.Hour]object) {
			r := lake[bad].rows[0]
			r.id = "q2"
			put(lake, bad, r)
		}, "doubled: broken-000000000", 0, 1},
		"an event nobody sent": {func(_ *ledger, lake map[afterhours.Hour]object) {
			put(lake, noon, row{id: eventID(77), time: noon.Start})
		}, "e000000077 was never sent", 0, 0},
		"a payload nobody sent": {func(_ *ledger, lake map[afterhours.Hour]object) {
			lake[noon].rows[1].payload++
		}, "a payload that nobody sent", 0, 0},
		"a conflict that was none": {func(_ *ledger, lake map[afterhours.Hour]object) {
			lake[noon].rows[1].conflict = true
		}, "its conflict flag is true", 0, 0},
		"a conflict that is not told": {func(_ *ledger, lake map[afterhours.Hour]object) {
			lake[noon].rows[0].conflict = false
		}, "its conflict flag is false", 0, 0},
		"an event in quarantine": {func(_ *ledger, lake map[afterhours.Hour]object) {
			put(lake, bad, row{id: "q2", time: bad.Start, envelope: envelope{Text: `{"event_id":"e000000002"}`}})
		}, "no broken record of ours", 0, 0},
		"a row of another hour": {func(_ *ledger, lake map[afterhours.Hour]object) {
			lake[noon].rows[0].time = one.Start
		}, "is of another hour", 0, 0},
		"another hour's manifest": {func(_ *ledger, lake map[afterhours.Hour]object) {
			o := lake[noon]
			o.books.Hour = one.String()
			lake[noon] = o
		}, "the manifest is of hour", 0, 0},
		"books that do not balance": {func(_ *ledger, lake map[afterhours.Hour]object) {
			o := lake[noon]
			o.books.Seen++
			lake[noon] = o
		}, "the books do not balance", 0, 0},
	} {
		l, lake := story()
		tt.change(l, lake)
		out := l.compare(lake)
		if all := strings.Join(out.wrong, "\n"); !strings.Contains(all, tt.want) || out.lost != tt.lost || out.doubled != tt.doubled {
			t.Errorf("%s: %d lost, %d doubled, want %d, %d and %q:\n%s", name, out.lost, out.doubled, tt.lost, tt.doubled, tt.want, all)
		}
	}
}

func cut(lake map[afterhours.Hour]object, h afterhours.Hour, i int) {
	o := lake[h]
	o.rows = append(o.rows[:i:i], o.rows[i+1:]...)
	lake[h] = o
	balance(lake)
}

func put(lake map[afterhours.Hour]object, h afterhours.Hour, r row) {
	o := lake[h]
	o.rows = append(o.rows, r)
	lake[h] = o
	balance(lake)
}
