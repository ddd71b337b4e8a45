package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"text/tabwriter"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/ingest"
	"github.com/afterhours/afterhours/internal/testenv/servers"
	"github.com/afterhours/afterhours/store"
)

// load is a day of events.
type load struct {
	types     int     // simulated
	allTypes  int     // of which that is a part; everything is in proportion
	events    float64 // a day, of all types
	late      float64 // part of them that is late
	days      int     // the late ones are spread over
	processes int
	workers   int // of a process
}

// lanes simulates what a day of events does to the index, with lanes of their own
// only and with shared lanes for stragglers; and if there are servers, measures an
// excerpt of it.
func lanes(ctx context.Context, args []string) error {
	var c cluster
	var l load
	f := flag.NewFlagSet("lanes", flag.ContinueOnError)
	f.IntVar(&l.types, "types", 60, "event types to simulate")
	f.IntVar(&l.allTypes, "all-types", 600, "event types there are")
	f.Float64Var(&l.events, "events", 1e9, "events a day")
	f.Float64Var(&l.late, "late", 0.05, "part of them that is late")
	f.IntVar(&l.days, "days", 30, "days that the late ones are spread over")
	f.IntVar(&l.processes, "processes", 8, "ingest processes")
	f.IntVar(&l.workers, "workers", 4, "workers of a process")
	f.StringVar(&c.host, "cassandra", os.Getenv(servers.Variable(servers.Cassandra)), "`HOST:PORT`; without it nothing is measured")
	kafka := f.String("kafka", os.Getenv(servers.Variable(servers.Kafka)), "`HOST:PORT`")
	if err := f.Parse(args); err != nil {
		return err
	}
	began := time.Now()
	own, shared := l.simulate(false), l.simulate(true)
	fmt.Printf("a day of %.0f events of %d types, %.0f%% late over %d days, %d processes of %d workers (%d types simulated in %.0f s)\n",
		l.events, l.allTypes, 100*l.late, l.days, l.processes, l.workers, l.types, time.Since(began).Seconds())
	if err := l.print(own, shared); err != nil {
		return err
	}
	if c.host == "" || *kafka == "" {
		return nil
	}
	return measureLanes(ctx, c, *kafka)
}

const (
	hourly   = afterhours.Micros(time.Hour / time.Microsecond)
	second   = afterhours.Micros(time.Second / time.Microsecond)
	renewal  = afterhours.Micros(store.Renewal / time.Microsecond)
	laneIdle = 10 * 60 * second // after which a lane of its own is closed
)

// simulation is a day's work of all processes. Hours are numbered: those of a type
// follow one another.
type simulation struct {
	load
	shared  bool // stragglers share lanes
	rnd     *rand.Rand
	perType int // hours
	hours   []afterhours.Hour
	index   []hourIndex
	ingests []process
	counts  counts
}

// counts are index rows written, by reason.
type counts struct{ opened, closed, renewed, shared, repeated int }

func (c counts) all() int { return c.opened + c.closed + c.renewed + c.shared + c.repeated }

// hourIndex is what the store has of an hour at the end of the day.
type hourIndex struct {
	own, shared int               // lanes
	rows        int               // received when the hour was over
	merged      afterhours.RowSet // rows, of a sample of hours
}

// process is an ingest process.
type process struct {
	trickles []*ingest.Trickle // one for each worker
	open     []openLane        // by hour
	seen     []bool            // by hour: it has written the shared lane's index row
}

// openLane is an hour's own lane.
type openLane struct {
	open          bool
	used, indexed afterhours.Micros
	segment       afterhours.Segment
	rows          uint32
}

// sampleEvery is the distance of hours whose merged rows are recorded.
const sampleEvery = 100

func (l load) simulate(shared bool) *simulation {
	s := &simulation{load: l, shared: shared, rnd: rand.New(rand.NewPCG(1, 2)), perType: 24 * (l.days + 1)}
	start := afterhours.Day(20777).Start()
	for t := range l.types {
		for h := range s.perType {
			s.hours = append(s.hours, afterhours.HourOf(fmt.Sprintf("type%d", t), start+afterhours.Micros(h-24*l.days)*hourly))
		}
	}
	s.index = make([]hourIndex, len(s.hours))
	for i := 0; i < len(s.index); i += sampleEvery {
		s.index[i].merged = afterhours.RowSet{}
	}
	for range l.processes {
		p := process{open: make([]openLane, len(s.hours)), seen: make([]bool, len(s.hours))}
		for range l.workers {
			p.trickles = append(p.trickles, ingest.NewTrickle(1<<19/l.workers, store.Renewal))
		}
		s.ingests = append(s.ingests, p)
	}
	s.run(start)
	return s
}

// run goes through the day: every minute each process gets rows in each type's
// present hour, and every second the stragglers come, each in a batch of its own.
func (s *simulation) run(start afterhours.Micros) {
	perDay := s.events * float64(s.types) / float64(s.allTypes)
	onTime := int(perDay * (1 - s.late) / float64(s.types*s.processes*24*60))
	perSecond, due := perDay*s.late/(24*3600), 0.0
	for n := range 24 * 3600 {
		at, hour := start+afterhours.Micros(n)*second, 24*s.days+n/3600
		if n%60 == 0 {
			for i := range s.types * s.processes {
				s.batch(i%s.processes, i/s.processes*s.perType+hour, onTime, at)
			}
		}
		for due += perSecond; due >= 1; due-- {
			age := 1 + s.rnd.IntN(24*s.days)
			s.batch(s.rnd.IntN(s.processes), s.rnd.IntN(s.types)*s.perType+hour-age, 1, at)
		}
	}
	for i := range s.ingests {
		for _, o := range s.ingests[i].open {
			if o.open {
				s.counts.closed++
			}
		}
	}
}

// batch has a process write a batch, as a worker of ingest does.
func (s *simulation) batch(proc, hour, rows int, at afterhours.Micros) {
	p, h, x := &s.ingests[proc], s.hours[hour], &s.index[hour]
	if at >= h.End() {
		x.rows += rows
	}
	o := &p.open[hour]
	if o.open && at-o.used >= laneIdle {
		*o = openLane{}
		s.counts.closed++
	}
	t := p.trickles[hour%s.workers]
	if s.shared && !o.open && t.Shares(h, rows, at) {
		s.trickle(p, t, hour, rows, at)
		return
	}
	switch {
	case !o.open:
		*o = openLane{open: true, indexed: at, segment: afterhours.NewSegment()}
		t.Opened(h, at)
		s.counts.opened++
		x.own++
	case at-o.indexed > renewal:
		o.indexed = at
		s.counts.renewed++
	}
	x.record(afterhours.RowID{Segment: o.segment, Seq: o.rows}, rows)
	o.used = at
	o.rows += uint32(rows)
}

func (s *simulation) trickle(p *process, t *ingest.Trickle, hour, rows int, at afterhours.Micros) {
	x := &s.index[hour]
	first, indexed := t.Add(s.hours[hour], rows, at)
	if indexed == 0 {
		t.Indexed(s.hours[hour], afterhours.DayOf(at), at)
		if p.seen[hour] {
			s.counts.repeated++
		} else {
			s.counts.shared++
		}
		p.seen[hour] = true
	}
	x.shared = 1
	x.record(first, rows)
}

// record enters rows of a batch as merged, if the hour is in the sample.
func (x *hourIndex) record(first afterhours.RowID, rows int) {
	if x.merged != nil {
		x.merged[first.Segment] = x.merged[first.Segment].Add(first.Seq, first.Seq+uint32(rows)-1)
	}
}

// dayFigures are what a simulated day leads to.
type dayFigures struct {
	hours       int // that were over and got rows
	lanes, rows int // of these
	shared      int // lanes
	all         int // lanes of all hours
	manifest    int // bytes of the rows merged in one such hour
}

func (s *simulation) figures() dayFigures {
	var d dayFigures
	sampled, size := 0, 0
	for i, x := range s.index {
		d.all += x.own + x.shared
		if i%s.perType >= 24*s.days { // the day's own hours
			continue
		}
		if x.rows > 0 {
			d.hours, d.lanes, d.rows, d.shared = d.hours+1, d.lanes+x.own+x.shared, d.rows+x.rows, d.shared+x.shared
		}
		if x.merged != nil {
			text, err := x.merged.MarshalText()
			if err != nil {
				panic(err) // a set of rows always has a text
			}
			const origin = len(" @2026-11-20")
			sampled, size = sampled+1, size+len(text)+origin*len(x.merged)
		}
	}
	d.manifest = size / max(1, sampled)
	return d
}

// unsettled is how many receipt days a rewrite still looks at: the others' shared
// lanes have settled.
const unsettled = 3

// print prints the figures of both, for all types.
func (l load) print(own, shared *simulation) error {
	scale := float64(l.allTypes) / float64(l.types)
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\town lanes only\tshared lanes\t")
	row := func(what, format string, value func(*simulation) float64) {
		fmt.Fprintf(t, "%s\t"+format+"\t"+format+"\t\n", what, value(own), value(shared))
	}
	million := func(n func(*simulation) int) func(*simulation) float64 {
		return func(s *simulation) float64 { return float64(n(s)) * scale / 1e6 }
	}
	per := func(n func(dayFigures) (int, int)) func(*simulation) float64 {
		return func(s *simulation) float64 {
			a, b := n(s.figures())
			return float64(a) / float64(max(1, b))
		}
	}
	row("index rows written, million", "%.2f", million(func(s *simulation) int { return s.counts.all() }))
	row("of these to open own lanes", "%.2f", million(func(s *simulation) int { return s.counts.opened }))
	row("to close or renew them", "%.2f", million(func(s *simulation) int { return s.counts.closed + s.counts.renewed }))
	row("first of a shared lane by a process", "%.2f", million(func(s *simulation) int { return s.counts.shared }))
	row("written again after an hour", "%.2f", million(func(s *simulation) int { return s.counts.repeated }))
	row("index rows = Cassandra partitions of events, million", "%.2f", million(func(s *simulation) int { return s.figures().all }))
	row("index rows of an hour that is over", "%.1f", per(func(d dayFigures) (int, int) { return d.lanes, d.hours }))
	row("rows of a lane of such an hour", "%.1f", per(func(d dayFigures) (int, int) { return d.rows, d.lanes }))
	row("lanes read to rewrite such an hour once a day", "%.1f", per(func(d dayFigures) (int, int) { return d.lanes - d.shared + unsettled*d.shared, d.hours }))
	row("manifest bytes that it gains a day", "%.0f", per(func(d dayFigures) (int, int) { return d.manifest, 1 }))
	row(fmt.Sprintf("the same after %d days, KiB", l.days), "%.1f", per(func(d dayFigures) (int, int) { return d.manifest * l.days, 1024 }))
	return t.Flush()
}
