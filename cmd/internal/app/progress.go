package app

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progressEvery is how often progress is told off a terminal.
const progressEvery = 10 * time.Second

// Progress shows how far long work is: a bar on a terminal, else a plain line
// every ten seconds. Its methods may be called by several goroutines.
type Progress struct {
	name  string
	unit  string
	total int64
	done  atomic.Int64
	start time.Time
	bars  *mpb.Progress // nil off a terminal
	bar   *mpb.Bar
	stop  chan struct{}
	ended chan struct{}
}

// NewProgress begins to show progress on w. The caller calls Close.
func NewProgress(w io.Writer, name, unit string, total int64) *Progress {
	p := &Progress{name: name, unit: unit, total: total, start: time.Now(), stop: make(chan struct{}), ended: make(chan struct{})}
	if IsTerminal(w) {
		close(p.ended)
		p.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(40))
		p.bar = p.bars.AddBar(total,
			mpb.PrependDecorators(decor.Name(name+" "), decor.CountersNoUnit("%d/%d "+unit)),
			mpb.AppendDecorators(decor.Percentage(), decor.Name(" left: "), decor.AverageETA(decor.ET_STYLE_GO)))
		return p
	}
	go p.lines(w)
	return p
}

// lines writes a line every ten seconds until Close.
func (p *Progress) lines(w io.Writer) {
	defer close(p.ended)
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
			fmt.Fprintln(w, p.line(time.Since(p.start)))
		}
	}
}

func (p *Progress) line(elapsed time.Duration) string {
	done := p.done.Load()
	line := fmt.Sprintf("%s: %d/%d %s, %d %%", p.name, done, p.total, p.unit, done*100/max(p.total, 1))
	if done == 0 {
		return line
	}
	left := time.Duration(float64(elapsed) / float64(done) * float64(p.total-done))
	return line + fmt.Sprintf(", %.0f %s/min, about %s left", float64(done)/elapsed.Minutes(), p.unit, left.Round(time.Second))
}

// Add says that n more are done.
func (p *Progress) Add(n int64) {
	p.done.Add(n)
	if p.bar != nil {
		p.bar.IncrInt64(n)
	}
}

// Close ends the showing.
func (p *Progress) Close() {
	close(p.stop)
	<-p.ended
	if p.bars != nil {
		p.bar.Abort(false) // leaves a bar that is not full as it is
		p.bars.Wait()
	}
}
