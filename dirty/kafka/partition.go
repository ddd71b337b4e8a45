package kafka

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/afterhours/afterhours/dirty"
)

// partition is what a consumer knows of a partition it was assigned.
type partition struct {
	known     bool  // the offsets below were fetched
	start     int64 // where reading began
	position  int64 // every record below it was handed out, or is none to hand out
	end       int64 // of the log, when the partition was assigned
	committed int64 // -1: what is committed must be replaced
	strange   bool  // a record that is no mark was seen
	ledger    dirty.Ledger

	stuckAt    int64         // the position where it waits
	stuckSince time.Duration // on the watchdog's clock; 0: not waiting
}

func (p *partition) take(m dirty.Mark) {
	p.ledger.Take(m)
	p.position = m.Offset + 1
}

// pass records that nothing has to be done for the record at offset.
func (p *partition) pass(offset int64) {
	p.ledger.Pass(offset)
	p.position = offset + 1
}

// rewind begins anew at a lower offset. What is committed would hide marks once
// the log has grown beyond it, so it is replaced.
func (p *partition) rewind(offset int64) {
	p.ledger = dirty.Ledger{}
	p.start, p.position, p.committed = offset, offset, -1
}

// floor returns the offset to commit.
func (p *partition) floor() int64 { return max(p.start, p.ledger.Floor()) }

// The client calls what follows, one at a time but for startOffsets, while the
// group is balanced.

func (c *Consumer) onAssigned(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.joined = true
	for _, id := range parts[c.q.topic] {
		c.assigned[id] = &partition{}
	}
}

// startOffsets decides where newly assigned partitions are read from.
func (c *Consumer) startOffsets(ctx context.Context, parts map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	logs, err := c.q.bounds(ctx)
	if err != nil {
		c.log.Warn("kafka group cannot start yet", "error", err.Error())
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, o := range parts[c.q.topic] {
		p := c.assigned[id]
		if p == nil {
			continue
		}
		at, log := o.EpochOffset().Offset, logs[id] // at is negative if nothing is committed
		offset, outside := log.resume(at)
		*p = partition{known: true, start: offset, position: offset, end: log.end, committed: offset}
		if outside {
			c.log.Error("kafka committed offset is outside the log, reading all of it again",
				"partition", id, "committed", at, "first", log.start, "end", log.end, "offsets_lost", max(log.start-at, at-log.end))
			p.committed = -1
		}
		parts[c.q.topic][id] = kgo.NewOffset().At(offset)
	}
	return parts, nil
}

// onRevoked commits what is done before another member starts there.
func (c *Consumer) onRevoked(ctx context.Context, _ *kgo.Client, parts map[string][]int32) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	if err := c.commit(ctx); err != nil {
		c.log.Warn("commit offsets of revoked kafka partitions; their marks come again", "error", err.Error())
	}
	c.forget(parts[c.q.topic])
}

// onLost is called when the group has gone on without this member: it must not
// commit any more.
func (c *Consumer) onLost(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	c.forget(parts[c.q.topic])
}

func (c *Consumer) forget(ids []int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		if c.assigned[id] != nil {
			delete(c.assigned, id)
			c.revoked = append(c.revoked, id)
		}
	}
}

// takeRevoked returns the partitions that were revoked since it was last called.
func (c *Consumer) takeRevoked() []int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	revoked := c.revoked
	c.revoked = nil
	slices.Sort(revoked)
	return revoked
}
