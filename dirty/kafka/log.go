package kafka

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/afterhours/afterhours/dirty"
)

// A log does not always end in a record. Log compaction leaves batches without
// records (the last one of each idempotent producer, to keep its sequence
// number), transactions end in control records, and tombstones vanish. A group
// consumer is not told when it passes such offsets: it waits for a record that
// never comes. What follows reads a log itself, where each response tells the
// offset it led to, and so can say that nothing is left.

const (
	fetchWait  = 250 * time.Millisecond
	fetchBytes = 4 << 20
	fetchTries = 10
)

// scan visits the records of one partition from an offset up to end, until
// visit returns false. It returns the offset of the record that visit refused,
// or else end or beyond: there is no record between that was not visited.
func (q *Queue) scan(ctx context.Context, partition int32, from, end int64, visit func(*kgo.Record) bool) (int64, error) {
	tries := 0
	for from < end {
		records, next, err := q.fetch(ctx, partition, from)
		if err != nil && (!kerr.IsRetriable(err) || tries == fetchTries) {
			return from, fmt.Errorf("read topic %q partition %d at offset %d: %w", q.topic, partition, from, err)
		}
		if err != nil {
			if err := pause(ctx, fetchWait); err != nil {
				return from, err
			}
			tries++
			continue
		}
		for _, r := range records {
			if r.Offset < end && !visit(r) {
				return r.Offset, nil
			}
		}
		from, tries = next, 0
	}
	return from, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fetch asks a partition's leader for records from an offset and returns them
// with the offset to ask for next.
func (q *Queue) fetch(ctx context.Context, partition int32, from int64) ([]*kgo.Record, int64, error) {
	t, err := q.describe(ctx)
	if err != nil {
		return nil, from, err
	}
	leader := t.Partitions[partition].Leader
	if leader < 0 {
		return nil, from, kerr.LeaderNotAvailable
	}
	answer, err := q.reader.Broker(int(leader)).RetriableRequest(ctx, fetchRequest(t, partition, from))
	if err != nil {
		return nil, from, err
	}
	r := answer.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
		return nil, from, err
	}
	if len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 {
		return nil, from, kerr.ThrottlingQuotaExceeded // a broker over its quota answers with nothing
	}
	return q.process(&r.Topics[0].Partitions[0], from)
}

func fetchRequest(t kadm.TopicDetail, partition int32, from int64) *kmsg.FetchRequest {
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, from, fetchBytes
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID, topic.Partitions = t.Topic, t.ID, []kmsg.FetchRequestTopicPartition{p}
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = int32(fetchWait.Milliseconds()), 1, fetchBytes
	req.Topics = []kmsg.FetchRequestTopic{topic}
	return req
}

// process decodes a partition's part of a response.
func (q *Queue) process(p *kmsg.FetchResponseTopicPartition, from int64) ([]*kgo.Record, int64, error) {
	o := kgo.ProcessFetchPartitionOpts{Offset: from, Topic: q.topic, Partition: p.Partition}
	got, next := kgo.ProcessFetchPartition(o, p, kgo.DefaultDecompressor(), nil)
	if got.Err != nil {
		return nil, from, got.Err
	}
	if len(p.RecordBatches) == 0 && p.HighWatermark > from {
		// The broker looked and found no batch at or after from, although the
		// log goes on: log compaction removed the last ones altogether.
		next = p.HighWatermark
	}
	if next == from {
		return nil, from, kerr.OffsetNotAvailable // the log became shorter
	}
	return got.Records, next, nil
}

// bounds are a partition's first offset and the one after its last, in the topic
// with an ID.
type bounds struct {
	topic      string
	start, end int64
}

// bounds returns those of every partition.
func (q *Queue) bounds(ctx context.Context) (map[int32]bounds, error) {
	before, err := q.describe(ctx)
	if err != nil {
		return nil, err
	}
	starts, err := q.admin.ListStartOffsets(ctx, q.topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list first offsets of topic %q: %w", q.topic, err)
	}
	ends, err := q.admin.ListEndOffsets(ctx, q.topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list last offsets of topic %q: %w", q.topic, err)
	}
	after, err := q.describe(ctx)
	if err != nil {
		return nil, err
	}
	if after.ID != before.ID {
		return nil, fmt.Errorf("list offsets of topic %q: it was made again meanwhile", q.topic)
	}
	all := map[int32]bounds{}
	for p, s := range starts[q.topic] {
		all[p] = bounds{after.ID.String(), s.Offset, ends[q.topic][p].Offset}
	}
	return all, nil
}

// floor is what a group has committed of a partition. The zero value is nothing.
type floor struct {
	known bool
	at    int64
	topic string // the ID of the topic that it lies in, "" if that is not known
	gap   bool   // there was one, and nobody is known to have taken note
}

// Offsets are committed by the topic's name, so one of a topic that was deleted may
// be committed to the next of that name. What goes with it tells them apart.
const (
	topicMetadata = "topic="
	gapMetadata   = " gap"
)

// metadata is what is committed beside the offset.
func (f floor) metadata() *string {
	m := topicMetadata + f.topic
	if f.gap {
		m += gapMetadata
	}
	return &m
}

func newFloor(at int64, metadata string) floor {
	topic, ours := strings.CutPrefix(metadata, topicMetadata)
	if !ours {
		return floor{known: at >= 0, at: at} // an operator's, who knows what to do
	}
	topic, gap := strings.CutSuffix(topic, gapMetadata)
	return floor{at >= 0, at, topic, gap}
}

// floors returns what a group has committed, by partition; of the others nothing.
func (q *Queue) floors(ctx context.Context, group string) (map[int32]floor, error) {
	os, err := q.committed(ctx, group)
	if err != nil {
		return nil, fmt.Errorf("read offsets of group %q: %w", group, err)
	}
	floors := map[int32]floor{}
	for p, o := range os[q.topic] {
		floors[p] = newFloor(o.At, o.Metadata)
	}
	return floors, nil
}

// resume returns the offset at which a group goes on. If it is not the floor, marks
// may be gone that the group was never handed, and why says how. Then everything
// that is left is read: to go on at the end would lose that as well.
func (b bounds) resume(f floor) (offset int64, why string) {
	switch {
	case !f.known:
		return b.start, "nothing is committed"
	case f.topic != "" && f.topic != b.topic:
		return b.start, "the topic was deleted and made again"
	case f.at < b.start:
		return b.start, "marks were deleted, it is outside the log"
	case f.at > b.end:
		return b.start, "the log became shorter, it is outside the log"
	}
	return f.at, ""
}

// coordinatorWait is how long a cluster may take to find a coordinator for a
// group: the first one of a new cluster makes it create its topic of offsets.
const coordinatorWait = 30 * time.Second

// committed returns what a group has committed.
func (q *Queue) committed(ctx context.Context, group string) (kadm.OffsetResponses, error) {
	return backoff.Retry(ctx, func() (kadm.OffsetResponses, error) {
		o, err := q.admin.FetchOffsetsForTopics(ctx, group, q.topic)
		if err == nil {
			err = o.Error()
		}
		if err != nil && !kerr.IsRetriable(err) {
			err = backoff.Permanent(err)
		}
		return o, err
	}, backoff.WithMaxElapsedTime(coordinatorWait))
}

// Pending reads the marks that the group has not committed, as the logs are when
// it is called.
func (q *Queue) Pending(ctx context.Context, group string) ([]dirty.Mark, error) {
	all, err := q.bounds(ctx)
	if err != nil {
		return nil, err
	}
	floors, err := q.floors(ctx, group)
	if err != nil {
		return nil, err
	}
	var marks []dirty.Mark
	for p := range int32(len(all)) {
		from, _ := all[p].resume(floors[p])
		_, err := q.scan(ctx, p, from, all[p].end, func(r *kgo.Record) bool {
			if m, err := markOf(r); err == nil {
				marks = append(marks, m)
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return marks, nil
}
