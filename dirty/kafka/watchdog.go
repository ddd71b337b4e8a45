package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/afterhours/afterhours/dirty"
)

// watchdog knows when to look whether anything is wrong. A caller that polls
// rarely is no stall, so its clock advances a little at most from poll to poll.
type watchdog struct {
	clock   time.Duration
	last    time.Time     // when the clock was advanced
	tail    time.Duration // when a drain last looked at the ends of the logs
	looked  time.Duration // when progress was last looked at
	blindAt time.Duration // since when the brokers do not answer; 0: they do
}

// tailEvery is how often a drain looks whether the logs end without a record.
const tailEvery = 200 * time.Millisecond

// drained reports whether everything was handed out that was in the assigned
// partitions when they were assigned.
func (c *Consumer) drained() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.assigned {
		if !p.known || p.position < p.end {
			return false
		}
	}
	return c.joined
}

// look is called after every wait for records. It returns an error if the consumer
// will wait for ever.
func (c *Consumer) look(ctx context.Context) error {
	w := &c.watch
	now, step := time.Now(), c.q.stallAfter/8
	w.clock += min(now.Sub(w.last), step)
	w.last = now
	if c.drain && w.clock-w.tail >= tailEvery {
		w.tail = w.clock
		c.skipTails(ctx)
	}
	if w.clock-w.looked < step {
		return nil
	}
	w.looked = w.clock
	return c.checkProgress(ctx)
}

// unread returns the partitions whose position is below an end, and the
// positions.
func (c *Consumer) unread(end func(int32, *partition) int64) map[int32]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := map[int32]int64{}
	for id, p := range c.assigned {
		if p.known && p.position < end(id, p) {
			b[id] = p.position
		}
	}
	return b
}

// skipTails moves the position of partitions whose logs hold no further record
// up to where the drain ends.
func (c *Consumer) skipTails(ctx context.Context) {
	ends := map[int32]int64{}
	waiting := c.unread(func(id int32, p *partition) int64 { ends[id] = p.end; return p.end })
	for id, from := range waiting {
		if err := c.skipTo(ctx, id, from, ends[id]); err != nil && ctx.Err() == nil {
			c.log.Debug("look at the end of a kafka log", "partition", id, "error", err.Error())
		}
	}
}

// skipTo moves a partition's position to its first record from there on, or to
// end. Nothing lies between, so nothing will be handed out.
func (c *Consumer) skipTo(ctx context.Context, id int32, from, end int64) error {
	first, err := c.q.scan(ctx, id, from, end, func(*kgo.Record) bool { return false })
	if errors.Is(err, kerr.OffsetOutOfRange) {
		return c.lookAgain(ctx, id)
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.assigned[id]; p != nil && p.position == from {
		p.position = first
	}
	return nil
}

// lookAgain goes by the bounds of a log that has become shorter at either end.
func (c *Consumer) lookAgain(ctx context.Context, id int32) error {
	logs, err := c.q.bounds(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.assigned[id]; p != nil {
		c.deleted(id, p, logs[id].start)
		p.end = min(p.end, logs[id].end)
	}
	return nil
}

// checkProgress looks at positions, not at errors: the client retries errors in
// silence, and a broken one reports none.
func (c *Consumer) checkProgress(ctx context.Context) error {
	w := &c.watch
	logs, err := c.q.bounds(ctx)
	switch {
	case ctx.Err() != nil:
		return nil // Poll returns it
	case err == nil:
		w.blindAt = 0
	case w.blindAt == 0:
		w.blindAt = w.clock
		c.log.Warn("kafka does not answer", "brokers", c.q.brokers, "error", err.Error())
		return nil
	case w.clock-w.blindAt >= c.q.stallAfter:
		return fmt.Errorf("reach Kafka at %s: no answer for %v: %w", strings.Join(c.q.brokers, ","), c.q.stallAfter, err)
	default:
		return nil
	}
	if !c.hasJoined() && w.clock >= c.q.stallAfter {
		return fmt.Errorf("%w: group %q has assigned no partitions of topic %q for %v", dirty.ErrStalled, c.group, c.q.topic, c.q.stallAfter)
	}
	waiting := c.unread(func(id int32, _ *partition) int64 { return logs[id].end })
	c.recovered(waiting)
	for _, id := range slices.Sorted(maps.Keys(waiting)) {
		if err := c.checkPartition(ctx, id, waiting[id], logs[id].end); err != nil {
			return err
		}
	}
	return nil
}

func (c *Consumer) hasJoined() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.joined
}

// recovered clears the waiting time of partitions that wait no more.
func (c *Consumer) recovered(waiting map[int32]int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, p := range c.assigned {
		if _, ok := waiting[id]; !ok {
			p.stuckSince = 0
		}
	}
}

// checkPartition returns ErrStalled if a partition's position has been the same
// for too long although its log goes on with a record.
func (c *Consumer) checkPartition(ctx context.Context, id int32, position, end int64) error {
	if !c.stuck(id, position) {
		return nil
	}
	if err := c.skipTo(ctx, id, position, end); err != nil {
		c.log.Warn("look at a kafka log that does not move on", "partition", id, "error", err.Error())
		return nil
	}
	if after := c.unread(func(int32, *partition) int64 { return end }); after[id] != position {
		return nil
	}
	return fmt.Errorf("%w: topic %q partition %d is read up to offset %d, ends at %d, and nothing came for %v",
		dirty.ErrStalled, c.q.topic, id, position, end, c.q.stallAfter)
}

// stuck reports whether the partition waits at position for too long.
func (c *Consumer) stuck(id int32, position int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.assigned[id]
	if p == nil {
		return false
	}
	if p.stuckSince == 0 || p.stuckAt != position {
		p.stuckAt, p.stuckSince = position, c.watch.clock
	}
	return c.watch.clock-p.stuckSince >= c.q.stallAfter
}
