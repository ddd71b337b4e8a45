package app

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/ingest"
	"github.com/afterhours/afterhours/store"
)

// A probe asks now and then, within a bound. One answer that fails may be chance;
// after a second one in a row there is a problem, until one succeeds.
const (
	probeEvery   = 5 * time.Second
	probeTimeout = 5 * time.Second
	probeTries   = 2
)

// probe looks at something a daemon depends on.
type probe struct {
	check, fails, remedy string
	ask                  func(context.Context) error

	mu       sync.Mutex
	failures int // in a row
	since    time.Time
	err      error
}

// run looks until ctx ends.
func (p *probe) run(ctx context.Context) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		p.look(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (p *probe) look(ctx context.Context) {
	once, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	asked := time.Now()
	err := p.ask(once)
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
	switch {
	case err == nil:
		p.failures = 0
	case p.failures == 0:
		p.failures, p.since = 1, asked
	default:
		p.failures++
	}
}

// problems returns what the probe found, if anything.
func (p *probe) problems() []Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failures < probeTries {
		return nil
	}
	return []Problem{{p.check, fmt.Sprintf("%s since %s: %v", p.fails, p.since.UTC().Format(time.RFC3339), p.err), p.remedy}}
}

// laner is the part of a store that is probed.
type laner interface {
	Lanes(ctx context.Context, h afterhours.Hour) ([]store.Lane, error)
}

// storeProbe reads as everything reads: with Cassandra at LOCAL_QUORUM. It reads an
// index that does not exist, another one each time, so that in time it comes to the
// replicas of every range.
func storeProbe(s laner) *probe {
	const never = "_probe" // no event has a type that begins so, save quarantine
	return &probe{
		check: "store", fails: "the store does not answer, or has no quorum",
		remedy: "bring back the servers that are down (nodetool status); nothing is acknowledged or lost meanwhile",
		ask: func(ctx context.Context) error {
			_, err := s.Lanes(ctx, afterhours.HourOf(never, afterhours.Micros(rand.Int64N(1_000_000))*3600e6))
			return err
		},
	}
}

// pinger is a queue of marks on servers.
type pinger interface{ Ping(context.Context) error }

func queueProbe(q pinger) *probe {
	return &probe{
		check: "queue", fails: "the queue of marks does not answer",
		remedy: "bring back the brokers that are down; nothing is acknowledged or lost meanwhile",
		ask:    q.Ping,
	}
}

// waiter is a source that knows how many records of it are not acknowledged.
type waiter interface {
	Waiting(context.Context) (int64, error)
}

// sourceProbe finds a source from which nothing comes although records wait there.
// What is in hand is the writer's to tell.
func sourceProbe(s waiter, stats func() ingest.Summary, stallAfter time.Duration) *probe {
	var taken int64
	moved := time.Now()
	return &probe{
		check: "source", fails: "the source gives nothing",
		remedy: "bring back the brokers that are down; if they are well, start this process again",
		ask: func(ctx context.Context) error {
			waiting, err := s.Waiting(ctx)
			if err != nil {
				return err
			}
			sum := stats()
			if waiting == 0 || sum.Read != taken || sum.Read > sum.Written+sum.Quarantined {
				taken, moved = sum.Read, time.Now()
			}
			if idle := time.Since(moved); idle > stallAfter {
				return fmt.Errorf("%d records wait and none was read for %s", waiting, idle.Round(time.Second))
			}
			return nil
		},
	}
}
