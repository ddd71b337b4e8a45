package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/afterhours/afterhours/dirty"
)

const (
	// sessionTimeout is how long a crashed member keeps its partitions.
	sessionTimeout = 10 * time.Second

	commitEvery   = time.Second
	commitTimeout = 5 * time.Second
	closeTimeout  = 10 * time.Second

	pollWait  = 100 * time.Millisecond // between looks at what else happened
	pollMarks = 10_000                 // at most, in one Poll
)

// Consumer is a member of a group. It implements [dirty.Consumer].
type Consumer struct {
	q      *Queue
	group  string
	drain  bool
	slack  int64
	log    *slog.Logger
	client *kgo.Client
	stop   context.CancelFunc // ends the committer
	ended  chan struct{}      // closed by the committer

	mu       sync.Mutex
	joined   bool // the group has assigned partitions, or none
	assigned map[int32]*partition
	readings int64   // of partitions, begun so far
	revoked  []int32 // not yet told by Poll, as are gaps
	gaps     []int32
	told     []int32 // gaps that Poll told, until it is called again

	committing sync.Mutex // held while offsets are sent, so that none overtakes another
	unsent     bool       // the last commit failed; guarded by committing

	watch watchdog // of the goroutine that polls, as is failed
	// failed is what every further Poll returns: records that came with an error
	// are handed out first, those after it never, or the floor would pass it.
	failed error
}

var _ dirty.Consumer = (*Consumer)(nil)

// Consume joins a group, in the background: errors are returned by Poll. A group
// without committed offsets starts at the first mark.
func (q *Queue) Consume(_ context.Context, group string, o dirty.Options) (dirty.Consumer, error) {
	return q.consume(group, o)
}

func (q *Queue) consume(group string, o dirty.Options) (*Consumer, error) {
	ctx, stop := context.WithCancel(context.Background())
	c := &Consumer{
		q: q, group: group, drain: o.Drain, slack: cmp.Or(o.Slack, dirty.DefaultSlack), log: q.log.With("topic", q.topic, "group", group),
		stop: stop, ended: make(chan struct{}), assigned: map[int32]*partition{},
	}
	client, err := q.client(
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(q.topic),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // never the end: marks would be lost
		kgo.DisableAutoCommit(),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(sessionTimeout),
		// While Poll takes records, no partition can be revoked and assigned
		// anew: their ledger would belong to another reading of the log.
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(c.onAssigned),
		kgo.AdjustFetchOffsetsFn(c.startOffsets),
		kgo.OnPartitionsRevoked(c.onRevoked),
		kgo.OnPartitionsLost(c.onLost),
		kgo.FetchMaxBytes(fetchBytes),
	)
	if err != nil {
		stop()
		return nil, fmt.Errorf("join group %q: %w", group, err)
	}
	c.client = client
	c.watch.last = time.Now()
	go c.commitAgain(ctx)
	return c, nil
}

// Poll waits for marks, as [dirty.Consumer] says.
func (c *Consumer) Poll(ctx context.Context) (dirty.Polled, error) {
	c.noted()
	for {
		if p := (dirty.Polled{Revoked: c.takeRevoked(), Gaps: c.takeGaps()}); len(p.Revoked)+len(p.Gaps) > 0 {
			return p, nil
		}
		if c.failed == nil && c.drain && c.drained() {
			c.failed = io.EOF
		}
		if c.failed != nil {
			return dirty.Polled{}, c.failed
		}
		marks := c.take(ctx)
		if c.failed == nil {
			c.failed = c.look(ctx)
		}
		if len(marks) > 0 {
			return dirty.Polled{Marks: marks, Gaps: c.takeGaps()}, nil
		}
		if err := ctx.Err(); err != nil {
			return dirty.Polled{}, err
		}
	}
}

// take waits a moment for records and enters them into the ledgers.
func (c *Consumer) take(ctx context.Context) []dirty.Mark {
	wait, cancel := context.WithTimeout(ctx, pollWait)
	defer cancel()
	fetches := c.client.PollRecords(wait, pollMarks)
	defer c.client.AllowRebalance()

	c.mu.Lock()
	defer c.mu.Unlock()
	marks := make([]dirty.Mark, 0, fetches.NumRecords())
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		p := c.assigned[f.Partition]
		if p == nil {
			return
		}
		c.deleted(f.Partition, p, f.LogStartOffset)
		for _, r := range f.Records {
			marks = c.enter(p, r, marks)
		}
	})
	fetches.EachError(func(_ string, partition int32, err error) { c.fault(partition, err) })
	return marks
}

// enter records r in its partition's ledger, and appends its mark if it is one.
func (c *Consumer) enter(p *partition, r *kgo.Record, marks []dirty.Mark) []dirty.Mark {
	if r.Offset < p.position {
		c.log.Error("kafka log went back, reading it again", "partition", r.Partition, "from", p.position, "to", r.Offset)
		c.readings++
		c.gapIn(r.Partition)
		p.rewind(r.Offset, c.readings)
	}
	if c.drain && r.Offset >= p.end {
		p.position = r.Offset + 1 // but not the ledger's: it is left to the next consumer
		return marks
	}
	m, err := markOf(r)
	if err == nil {
		m.Reading = p.reading
		p.take(m)
		return append(marks, m)
	}
	if !p.strange {
		c.log.Warn("kafka record is not a mark, passing over it and others of the partition",
			"partition", r.Partition, "offset", r.Offset, "error", err.Error())
	}
	p.strange = true
	p.pass(r.Offset)
	return marks
}

// fault decides what an error of the client means. Those that cure themselves
// are logged at most.
func (c *Consumer) fault(partition int32, err error) {
	var loss *kgo.ErrDataLoss
	var session *kgo.ErrGroupSession
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
	case errors.As(err, &loss):
		c.log.Error("kafka lost records of a log", "partition", partition, "error", err.Error())
		c.gapIn(partition)
	case errors.Is(err, kerr.UnknownTopicID) && c.failed == nil:
		c.failed = fmt.Errorf("read topic %q for group %q: it was deleted, or deleted and made again; start again, to read what there is now: %w", c.q.topic, c.group, err)
	case errors.As(err, &session) && !denied(err):
		c.log.Warn("kafka group session ended, joining again", "error", err.Error())
	case c.failed == nil:
		c.failed = fmt.Errorf("read topic %q partition %d for group %q: %w", c.q.topic, partition, c.group, err)
	}
}

func denied(err error) bool {
	return errors.Is(err, kerr.GroupAuthorizationFailed) || errors.Is(err, kerr.TopicAuthorizationFailed)
}

// Done implements [dirty.Consumer]. For a partition that now belongs to another
// member it does nothing: that member is handed the mark again. Nor does it for one
// that is read anew: if its log went back, the mark's offset may by now be that of
// a mark that came after the rewrite.
func (c *Consumer) Done(m dirty.Mark) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.assigned[m.Partition]; p != nil && p.reading == m.Reading {
		p.ledger.Done(m)
	}
}

// Behind implements [dirty.Consumer].
func (c *Consumer) Behind() []dirty.Mark {
	c.mu.Lock()
	defer c.mu.Unlock()
	var behind []dirty.Mark
	for _, id := range slices.Sorted(maps.Keys(c.assigned)) {
		behind = append(behind, c.assigned[id].ledger.Behind(c.slack)...)
	}
	return behind
}

// Defer implements [dirty.Consumer]. The new mark of an hour may lie in another
// partition than the old one, if partitions were added, and then be handed to
// another member.
func (c *Consumer) Defer(ctx context.Context, marks ...dirty.Mark) error {
	if err := c.q.append(ctx, dirty.Again(marks)); err != nil {
		return fmt.Errorf("defer: %w", err)
	}
	for _, m := range marks {
		c.Done(m)
	}
	return nil
}

// Close commits the floor and leaves the group. If the commit fails, marks that
// were done are handed out once more, to another member.
func (c *Consumer) Close() error {
	c.stop()
	<-c.ended
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := c.commit(ctx)
	err = errors.Join(err, c.client.LeaveGroupContext(ctx))
	c.client.CloseAllowingRebalance()
	if err != nil {
		return fmt.Errorf("leave group %q at %s: %w", c.group, strings.Join(c.q.brokers, ","), err)
	}
	return nil
}
