package pebble

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/afterhours/afterhours/dirty"
)

const (
	commitEvery = time.Second
	pollMarks   = 1_000 // at most, in one Poll
)

// Consumer is a group's reader. It implements [dirty.Consumer].
type Consumer struct {
	q     *Queue
	group string
	slack int64
	start int64 // the floor that was committed before
	end   int64 // no mark from here on is handed out

	stop  context.CancelFunc // ends the committer
	ended chan struct{}      // closed by the committer

	mu        sync.Mutex // guards what follows, and is held while a floor is written
	position  int64      // no mark below it will be handed out
	ledger    dirty.Ledger
	committed int64
	gap       bool // the group is new to this log, of which it has not taken note
	told      bool // Poll told of the gap
}

var _ dirty.Consumer = (*Consumer)(nil)

// Consume opens the consumer of a group at the group's floor. A group that has
// one already, in this process, is refused: there is only one log.
func (q *Queue) Consume(ctx context.Context, group string, o dirty.Options) (dirty.Consumer, error) {
	_, end, err := q.db.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.groups[group] {
		return nil, fmt.Errorf("consume group %q: it has a consumer in this process", group)
	}
	floor, err := q.offset(groupKey(group))
	if err != nil {
		return nil, fmt.Errorf("consume group %q: %w", group, err)
	}
	known, err := getOffset(q.db, knownKey(group))
	if err != nil {
		return nil, fmt.Errorf("consume group %q: %w", group, err)
	}
	c := &Consumer{
		q: q, group: group, slack: cmp.Or(o.Slack, dirty.DefaultSlack), start: floor, end: math.MaxInt64,
		ended: make(chan struct{}), position: floor, committed: floor, gap: known < 0,
	}
	if o.Drain {
		c.end = q.next
	}
	q.groups[group] = true
	ctx, c.stop = context.WithCancel(q.db.Lifetime())
	go c.commitAgain(ctx)
	return c, nil
}

// Poll waits for marks, as [dirty.Consumer] says. A mark that this process makes
// wakes it.
func (c *Consumer) Poll(ctx context.Context) (dirty.Polled, error) {
	ctx, end, err := c.q.db.Begin(ctx)
	if err != nil {
		return dirty.Polled{}, err
	}
	defer end()
	if err := c.noted(); err != nil {
		return dirty.Polled{}, err
	}
	for {
		durable, moved := c.q.readable()
		p, err := c.take(ctx, min(durable, c.end))
		switch {
		case err != nil:
			return dirty.Polled{}, err
		case len(p.Marks)+len(p.Gaps) > 0:
			return p, nil
		case durable >= c.end:
			return dirty.Polled{}, io.EOF
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return dirty.Polled{}, context.Cause(ctx)
		}
	}
}

// take reads marks below end and enters them into the ledger. The first time it
// tells if the group is new to this log: if it had another one, that was deleted
// with the marks in it.
func (c *Consumer) take(ctx context.Context, end int64) (p dirty.Polled, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.Marks, err = c.q.read(ctx, c.position, end, pollMarks); err != nil {
		return p, fmt.Errorf("read marks of group %q: %w", c.group, err)
	}
	for _, m := range p.Marks {
		c.ledger.Take(m)
		c.position = m.Offset + 1
	}
	if c.gap && !c.told {
		c.told, p.Gaps = true, []int32{0}
	}
	return p, nil
}

// noted is called when Poll is called again: the gap that it told is known now.
func (c *Consumer) noted() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.told || !c.gap {
		return nil
	}
	if err := c.q.db.Set(knownKey(c.group), encodeOffset(0), pebble.Sync); err != nil {
		return fmt.Errorf("take note for group %q: %w", c.group, err)
	}
	c.gap = false
	return nil
}

// Done implements [dirty.Consumer].
func (c *Consumer) Done(m dirty.Mark) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ledger.Done(m)
}

// Behind implements [dirty.Consumer].
func (c *Consumer) Behind() []dirty.Mark {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ledger.Behind(c.slack)
}

// Defer implements [dirty.Consumer]. The batch that appends the new marks drops
// the old ones, so a crash leaves one or the other.
func (c *Consumer) Defer(ctx context.Context, marks ...dirty.Mark) error {
	if err := c.q.mark(ctx, dirty.Again(marks)); err != nil {
		return fmt.Errorf("defer: %w", err)
	}
	for _, m := range marks {
		c.Done(m)
	}
	return nil
}

// commitAgain commits about once a second. A commit that fails is tried again by
// the next one.
func (c *Consumer) commitAgain(ctx context.Context) {
	defer close(c.ended)
	tick := time.NewTicker(commitEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := c.commit(ctx); err != nil && ctx.Err() == nil {
			c.q.log.Warn("commit floor of group, will be tried again", "group", c.group, "error", err.Error())
		}
	}
}

// commit writes the floor, synced, if it has moved.
func (c *Consumer) commit(ctx context.Context) error {
	_, end, err := c.q.db.Begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	c.mu.Lock()
	defer c.mu.Unlock()
	floor := max(c.start, c.ledger.Floor())
	if floor == c.committed {
		return nil
	}
	if err := c.q.db.Set(groupKey(c.group), encodeOffset(floor), pebble.Sync); err != nil {
		return err
	}
	c.committed = floor
	return nil
}

// Close commits the floor and leaves the group.
func (c *Consumer) Close() error {
	c.stop()
	<-c.ended
	err := c.commit(context.Background())
	c.q.mu.Lock()
	delete(c.q.groups, c.group)
	c.q.mu.Unlock()
	if err != nil {
		return fmt.Errorf("leave group %q: %w", c.group, err)
	}
	return nil
}
