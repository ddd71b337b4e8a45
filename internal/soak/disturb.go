package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// disturb has everything run, and does faults to it.
func (s *soak) disturb(ctx context.Context, out io.Writer) error {
	for _, d := range s.daemons() {
		d.start()
	}
	running, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop()
	var fileErr error
	beside.Go(func() { s.topic.produce(running) })
	beside.Go(func() { fileErr = s.files.run(running, ctx) })
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	beside.Go(func() { s.topic.acknowledge(watching) })
	beside.Go(func() { s.reader.run(watching) })
	beside.Go(func() { s.tell(watching, out) })

	if err := s.warmUp(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.warm, s.ending = true, time.Now().Add(s.faultsFor)
	s.mu.Unlock()
	s.events("warm")
	if s.faultsFor > 0 {
		faulty, end := context.WithTimeout(ctx, s.faultsFor)
		defer end()
		s.driver.run(faulty)
	} else {
		faulty, end := context.WithTimeout(ctx, roundLimit)
		defer end()
		if !s.driver.once(faulty) && ctx.Err() == nil {
			return fmt.Errorf("not every fault could be done in %v", roundLimit)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.events("no more faults")
	stop()
	if err := s.acknowledgeAll(ctx); err != nil {
		return err
	}
	stopWatching()
	beside.Wait()
	return fileErr
}

// warmUp waits until everything has worked once: the tables are there, the groups
// are joined, events are acknowledged and read from the lake.
func (s *soak) warmUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return until(ctx, func() error {
		if _, acked := s.ledger.counts(); acked == 0 || s.reader.objects.Load() == 0 {
			return fmt.Errorf("before any fault: %d records acknowledged, %d objects in the lake; see the logs in %s", acked, s.reader.objects.Load(), s.dir)
		}
		return nil
	})
}

// acknowledgeAll waits until the topic is acknowledged to its end.
func (s *soak) acknowledgeAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	if err := s.topic.flush(ctx); err != nil {
		return fmt.Errorf("produce the last records: %w", err)
	}
	err := until(ctx, func() error {
		if n := s.topic.waiting(); n > 0 {
			return fmt.Errorf("%d records of the topic are not acknowledged", n)
		}
		return nil
	})
	if err != nil {
		s.wrong("ingest stalls: %v", err)
	}
	return nil
}

// tellEvery is between two lines that say how far it is.
const tellEvery = 10 * time.Second

// tell says how far it is until ctx ends.
func (s *soak) tell(ctx context.Context, out io.Writer) {
	for pause(ctx, tellEvery); ctx.Err() == nil; pause(ctx, tellEvery) {
		line := s.status()
		fmt.Fprintln(out, line)
		s.events("status", "line", line)
	}
}

func (s *soak) status() string {
	sent, acked := s.ledger.counts()
	waiting, since := s.ledger.waiting(over)
	oldest := time.Duration(0)
	if waiting > 0 {
		oldest = time.Since(since)
	}
	s.mu.Lock()
	violations := len(s.violations)
	s.mu.Unlock()
	return fmt.Sprintf("%4.0f s: %d records sent, %d acknowledged; %d acknowledged events of hours that are over not yet seen in the lake, the oldest for %.0f s; %d process faults; %d objects read in %d passes; %d violations",
		time.Since(s.begin).Seconds(), sent, acked, waiting, oldest.Seconds(), s.processFaults(), s.reader.objects.Load(), s.reader.passes.Load(), violations)
}

// processFaults returns how many processes were killed or paused.
func (s *soak) processFaults() (n int) {
	for _, class := range []string{classKill, classPause} {
		for _, done := range s.driver.count(class) {
			n += done
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return n + s.fileKills
}
