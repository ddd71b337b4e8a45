package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// member reads as a member of a group.
type member struct {
	*Kafka
	put  Put
	stop context.CancelCauseFunc // ends the membership with an error
}

// run starts a generation after the other until ctx ends. Its cause, unless that
// is a change of topics, is returned.
func (m *member) run(ctx context.Context, group *kafkago.ConsumerGroup) error {
	silent := false
	var began time.Time
	for {
		// A generation that fails at once shall not keep the group busy.
		if err := sleep(ctx, kafkaRetry-time.Since(began)); err != nil {
			return m.cause(ctx)
		}
		gen, err := group.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return m.cause(ctx)
		case err == nil:
			silent, began = false, time.Now()
			m.generation(gen)
		case denied(err):
			return fmt.Errorf("join group %q at %s: %w", m.Group, strings.Join(m.Brokers, ","), err)
		case !silent && !errors.Is(err, kafkago.RebalanceInProgress):
			silent = true // until it joins: the group is asked again every second
			m.Log.Warn("join kafka group, will be tried again", "group", m.Group, "error", err.Error())
		}
	}
}

func (m *member) cause(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, errTopicsChanged) {
		return cause
	}
	return nil
}

// denied reports whether an error is an answer that stays the same.
func denied(err error) bool {
	var answer kafkago.Error
	if !errors.As(err, &answer) {
		return false
	}
	switch answer {
	case kafkago.GroupAuthorizationFailed, kafkago.TopicAuthorizationFailed, kafkago.ClusterAuthorizationFailed,
		kafkago.InvalidGroupId, kafkago.InvalidSessionTimeout, kafkago.InconsistentGroupProtocol:
		return true
	}
	return false
}

// generation reads the assigned partitions until the group is balanced again.
// The next generation begins when every function started here has returned, so
// nothing is committed for a partition that another member reads.
func (m *member) generation(gen *kafkago.Generation) {
	g := &generation{Generation: gen, acked: make(chan struct{}, 1)}
	for topic, assigned := range gen.Assignments {
		for _, a := range assigned {
			p := &topicPartition{topic: topic, id: a.ID, acks: acks{empty: g.acked, below: -1}, committed: -1}
			g.parts = append(g.parts, p)
			g.readers.Add(1)
			gen.Start(func(ctx context.Context) { m.read(ctx, g, p, a.Offset) })
		}
	}
	m.reading.Store(g)
	gen.Start(func(ctx context.Context) {
		m.commit(ctx, g)
		m.reading.CompareAndSwap(g, nil)
	})
}

// generation is the time between two rebalances of the group.
type generation struct {
	*kafkago.Generation
	parts   []*topicPartition
	readers sync.WaitGroup
	acked   chan struct{} // holds a token when a partition has nothing in hand
}

// topicPartition is a Kafka partition in one generation.
type topicPartition struct {
	topic     string
	id        int
	acks      acks
	start     atomic.Int64 // one more than the offset where reading began; 0: it has not
	committed int64        // of the goroutine that commits
}

// commit commits once a second, and at the end of the generation once more.
func (m *member) commit(ctx context.Context, g *generation) {
	tick := time.NewTicker(kafkaCommit)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			m.commitFloors(g)
		case <-ctx.Done():
		}
	}
	// Nothing more is put. If we crash from here on, everything above the last
	// commit is delivered again.
	g.readers.Wait()
	g.awaitAcks(m.grace)
	m.commitFloors(g)
}

// awaitAcks waits until all that was put is acknowledged, for a while at most.
func (g *generation) awaitAcks(grace time.Duration) {
	end := time.NewTimer(grace)
	defer end.Stop()
	for {
		inHand := 0
		for _, p := range g.parts {
			inHand += p.acks.inHand()
		}
		if inHand == 0 {
			return
		}
		select {
		case <-g.acked:
		case <-end.C:
			return
		}
	}
}

// commitFloors commits where something was acknowledged since. A commit that
// fails is made up for by the next one, or by a redelivery.
func (m *member) commitFloors(g *generation) {
	offsets := map[string]map[int]int64{}
	moved := map[*topicPartition]int64{}
	for _, p := range g.parts {
		floor := p.acks.floor()
		if floor == p.committed {
			continue
		}
		if offsets[p.topic] == nil {
			offsets[p.topic] = map[int]int64{}
		}
		offsets[p.topic][p.id] = floor
		moved[p] = floor
	}
	if len(moved) == 0 {
		return
	}
	if err := g.CommitOffsets(offsets); err != nil {
		m.Log.Warn("commit kafka offsets; if it stays so, messages are delivered again", "group", m.Group, "error", err.Error())
		return
	}
	for p, floor := range moved {
		p.committed = floor
	}
}

// acks knows which messages of a partition are acknowledged.
type acks struct {
	empty chan<- struct{} // takes a token when nothing is in hand

	mu    sync.Mutex
	open  []*message // put, by offset; the first is not acknowledged
	below int64      // all messages below are acknowledged; -1: nothing to commit
}

type message struct {
	offset int64
	acked  bool
}

// add enters the next message and returns what acknowledges it.
func (a *acks) add(offset int64) func() {
	m := &message{offset: offset}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open = append(a.open, m)
	return func() { a.ack(m) }
}

func (a *acks) ack(m *message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	m.acked = true
	for len(a.open) > 0 && a.open[0].acked {
		a.below = a.open[0].offset + 1
		a.open[0] = nil
		a.open = a.open[1:]
	}
	a.tell()
}

// takeBack forgets the message that was entered last, which was not put after all:
// nobody is to wait for its acknowledgement.
func (a *acks) takeBack() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open = a.open[:len(a.open)-1]
	a.tell()
}

// tell wakes who waits until nothing is in hand.
func (a *acks) tell() {
	if len(a.open) == 0 {
		select {
		case a.empty <- struct{}{}:
		default:
		}
	}
}

// reset has an offset committed although nothing was acknowledged.
func (a *acks) reset(offset int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.below = offset
}

// floor returns the offset to commit, -1 until something was acknowledged.
func (a *acks) floor() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.below
}

func (a *acks) inHand() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.open)
}
