package metamorphic

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/ingest"
)

// mapping takes received times from the records, so that which copy of an event
// survives is in the input and nowhere else.
var mapping = ingest.Mapping{
	IDField: "id", TypeField: "type", TimeField: "at", ReceivedField: "received",
	AcceptPast: 100 * 365 * 24 * time.Hour, AcceptFuture: 100 * 365 * 24 * time.Hour,
	Columns: []afterhours.Column{
		{Name: "amount", Field: "amount", Type: afterhours.Int64},
		{Name: "flag", Field: "o.flag", Type: afterhours.Boolean},
		{Name: "price", Field: "o.price", Type: afterhours.Double},
		{Name: "user_id", Field: "user", Type: afterhours.String},
	},
}

// null stands for a cell without value.
const null = "null"

// record is a line of the input, and what is true of it.
type record struct {
	ingest.Record
	event *afterhours.Event // nil: it is none, and belongs in quarantine
	cells [4]string         // of the mapping's columns
}

// world is an input, and what must come of it.
type world struct {
	records []record
	want    map[afterhours.Hour][]row
	late    map[afterhours.Hour]int64
	broken  map[string]string // bytes by position
}

// row is a row of a partition, in words.
type row struct {
	id             string
	time, received afterhours.Micros
	payload        string
	cells          [4]string
	conflict       bool
}

func (r row) String() string {
	return fmt.Sprint([]any{r.id, r.time, r.received, r.payload, r.cells, r.conflict})
}

// start is the first instant of the events.
var start = afterhours.MicrosOf(time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC))

// starts are the hours of the events: neighbours, another day, long before.
var starts = []time.Duration{0, time.Hour, 14 * time.Hour, -26 * time.Hour, -400 * time.Hour, 0, 0, 0}

// newWorld draws n records: events, copies of them, and what is none. One hour
// has most of them.
func newWorld(r *rand.Rand, n int) *world {
	w := &world{want: map[afterhours.Hour][]row{}, late: map[afterhours.Hour]int64{}, broken: map[string]string{}}
	var originals []draft
	for i := range n {
		var rec record
		switch k := r.IntN(20); {
		case k == 0:
			rec.Bytes = broken(r)
		case k < 7 && len(originals) > 0:
			rec = originals[r.IntN(len(originals))].copy(r)
		default:
			d := newDraft(r, i)
			originals = append(originals, d)
			rec = d.record()
		}
		rec.Source, rec.Position, rec.Time = "in", fmt.Sprint(i), start.Time()
		if rec.event == nil {
			w.broken[rec.Position] = string(rec.Bytes)
		}
		w.records = append(w.records, rec)
	}
	w.judge()
	return w
}

// broken draws a line that is no event.
func broken(r *rand.Rand) []byte {
	lines := []string{"", "oops", `{"id":`, "\xff\xfe", `{"id":"a","id":"b"}`, `{"id":"a","type":"_x","at":1}`, `{"type":"click"}`, strings.Repeat("[", 5000)}
	return fmt.Appendf(nil, "%s %d", lines[r.IntN(len(lines))], r.IntN(3))
}

// draft is an event before it is written as a line.
type draft struct {
	id, kind     string
	at, received afterhours.Micros
	user         string // as JSON
	amount       string
	pad          int
	spaces       int
}

func newDraft(r *rand.Rand, i int) draft {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	d := draft{
		id:   pick(fmt.Sprint("e", i), fmt.Sprint("e", i), fmt.Sprint("é\\n", i), strings.Repeat("long", 50)+fmt.Sprint(i)),
		kind: pick("purchase", "purchase", "purchase", "click", "a/b=c"),
		user: pick(`"bob"`, `"alice"`, `"b\u0000"`, `""`, `7`, null, ""), amount: pick("1", "-5e2", "1.5", `"1"`, "9007199254740993", ""),
	}
	d.at = start + afterhours.Micros(starts[r.IntN(len(starts))].Microseconds()) + afterhours.Micros(r.Int64N(4))*900e6 + afterhours.Micros(r.Int64N(3))
	d.received = d.at + afterhours.Micros(r.Int64N(1800e6))
	if r.IntN(4) == 0 {
		d.received += afterhours.Micros(r.Int64N(100 * 3600e6)) // late
	}
	if r.IntN(6) == 0 {
		d.pad = r.IntN(3000)
	}
	return d
}

// copy draws another delivery of the event: the very same line, or one that was
// received at another time, or that differs in its bytes alone.
func (d draft) copy(r *rand.Rand) record {
	switch r.IntN(4) {
	case 0:
		d.received += afterhours.Micros(r.Int64N(7200e6)) - 3600e6
	case 1:
		d.spaces = 1 + r.IntN(3)
	case 2:
		d.user = `"mallory"`
		d.received = max(d.at, d.received-afterhours.Micros(r.Int64N(2)))
	}
	return d.record()
}

// record writes the event as a line, and says what is true of it.
func (d draft) record() record {
	b := fmt.Appendf(nil, `{"id":"%s","type":"%s","at":"%s","received":%d.%06d`, d.id, d.kind, d.at, d.received/1e6, d.received%1e6)
	cells := [4]string{null, null, null, null}
	if d.user != "" {
		b = fmt.Appendf(b, `,"user":%s`, d.user)
		if text, err := strconv.Unquote(d.user); err == nil {
			cells[3] = text
		}
	}
	if d.amount != "" {
		price, err := strconv.ParseFloat(d.amount, 64)
		b = fmt.Appendf(b, `,"amount":%s,"o":{"price":%[1]s,"flag":%t}`, d.amount, d.pad%2 == 0)
		cells[1] = fmt.Sprint(d.pad%2 == 0)
		if err == nil {
			cells[2] = fmt.Sprint(price)
			if whole, ok := map[string]string{"1": "1", "-5e2": "-500", "9007199254740993": "9007199254740993"}[d.amount]; ok {
				cells[0] = whole
			}
		}
	}
	b = fmt.Appendf(b, `,"pad":"%s"}%s`, strings.Repeat("x", d.pad), strings.Repeat(" ", d.spaces))
	id, err := strconv.Unquote(`"` + d.id + `"`)
	if err != nil {
		panic(err)
	}
	e := afterhours.Event{ID: id, Type: d.kind, Time: d.at, Received: d.received, Payload: b}
	return record{Record: ingest.Record{Bytes: b}, event: &e, cells: cells}
}

// judge works out the rows and late rows of every hour, the plain way: of the
// copies of an ID in an hour, the one with the smallest received time, then bytes.
func (w *world) judge() {
	copies := map[afterhours.Hour]map[string][]record{}
	for _, r := range w.records {
		if r.event == nil {
			continue
		}
		h := r.event.Hour()
		if copies[h] == nil {
			copies[h] = map[string][]record{}
		}
		copies[h][r.event.ID] = append(copies[h][r.event.ID], r)
	}
	for h, byID := range copies {
		for id, all := range byID {
			slices.SortFunc(all, func(a, b record) int {
				return cmp.Or(cmp.Compare(a.event.Received, b.event.Received), strings.Compare(string(a.Bytes), string(b.Bytes)))
			})
			first := all[0]
			conflict := slices.ContainsFunc(all, func(r record) bool { return string(r.Bytes) != string(first.Bytes) })
			w.want[h] = append(w.want[h], row{id, first.event.Time, first.event.Received, string(first.Bytes), first.cells, conflict})
			if first.event.Received >= h.End() {
				w.late[h]++
			}
		}
		slices.SortFunc(w.want[h], func(a, b row) int {
			nulls := func(r row) int { return map[bool]int{true: 0, false: 1}[r.cells[3] == null] }
			return cmp.Or(nulls(a)-nulls(b), strings.Compare(a.cells[3], b.cells[3]), cmp.Compare(a.time, b.time), strings.Compare(a.id, b.id))
		})
	}
}

// conflicts returns how many events of an hour came with differing bytes.
func (w *world) conflicts(h afterhours.Hour) (n int64) {
	for _, r := range w.want[h] {
		if r.conflict {
			n++
		}
	}
	return n
}

// feed is a source of records that calls stop before it puts the record of that
// number.
func feed(records []record, at int, stop func()) ingest.Source {
	return source(func(ctx context.Context, put ingest.Put) error {
		for i, r := range records {
			if i == at {
				stop()
			}
			if err := put(ctx, r.Record, func() {}); err != nil {
				return err
			}
		}
		return nil
	})
}
