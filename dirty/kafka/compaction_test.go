package kafka

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/internal/testenv"
)

// batches are the batches of a partition as the broker stores them. A batch has
// lost its tail if its last record lies before where it says that it ends.
type batches struct {
	all, empty, adjacent, control int
	tails                         map[string]int // by compression
}

// compressions are those that the attributes of a batch can name.
var compressions = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// stored reads all batches of partition 0.
func stored(t *testing.T, q *Queue) batches {
	t.Helper()
	b := batches{tails: map[string]int{}}
	b.read(t, q, 0)
	return b
}

// read adds those of a partition.
func (b *batches) read(t *testing.T, q *Queue, partition int32) {
	t.Helper()
	topic, err := q.describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	logs, err := q.bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wasEmpty := false
	for from := logs[partition].start; from < logs[partition].end; {
		answer, err := q.reader.Broker(int(topic.Partitions[partition].Leader)).RetriableRequest(t.Context(), fetchRequest(topic, partition, from))
		if err != nil {
			t.Fatal(err)
		}
		p := &answer.(*kmsg.FetchResponse).Topics[0].Partitions[0]
		raw, before := p.RecordBatches, from
		for len(raw) >= 61 {
			length := 12 + int(binary.BigEndian.Uint32(raw[8:]))
			if length > len(raw) {
				break
			}
			last := int64(binary.BigEndian.Uint64(raw)) + int64(binary.BigEndian.Uint32(raw[23:]))
			p.RecordBatches = raw[:length]
			wasEmpty = b.add(q, p, last, wasEmpty)
			from, raw = last+1, raw[length:]
		}
		if from == before {
			t.Fatalf("no batch at offset %d", from)
		}
	}
}

// add adds the batch that an answer holds, which says that it ends at last.
func (b *batches) add(q *Queue, p *kmsg.FetchResponseTopicPartition, last int64, wasEmpty bool) (empty bool) {
	raw := p.RecordBatches
	b.all++
	if raw[22]&0x20 != 0 {
		b.control++
	}
	if binary.BigEndian.Uint32(raw[57:]) == 0 {
		b.empty++
		if wasEmpty {
			b.adjacent++
		}
		return true
	}
	if rs, _, err := q.process(p, 0); err == nil && len(rs) > 0 && rs[len(rs)-1].Offset < last {
		b.tails[compressions[raw[22]&7]]++
	}
	return false
}

// records counts those of partition 0.
func records(t *testing.T, q *Queue) int {
	t.Helper()
	logs, err := q.bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if _, err := q.scan(t.Context(), 0, logs[0].start, logs[0].end, func(*kgo.Record) bool { n++; return true }); err != nil {
		t.Fatal(err)
	}
	return n
}

// A drain, Pending and the watchdog know the end of a log whose last records
// were removed by log compaction and which ends in a control record: they wait
// for no record that cannot come.
func TestLogEndsWithoutARecord(t *testing.T) {
	t.Parallel()
	topic := testenv.Topic(t, "tail")
	create(t, topic, 1, restless...)
	q, _ := open(t, topic, "")
	mark(t, q, hour(1))
	mark(t, q, hour(2))
	tx := producer(t, topic, kgo.TransactionalID(topic))
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, tx, hour(3).String(), "{}")                               // offset 2
	<-time.After(200 * time.Millisecond)                                 // segment.ms: what follows is another segment
	if err := tx.EndTransaction(t.Context(), kgo.TryAbort); err != nil { // 3
		t.Fatal(err)
	}
	eventually(t, "the aborted record became an empty batch", func() bool {
		b := stored(t, q)
		return b.empty == 1 && b.control == 1 && records(t, q) == 2
	})

	for committed, want := range map[int64]int{-1: 2, 1: 1, 2: 0, 3: 0} {
		group := fmt.Sprintf("at %d", committed)
		if committed >= 0 {
			commitAt(t, q, group, committed)
		}
		if got, err := q.Pending(t.Context(), named(q, group)); err != nil || len(got) != want {
			t.Errorf("%s: pending %v, %v", group, got, err)
		}
		began := time.Now()
		if got := drainAll(t, q, group, nil); len(got) != want {
			t.Errorf("%s: drained %v", group, got)
		}
		t.Logf("%s: drained in %v", group, time.Since(began))
	}

	c := join(t, q, "watched", false)
	defer closeOf(t, c)
	await(t, c, 2)
	q.stallAfter = time.Second
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if p, err := c.Poll(ctx); ctx.Err() == nil {
		t.Errorf("waiting at the end gave %v, %v", p, err)
	}
}

// Every hour is found in a log that log compaction has torn: compressed batches
// that lost their tails, and empty batches side by side, kept for the sequence
// numbers of idempotent producers. kafka-go's reader stops in the first for
// ever, and panics at the second.
func TestTornLogIsReadInFull(t *testing.T) {
	t.Parallel()
	topic := testenv.Topic(t, "torn")
	create(t, topic, 1, append([]string{"segment.bytes=1048576"}, restless...)...)
	q, _ := open(t, topic, "")
	want := map[afterhours.Hour]bool{}

	w := q.config.writer(q.transport)
	w.Compression = kafkago.Snappy
	defer closeOf(t, w)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	written := 0
	for batch := range 300 {
		keys := 2000
		if batch > 150 {
			keys = 1000
		}
		ms := make([]kafkago.Message, 100)
		for i := range ms {
			h := hour(rng.IntN(keys))
			want[h] = true
			ms[i] = kafkago.Message{Key: []byte(h.String()), Value: fmt.Appendf(nil, "%x%x%x", rng.Uint64(), rng.Uint64(), rng.Uint64())}
		}
		if err := w.WriteMessages(t.Context(), ms...); err != nil {
			t.Fatal(err)
		}
		written += len(ms)
	}
	for range 6 {
		produce(t, producer(t, topic), hour(0).String(), "{}")
	}
	<-time.After(200 * time.Millisecond) // segment.ms
	mark(t, q, hour(5000))
	want[hour(0)], want[hour(5000)] = true, true
	eventually(t, "the cleaner has torn the log", func() bool {
		return stored(t, q).adjacent >= 2 && records(t, q) < written/4
	})

	got := map[afterhours.Hour]bool{}
	for _, m := range drainAll(t, q, "g", (*Consumer).Done) {
		got[m.Hour] = true
	}
	for h := range want {
		if !got[h] {
			t.Errorf("%s is missing", h)
		}
	}
	if p, err := q.Pending(t.Context(), named(q, "new")); err != nil || len(p) < len(want) {
		t.Errorf("%d pending of %d hours, %v", len(p), len(want), err)
	}
	t.Logf("%d records written, %d left in %+v", written+7, records(t, q), stored(t, q))
}

// The mark that one group made again takes the place of the old one for a group
// that has not read it, and for one that has but did not serve it: when the
// cleaner has removed the old one, both are handed the hour.
func TestDeferredMarkSupersedes(t *testing.T) {
	t.Parallel()
	topic := testenv.Topic(t, "superseded")
	create(t, topic, 1, restless...)
	q, _ := open(t, topic, "")
	mark(t, q, hour(0))
	mark(t, q, hour(1))
	read := join(t, q, "read", false)
	first := await(t, read, 2)[0]
	closeOf(t, read)

	c := join(t, q, "g", false)
	deferAll(t, c, await(t, c, 2)[0])
	for _, m := range await(t, c, 1) {
		c.Done(m) // this group has served it
	}
	<-time.After(200 * time.Millisecond) // segment.ms: what follows is another segment
	mark(t, q, hour(2))
	closeOf(t, c)
	eventually(t, "the cleaner has removed the old mark", func() bool { return records(t, q) == 3 })

	for _, group := range []string{"read", "new"} {
		got := drainAll(t, q, group, nil)
		if len(got) != 3 || got[1].Hour != hour(0) || got[1].Offset != 2 || got[1].Since != first.Time {
			t.Errorf("group %s is handed %+v, want %s at offset 2, since %s", group, got, hour(0), first.Time)
		}
	}
	if got := drainAll(t, q, "g", nil); len(got) == 0 || got[0].Hour != hour(1) {
		t.Errorf("the group that deferred is handed %+v", got)
	}
}

// An answer without a batch says where a log goes on, or that it ends: its last
// batches may be gone altogether. Nothing else lets a scan pass offsets.
func TestAnswerWithoutABatch(t *testing.T) {
	t.Parallel()
	q := &Queue{}
	p := kmsg.NewFetchResponseTopicPartition()
	p.HighWatermark = 9
	if _, next, err := q.process(&p, 5); err != nil || next != 9 {
		t.Errorf("a log that goes on: %d, %v", next, err)
	}
	if _, next, err := q.process(&p, 9); err == nil || next != 9 {
		t.Errorf("a log that ends: %d, %v", next, err)
	}
	p.ErrorCode = 6 // NOT_LEADER_OR_FOLLOWER
	if _, next, err := q.process(&p, 5); err == nil || next != 5 {
		t.Errorf("an error: %d, %v", next, err)
	}
}

// A log that becomes shorter while it is read is an error, not an endless read.
func TestLogThatShrinksEndsAScan(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "shrunk"), "partitions=1")
	mark(t, q, hour(0))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := q.scan(ctx, 0, 0, 5, func(*kgo.Record) bool { return true })
	if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "offset 1") {
		t.Errorf("got %v", err)
	}
}
