package kafka

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
	"github.com/afterhours/afterhours/internal/testenv"
)

// What is marked comes out, once, with the broker's time.
func TestMarkedHoursAreHandedOut(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "basic"), "partitions=3")
	before := time.Now().Add(-time.Second)
	mark(t, q, hour(1), hour(2), hour(3))
	got := drainAll(t, q, "g", (*Consumer).Done)
	if len(got) != 3 {
		t.Fatalf("got %v", got)
	}
	for _, m := range got {
		if at := m.Time.Time(); at.Before(before) || at.After(time.Now().Add(time.Second)) {
			t.Errorf("time of %s is %s", m.Hour, m.Time)
		}
	}
	if again := drainAll(t, q, "g", nil); len(again) != 0 {
		t.Errorf("done marks came again: %v", again)
	}
}

// The committed offset stays below the first mark that is not done, also while
// the consumer runs, and follows when it is.
func TestFloorIsCommitted(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "floor"), "partitions=1")
	mark(t, q, hour(0))
	mark(t, q, hour(1))
	mark(t, q, hour(2))
	c := join(t, q, "g", false)
	ms := await(t, c, 3)
	c.Done(ms[0])
	c.Done(ms[2])
	eventually(t, "offset 1 is committed", func() bool { return committed(t, q, "g", 0) == 1 })
	mark(t, q, hour(3))
	c.Done(await(t, c, 1)[0])
	closeOf(t, c)
	if at := committed(t, q, "g", 0); at != 1 {
		t.Errorf("committed %d although the mark at 1 is not done", at)
	}
	if again := drainAll(t, q, "g", (*Consumer).Done); len(again) != 3 || again[0].Hour != hour(1) {
		t.Errorf("came again: %v", again)
	}
	if at := committed(t, q, "g", 0); at != 4 {
		t.Errorf("committed %d after all was done", at)
	}
}

// When members come and go, every mark is handed out, a partition that moves is
// told, and what was done before it moved does not come again.
func TestMembersShare(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "share"), "partitions=4")
	for n := range 40 {
		mark(t, q, hour(n))
	}
	a := join(t, q, "g", false)
	for _, m := range await(t, a, 40) {
		a.Done(m)
	}
	b := join(t, q, "g", false)
	seen := map[afterhours.Hour]int{}
	revoked := 0
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	poll := func(c *Consumer) {
		once, cancel := context.WithTimeout(ctx, 150*time.Millisecond)
		defer cancel()
		p, err := c.Poll(once)
		if err != nil && (once.Err() == nil || ctx.Err() != nil) {
			t.Fatalf("%v with %d revoked, %d seen", err, revoked, len(seen))
		}
		revoked += len(p.Revoked)
		for _, m := range p.Marks {
			seen[m.Hour]++
			c.Done(m)
		}
	}
	for revoked < 2 {
		poll(a)
		poll(b)
	}
	for n := range 40 {
		mark(t, q, hour(100+n))
	}
	for len(seen) < 40 {
		poll(a)
		poll(b)
	}
	for h := range seen {
		if h.Start < hour(100).Start {
			t.Errorf("%s was done before its partition moved, and came again", h)
		}
	}
	closeOf(t, a)
	mark(t, q, hour(200), hour(201), hour(202), hour(203), hour(204), hour(205))
	for len(seen) < 46 {
		poll(b)
	}
	closeOf(t, b)
	if got, err := q.Pending(t.Context(), named(q, "g")); err != nil || len(got) != 0 {
		t.Errorf("pending %v, %v", got, err)
	}
}

// A member that is gone without a word leaves what it had not done to another.
func TestCrashIsARedelivery(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "crash"), "partitions=1")
	mark(t, q, hour(0))
	mark(t, q, hour(1))
	crasher := exec.Command(os.Args[0], "-test.run=^TestCrasher$")
	crasher.Env = append(os.Environ(), "CRASHER_TOPIC="+q.topic, "AFTERHOURS_TEST_KAFKA="+testenv.Kafka(t))
	if err := crasher.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the crasher has committed its first mark", func() bool { return committed(t, q, "g", 0) == 1 })
	if err := crasher.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = crasher.Wait() // it was killed
	c := join(t, q, "g", false)
	defer closeOf(t, c)
	if got := await(t, c, 1); got[0].Hour != hour(1) {
		t.Errorf("got %v", got)
	}
}

// TestCrasher is the process that TestCrashIsARedelivery kills: it takes two
// marks, does the first, and says no more.
func TestCrasher(t *testing.T) {
	topic := os.Getenv("CRASHER_TOPIC")
	if topic == "" {
		t.Log("not called as the crasher")
		return
	}
	q, _ := open(t, topic, "")
	c := join(t, q, "g", false)
	c.Done(await(t, c, 2)[0])
	select {}
}

// A drain ends at the marks there were when it began, and with an empty topic at
// once. What was marked meanwhile is left to the next one.
func TestDrainEnds(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "drain"), "partitions=4")
	if got := drainAll(t, q, "g", nil); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	mark(t, q, hour(0))
	got := drainAll(t, q, "g", func(c *Consumer, m dirty.Mark) {
		mark(t, q, hour(1), hour(2), hour(3), hour(4))
		c.Done(m)
	})
	if len(got) != 1 || got[0].Hour != hour(0) {
		t.Errorf("got %v", got)
	}
	if got := drainAll(t, q, "g", nil); len(got) != 4 {
		t.Errorf("the next drain got %v", got)
	}
}

// A drain that reads beyond its end hands nothing out from there and does not
// commit it. But it has read it, and does not take it for a stall.
func TestDrainReadsBeyondItsEnd(t *testing.T) {
	t.Parallel()
	c, p := &Consumer{drain: true}, &partition{known: true, end: 5}
	record := func(offset int64) *kgo.Record { return &kgo.Record{Key: []byte(hour(0).String()), Offset: offset} }
	got := c.enter(p, record(4), nil)
	got = c.enter(p, record(7), got)
	if len(got) != 1 || p.position != 8 || p.floor().at != 4 {
		t.Fatalf("handed out %v, position %d, floor %d", got, p.position, p.floor().at)
	}
	p.ledger.Done(got[0])
	if p.floor().at != 5 {
		t.Errorf("floor %d, want 5", p.floor().at)
	}
}

// A key that is no hour and a null value stall nothing: the first is logged once
// and passed over, the second counts as a mark.
func TestStrangeRecordsDoNotStall(t *testing.T) {
	t.Parallel()
	q, l := open(t, testenv.Topic(t, "strange"), "partitions=1")
	p := producer(t, q.topic)
	produce(t, p, "no hour", "x")
	produce(t, p, "purchase/yesterday", "x")
	tombstone(t, p, hour(1).String())
	produce(t, p, "?", "x")
	got := drainAll(t, q, "g", (*Consumer).Done)
	if len(got) != 1 || got[0].Hour != hour(1) {
		t.Errorf("got %v", got)
	}
	if at := committed(t, q, "g", 0); at != 4 {
		t.Errorf("committed %d of 4", at)
	}
	if n := strings.Count(l.String(), "not a mark"); n != 1 {
		t.Errorf("logged %d times: %s", n, l)
	}
}

// An offset that is committed outside the log loses nothing: all of the log is
// read again, that is told, and the wrong offset is replaced at once.
func TestCommittedOffsetOutsideTheLog(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		committed, deleted int64
		want               []afterhours.Hour
		floor              int64
	}{
		"beyond the end":  {committed: 1000, want: []afterhours.Hour{hour(0), hour(1), hour(2)}, floor: 0},
		"below the start": {committed: 1, deleted: 2, want: []afterhours.Hour{hour(2)}, floor: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q, l := open(t, testenv.Topic(t, "outside"), "partitions=1")
			for n := range 3 {
				mark(t, q, hour(n))
			}
			if c.deleted > 0 {
				deleteRecords(t, q.topic, 0, c.deleted)
			}
			commitAt(t, q, "g", c.committed)
			pending, err := q.Pending(t.Context(), named(q, "g"))
			if err != nil || len(pending) != len(c.want) {
				t.Errorf("pending %v, %v", pending, err)
			}
			got := drainAll(t, q, "g", nil)
			if len(got) != len(c.want) {
				t.Fatalf("got %v", got)
			}
			for i, m := range got {
				if m.Hour != c.want[i] {
					t.Errorf("got %v", got)
				}
			}
			if at := committed(t, q, "g", 0); at != c.floor {
				t.Errorf("committed %d, want %d", at, c.floor)
			}
			if s := l.String(); !strings.Contains(s, "outside the log") {
				t.Errorf("logged %s", s)
			}
		})
	}
}

// Marks that wait without arriving are noticed, whatever the client thinks; the
// error names the partition and the offsets.
func TestStallIsNoticed(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "stall"), "partitions=1")
	mark(t, q, hour(0))
	c := join(t, q, "g", false)
	defer closeOf(t, c)
	await(t, c, 1)
	q.stallAfter = 2 * time.Second
	// A quiet topic is no stall.
	quiet, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if p, err := c.Poll(quiet); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a quiet topic gave %v, %v", p, err)
	}
	c.client.PauseFetchTopics(q.topic) // stands for any reason a client may have
	mark(t, q, hour(1))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p, err := c.Poll(ctx)
	if !errors.Is(err, dirty.ErrStalled) {
		t.Fatalf("got %v, %v", p, err)
	}
	for _, want := range []string{q.topic, "partition 0", "offset 1", "ends at 2"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

// Marks of one partition that flow do not hide that another stands still.
func TestStallOfOnePartitionIsNoticed(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "half"), "partitions=2")
	for n := range 20 {
		mark(t, q, hour(n))
	}
	var of [2]afterhours.Hour // an hour of each partition
	for _, m := range drainAll(t, q, "where", nil) {
		of[m.Partition] = m.Hour
	}
	c := join(t, q, "g", false)
	defer closeOf(t, c)
	await(t, c, 20)
	q.stallAfter = 2 * time.Second
	c.client.PauseFetchPartitions(map[string][]int32{q.topic: {0}})
	mark(t, q, of[0])
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		mark(t, q, of[1])
		p, err := c.Poll(ctx)
		if errors.Is(err, dirty.ErrStalled) {
			break
		}
		if err != nil || p.Marks[0].Hour != of[1] {
			t.Fatalf("got %v, %v", p, err)
		}
	}
}

// A consumer that lags but moves on is no stall.
func TestProgressIsNoStall(t *testing.T) {
	t.Parallel()
	c := &Consumer{q: &Queue{stallAfter: time.Minute}, assigned: map[int32]*partition{0: {}}}
	for position := range int64(10) {
		c.watch.clock += 50 * time.Second
		if c.stuck(0, position) {
			t.Errorf("stuck at %d although it has moved", position)
		}
	}
	c.watch.clock += 70 * time.Second
	if !c.stuck(0, 9) {
		t.Error("not stuck although it has not moved for more than a minute")
	}
}

// Close tells when what is done could not be committed.
func TestCloseTellsOfAFailedCommit(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "kicked"), "partitions=1")
	mark(t, q, hour(0))
	c := join(t, q, "g", false)
	m := await(t, c, 1)[0]
	member := kmsg.NewLeaveGroupRequestMember()
	member.MemberID, _ = c.client.GroupMetadata()
	kick := kmsg.NewPtrLeaveGroupRequest()
	kick.Group, kick.Members = named(q, "g"), []kmsg.LeaveGroupRequestMember{member}
	if _, err := kick.RequestWith(t.Context(), q.reader); err != nil {
		t.Fatal(err)
	}
	c.Done(m)
	if err := c.Close(); !errors.Is(err, kerr.UnknownMemberID) || !strings.Contains(err.Error(), named(q, "g")) {
		t.Errorf("got %v", err)
	}
}

// alter changes a setting of a topic.
func alter(t *testing.T, topic, name, value string) error {
	t.Helper()
	rs, err := admin(t).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}}, topic)
	if err != nil {
		return err
	}
	_, err = rs.On(topic, func(r *kadm.AlterConfigsResponse) error { return r.Err })
	return err
}

// commitAt commits an offset of partition 0 for a group without members.
func commitAt(t *testing.T, q *Queue, group string, at int64) {
	t.Helper()
	os := kadm.Offsets{}
	os.AddOffset(q.topic, 0, at, -1)
	if err := q.admin.CommitAllOffsets(t.Context(), named(q, group), os); err != nil {
		t.Fatal(err)
	}
}

// producer returns somebody else's producer: idempotent, as franz-go's and
// Java's are by default.
func producer(t *testing.T, topic string, more ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(more, kgo.SeedBrokers(testenv.Kafka(t)), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func produce(t *testing.T, c *kgo.Client, key, value string) {
	t.Helper()
	if err := c.ProduceSync(t.Context(), kgo.KeyStringRecord(key, value)).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func tombstone(t *testing.T, c *kgo.Client, key string) {
	t.Helper()
	if err := c.ProduceSync(t.Context(), &kgo.Record{Key: []byte(key)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}
