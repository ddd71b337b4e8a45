package app

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/ingest"
)

// Problem is one thing that is wrong with a daemon, and what to do about it; fields
// may be added, never renamed.
type Problem struct {
	Check  string `json:"check"`
	Reason string `json:"reason"`
	Remedy string `json:"remedy"`
}

// Vitals are what a daemon's health is told from: what it says of itself, and
// probes of what it depends on. Its methods may be called by several goroutines.
type Vitals struct {
	mu         sync.Mutex
	compaction func() compact.Health // nil if the daemon does not compact
	ingest     func() ingest.Health  // nil if it does not ingest
	probes     []*probe
	looking    context.Context // nil while nobody asks for health
	stop       context.CancelFunc
	lookers    sync.WaitGroup
}

// NewVitals returns the vitals of a daemon on its backends.
func NewVitals(b *Backends) *Vitals {
	v := &Vitals{}
	v.add(storeProbe(b.Store))
	if q, ok := b.Dirty.(pinger); ok {
		v.add(queueProbe(q))
	}
	return v
}

// add adds a probe.
func (v *Vitals) add(p *probe) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.probes = append(v.probes, p)
	if v.looking != nil {
		v.look(p)
	}
}

// begin has the probes look.
func (v *Vitals) begin() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.looking, v.stop = context.WithCancel(context.Background())
	for _, p := range v.probes {
		v.look(p)
	}
}

func (v *Vitals) look(p *probe) {
	ctx := v.looking
	v.lookers.Go(func() { p.run(ctx) })
}

// end ends what begin began.
func (v *Vitals) end() {
	v.mu.Lock()
	v.stop()
	v.looking = nil
	v.mu.Unlock()
	v.lookers.Wait()
}

// Compacts adds what a compactor says of itself.
func (v *Vitals) Compacts(health func() compact.Health) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.compaction = health
}

// Ingests adds what a writer says of itself, and a probe of its source. Records
// that wait may do so for stallAfter.
func (v *Vitals) Ingests(w *ingest.Writer, src ingest.Source, stallAfter time.Duration) {
	if s, ok := src.(waiter); ok {
		v.add(sourceProbe(s, w.Stats, stallAfter))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ingest = func() ingest.Health { return w.Health(stallAfter) }
}

// hung says why only a new process would help; empty if it would not.
func (v *Vitals) hung() string {
	v.mu.Lock()
	compaction := v.compaction
	v.mu.Unlock()
	if compaction != nil && compaction().Hung(time.Now()) {
		return "the compactor's own loop stands still: it is to be killed and started again, which loses nothing"
	}
	return ""
}

// health asks everybody.
func (v *Vitals) health() healthJSON {
	v.mu.Lock()
	compaction, ingests, probes := v.compaction, v.ingest, v.probes
	v.mu.Unlock()
	h := healthJSON{Problems: []Problem{}}
	for _, p := range probes {
		h.Problems = append(h.Problems, p.problems()...)
	}
	if compaction != nil {
		c := compaction()
		for _, p := range c.Problems {
			h.Problems = append(h.Problems, Problem(p))
		}
		h.compactionJSON = &compactionJSON{c.Progress.UTC(), c.Oldest.UTC(), c.Waiting, c.Due, NewStuckJSON(c.Stuck)}
	}
	if ingests != nil {
		i := ingests()
		for _, p := range i.Problems {
			h.Problems = append(h.Problems, Problem(p))
		}
		h.ingestJSON = &ingestJSON{i.InHand, i.Progress.UTC()}
	}
	var reasons []string
	for _, p := range h.Problems {
		reasons = append(reasons, p.Reason)
	}
	h.Healthy, h.Reason = len(reasons) == 0, strings.Join(reasons, "; ")
	return h
}
