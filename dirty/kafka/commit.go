package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

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
		// Not derived from ctx: a commit that has begun is not cut off by Close.
		once, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
		failing := c.failing()
		if err := c.commit(once); err != nil && !failing {
			c.log.Warn("commit kafka offsets, will be tried again", "error", err.Error())
		}
		cancel()
	}
}

func (c *Consumer) failing() bool {
	c.committing.Lock()
	defer c.committing.Unlock()
	return c.unsent
}

// commit sends the floor of every partition where it has moved.
func (c *Consumer) commit(ctx context.Context) error {
	c.committing.Lock()
	defer c.committing.Unlock()
	floors := c.floors()
	if len(floors) == 0 {
		return nil
	}
	offsets := map[int32]kgo.EpochOffset{}
	for id, f := range floors {
		offsets[id] = kgo.EpochOffset{Epoch: -1, Offset: f.at}
	}
	ctx = kgo.PreCommitFnContext(ctx, func(r *kmsg.OffsetCommitRequest) error { sign(r, floors); return nil })
	var failed error
	c.client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{c.q.topic: offsets},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			if failed = err; err == nil {
				failed = c.committed(floors, resp)
			}
		})
	c.unsent = failed != nil
	if failed != nil {
		return fmt.Errorf("commit offsets: %w", failed)
	}
	return nil
}

// sign says in a commit what is to be known of each offset.
func sign(r *kmsg.OffsetCommitRequest, floors map[int32]floor) {
	for _, t := range r.Topics {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			p.Metadata = floors[p.Partition].metadata()
		}
	}
}

// floors returns the floors that are not committed.
func (c *Consumer) floors() map[int32]floor {
	c.mu.Lock()
	defer c.mu.Unlock()
	floors := map[int32]floor{}
	for id, p := range c.assigned {
		if f := p.floor(); p.known && f != p.committed {
			floors[id] = f
		}
	}
	return floors
}

// committed records which floors the broker took.
func (c *Consumer) committed(floors map[int32]floor, resp *kmsg.OffsetCommitResponse) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var failed error
	for _, t := range resp.Topics {
		for _, r := range t.Partitions {
			if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
				failed = fmt.Errorf("partition %d: %w", r.Partition, err)
			} else if p := c.assigned[r.Partition]; p != nil {
				p.committed = floors[r.Partition]
			}
		}
	}
	return failed
}
