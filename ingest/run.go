package ingest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// Run ingests a source to its end, or until ctx ends. Everything that was read
// is then finished and acknowledged, within the writer's ShutdownGrace where ctx
// ended. The error says why not everything was read, or why not everything that
// was read is kept; ctx's own error means that it ended and nothing else is
// wrong. Run runs w, which must be new.
func Run(ctx context.Context, src Source, m Mapping, w *Writer) (Summary, error) {
	mp, err := m.compile()
	if err != nil {
		return Summary{}, fmt.Errorf("read mapping: %w", err)
	}
	writing, end := outlive(ctx, w.o.ShutdownGrace)
	defer end(nil)
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	wrote := make(chan error, 1)
	go func() {
		err := w.Run(writing)
		if err != nil {
			stop(err)
			end(err)
		}
		wrote <- err
	}()
	p := &pump{mapper: mp, w: w, stop: stop, work: make(chan work, 2*batchRows), room: newBudget(pumpBytes)}
	readErr := p.run(reading, writing, src)
	w.Close()
	if err := <-wrote; err != nil {
		return w.Stats(), err
	}
	return w.Stats(), readErr
}

// errGrace ends what is still in hand when the grace is over.
var errGrace = errors.New("not everything that was read could be kept in time; it is not acknowledged")

// outlive returns a context that ends some time after ctx does, and what ends it
// at once.
func outlive(ctx context.Context, grace time.Duration) (context.Context, context.CancelCauseFunc) {
	out, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(grace, func() { cancel(errGrace) })
	})
	return out, func(cause error) { stop(); cancel(cause) }
}

// pumpBytes bounds the records that wait to be mapped.
const pumpBytes = 8 << 20

// work is a record on its way from the source to the mapping.
type work struct {
	record Record
	ack    func()
	cost   int64 // bytes
}

// pump maps records on all cores while the source reads.
type pump struct {
	mapper *mapper
	w      *Writer
	stop   context.CancelCauseFunc // of reading
	work   chan work
	room   *budget // of what is in work or being mapped
}

// run reads until the source ends or reading does. What was put by then is
// written as long as writing lasts.
func (p *pump) run(reading, writing context.Context, src Source) error {
	var mappers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		mappers.Go(func() { p.mapAll(writing) })
	}
	err := src.Run(reading, func(ctx context.Context, r Record, ack func()) error {
		return p.put(ctx, reading, work{r, ack, min(int64(len(r.Bytes)), pumpBytes)})
	})
	close(p.work)
	mappers.Wait()
	cause := context.Cause(reading)
	if cause == nil || err == nil && errors.Is(cause, context.Canceled) {
		return err // to be told to stop at the end of the input changes nothing
	}
	return cause // of which err is only the consequence
}

// put is the source's [Put].
func (p *pump) put(ctx, reading context.Context, it work) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.room.take(ctx, reading.Done(), it.cost) == nil {
		select {
		case p.work <- it:
			return nil
		case <-reading.Done():
		case <-ctx.Done():
		}
		p.room.give(it.cost)
	}
	if reading.Err() != nil {
		return context.Cause(reading)
	}
	return ctx.Err()
}

// mapAll maps and writes records until there are no more. After an error it
// stops the reading and drops the rest unacknowledged.
func (p *pump) mapAll(ctx context.Context) {
	var err error
	for it := range p.work {
		if err == nil {
			err = p.w.Write(ctx, p.mapper.event(it.record, p.w.o.Now()), it.record, it.ack)
			if err != nil {
				p.stop(err)
			}
		}
		p.room.give(it.cost)
	}
}
