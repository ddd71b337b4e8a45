package sim

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/compact"
)

// plan is all that a seed decides before the first step: how the world is set up,
// what is delivered, and how much goes wrong.
type plan struct {
	seed uint64

	start     afterhours.Micros
	ingests   int
	daemons   int // compactors that run for ever
	drains    int // compactors that drain again and again
	sources   int // logs of the source
	logs      int // logs of marks
	records   []*record
	received  bool // records say when they were received
	columns   []afterhours.Column
	skew      []afterhours.Micros // by slot
	faults    int
	events    int // that are no faults: jumps of the clock, cleaning, requests
	length    int // steps before everything comes to rest
	order     order
	starved   int // slot
	faultRate float64
	eventRate float64
	expiry    bool // much time passes: rows expire, and objects go back
	crowded   bool // what a rewrite has read is old when it goes on: another has published

	ttl         time.Duration
	segmentRows int64
	page        int // rows
	poll        int // marks
	slack       int64
	workers     int
	giantBytes  int64
	blockRows   int           // of a partition
	grace       time.Duration // of a process that is told to stop
	policy      compact.Policy
}

// patience is longer than a process that is told to stop ever needs.
const patience = time.Hour

// order is how the scheduler chooses among the operations that wait.
type order int

const (
	uniform  order = iota
	ranked         // by a rank that is drawn for each operation, and drawn anew now and then
	starving       // one process hardly ever
	orders
)

// newRand returns a source of random numbers that depends on all of ns.
func newRand(ns ...uint64) *rand.Rand {
	return rand.New(rand.NewPCG(mix(ns...), mix(append(ns, 1)...)))
}

func mix(ns ...uint64) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, n := range ns {
		h ^= n
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

// chance is true once in n times.
func chance(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }

// newPlan draws a plan. Records that are dropped are not delivered; the others
// stay as they are.
func newPlan(seed uint64, drop map[int]bool) plan {
	r := newRand(seed, 0)
	p := plan{
		seed:    seed,
		start:   afterhours.MicrosOf(time.Date(2026, 11, 20, r.IntN(24), r.IntN(60), 0, 0, time.UTC)),
		ingests: 1 + r.IntN(2), daemons: r.IntN(3), sources: 1 + r.IntN(2), logs: 1 + r.IntN(2),
		received: chance(r, 2), faults: r.IntN(7), events: r.IntN(5), length: 100 + r.IntN(200),
		order: order(r.IntN(int(orders))), faultRate: []float64{0.02, 0.05, 0.1}[r.IntN(3)],
		ttl: time.Duration(4+r.IntN(3)) * 24 * time.Hour, segmentRows: []int64{1, 2, 3, 50_000}[r.IntN(4)],
		page: 1 + r.IntN(3), poll: 1 + r.IntN(3), slack: []int64{1, 2, 10_000}[r.IntN(3)],
		workers: 1 + r.IntN(2), giantBytes: []int64{64 << 20, 64 << 20, 64 << 20, 1000}[r.IntN(4)],
		policy: compact.Policy{Grace: time.Second, Quiet: time.Second, MaxDelay: 4 * time.Second},
	}
	p.grace = pick(r, []time.Duration{30 * time.Second, patience})
	p.eventRate = 0.02
	if p.expiry = chance(r, 6); p.expiry {
		p.events, p.eventRate, p.faults, p.received = 4+r.IntN(5), 0.06, 1+r.IntN(3), false
	}
	if p.drains = r.IntN(2); p.daemons == 0 {
		p.drains = 1
	}
	if chance(r, 4) {
		p.policy.AgeShare, p.policy.MaxDelay = 8, time.Hour
	}
	if chance(r, 8) {
		p.columns = []afterhours.Column{{Name: "user_id", Field: "v", Type: afterhours.Int64}}
	}
	for range p.slots() {
		skew := afterhours.Micros(0)
		if chance(r, 3) {
			skew = afterhours.Micros(r.Int64N(22*3600e6)) - 11*3600e6
		}
		p.skew = append(p.skew, skew)
	}
	p.starved = r.IntN(len(p.skew))
	p.blockRows = pick(r, []int{0, 1, 2, 3, 32, 64})
	p.deliveries(r, drop)
	// Drawn last, so that seeds mean what they did. Partitions have a few KiB: a row is
	// worth it after twice the quiet, or not before the longest delay.
	p.policy.RowWorth = pick(r, []int64{0, 2000, 500, 1})
	if p.crowded = chance(r, 4); p.crowded {
		p.crowd(r)
	}
	return p
}

// crowd has two compactors there all the time, and something for them to do.
func (p *plan) crowd(r *rand.Rand) {
	p.daemons = 2
	for len(p.skew) < len(p.slots()) {
		p.skew = append(p.skew, 0)
	}
	p.events += 4
	for _, rec := range p.records {
		rec.arrives = r.IntN(p.length)
	}
}

// slots names the slots of the plan's processes. The operator's is the last.
func (p plan) slots() (names []string) {
	for i := range p.ingests {
		names = append(names, fmt.Sprint("i", i))
	}
	for i := range p.daemons {
		names = append(names, fmt.Sprint("c", i))
	}
	for i := range p.drains {
		names = append(names, fmt.Sprint("d", i))
	}
	return append(names, "o")
}

// deliveries draws what the source delivers: events of a few hours, with copies,
// and records that are no events, or that the store refuses.
func (p *plan) deliveries(r *rand.Rand, drop map[int]bool) {
	types := []string{"a", "b"}[:1+r.IntN(2)]
	var hours []afterhours.Hour
	for range pick(r, []int{1, 1, 2, 2, 3}) {
		age := []time.Duration{0, 0, time.Hour, 3 * time.Hour, 30 * time.Hour, 90 * 24 * time.Hour}[r.IntN(6)]
		hours = append(hours, afterhours.HourOf(pick(r, types), p.start-micros(age)))
	}
	ids := 2 + r.IntN(4)
	if p.expiry {
		hours, ids = hours[:1], 2
	}
	spread := 1 // of steps over which the records arrive
	if p.expiry || chance(r, 4) {
		spread = p.length
	}
	for i := range 2 + r.IntN(7) {
		h, id := pick(r, hours), fmt.Sprint("e", r.IntN(ids))
		rec := &record{arrives: r.IntN(spread), at: p.start.Time().Truncate(time.Hour), hour: h, id: id}
		at := h.Start + afterhours.Micros(id[1]-'0')*1e6
		received := p.start - pick(r, []afterhours.Micros{0, 1e6, 3600e6, 8 * 24 * 3600e6})
		value := 0
		if chance(r, 4) {
			value = 1
		}
		kind := r.IntN(16)
		if kind == 1 {
			rec.id, id = "", "poison"+id
			rec.hour, rec.reason = quarantineHour(rec.at), "refused by the store"
		}
		rec.bytes = fmt.Appendf(nil, `{"id":%q,"type":%q,"t":%d,"r":%d,"v":%d}`, id, h.Type, at, received, value)
		if kind == 0 {
			rec.id, rec.hour, rec.reason = "", quarantineHour(rec.at), "not a JSON object"
			rec.bytes = rec.bytes[:len(rec.bytes)-1]
		}
		if !drop[i] {
			p.records = append(p.records, rec)
		}
	}
}

func quarantineHour(at time.Time) afterhours.Hour {
	return afterhours.HourOf(afterhours.QuarantineType, afterhours.MicrosOf(at))
}

// isPoison reports whether the store refuses an event whatever happens.
func isPoison(e afterhours.Event) bool {
	return e.Type != afterhours.QuarantineType && strings.HasPrefix(e.ID, "poison")
}

// isEnvelope reports whether a payload keeps the record: its bytes, its place and
// the reason.
func (r *record) isEnvelope(payload []byte) bool {
	return bytes.Contains(payload, fmt.Appendf(nil, `"position":%q`, r.position())) &&
		bytes.Contains(payload, []byte(r.reason)) &&
		(bytes.Contains(payload, fmt.Appendf(nil, `"text":%q`, r.bytes)) ||
			bytes.Contains(payload, fmt.Appendf(nil, `"base64":%q`, base64.StdEncoding.EncodeToString(r.bytes))))
}

// String prints what the plan decided.
func (p plan) String() string {
	var b strings.Builder
	c := p
	c.records = nil
	fmt.Fprintf(&b, "start %s, %+v\n", p.start, (noString)(c))
	for i, r := range p.records {
		fmt.Fprintf(&b, "  record %d of %s: %s\n", i, r.hour, r.bytes)
	}
	return b.String()
}

type noString plan
