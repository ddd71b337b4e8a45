package kafka

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/internal/testenv"
)

// deleteTopic deletes a topic.
func deleteTopic(t *testing.T, topic string) {
	t.Helper()
	if _, err := admin(t).DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
}

// deleteRecords deletes the records of a partition below an offset, which the broker
// does only while the topic is not log-compacted.
func deleteRecords(t *testing.T, topic string, partition int32, below int64) {
	t.Helper()
	if err := alter(t, topic, "cleanup.policy", "delete"); err != nil {
		t.Fatal(err)
	}
	os := kadm.Offsets{}
	os.AddOffset(topic, partition, below, -1)
	a := admin(t)
	eventually(t, "the broker knows the policy", func() bool {
		rs, err := a.DeleteRecords(t.Context(), os)
		return err == nil && rs.Error() == nil
	})
	if err := alter(t, topic, "cleanup.policy", "compact"); err != nil {
		t.Fatal(err)
	}
}

// told is what a drain was handed and told.
type told struct {
	hours []afterhours.Hour
	gaps  []int32
}

// drain reads a group to its end, and says done to all of it.
func drain(t *testing.T, q *Queue, group string) (d told) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := join(t, q, group, true)
	defer closeOf(t, c)
	for {
		p, err := c.Poll(ctx)
		if errors.Is(err, io.EOF) {
			return d
		}
		if err != nil {
			t.Fatalf("drain, told %+v: %v", d, err)
		}
		d.gaps = append(d.gaps, p.Gaps...)
		for _, m := range p.Marks {
			d.hours = append(d.hours, m.Hour)
			c.Done(m)
		}
	}
}

func (d told) wants(t *testing.T, what string, gaps []int32, hours ...afterhours.Hour) {
	t.Helper()
	if !slices.Equal(d.hours, hours) || !slices.Equal(d.gaps, gaps) {
		t.Errorf("%s: handed out %v with gaps in %v, want %v and %v", what, d.hours, d.gaps, hours, gaps)
	}
}

// An offset that was committed in a topic of the same name, deleted since, hides
// nothing: a member that had not noticed may commit it after the topic was made
// again, and the new log may have grown beyond it.
func TestOffsetOfADeletedTopic(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "again"), "partitions=1")
	mark(t, q, hour(0))
	mark(t, q, hour(1))
	drain(t, q, "g").wants(t, "the first topic", []int32{0}, hour(0), hour(1))
	late, err := q.floors(t.Context(), named(q, "g"))
	if err != nil || late[0].at != 2 {
		t.Fatalf("committed %+v, %v", late, err)
	}
	deleteTopic(t, q.topic)
	q, l := open(t, q.topic, "partitions=1")
	for n := range 4 {
		mark(t, q, hour(10+n))
	}
	os := kadm.Offsets{}
	os.Add(kadm.Offset{Topic: q.topic, Partition: 0, At: 2, LeaderEpoch: -1, Metadata: *late[0].metadata()})
	if err := q.admin.CommitAllOffsets(t.Context(), named(q, "g"), os); err != nil {
		t.Fatal(err)
	}
	if got, err := q.Pending(t.Context(), named(q, "g")); err != nil || len(got) != 4 {
		t.Errorf("pending %v, %v", got, err)
	}
	drain(t, q, "g").wants(t, "the second topic", []int32{0}, hour(10), hour(11), hour(12), hour(13))
	if !strings.Contains(l.String(), "deleted and made again") {
		t.Error("it was not logged")
	}
	drain(t, q, "g").wants(t, "a drain after it", nil)
}

// A consumer whose topic is deleted and made again says so and ends; its late
// Done, and the commit with which it leaves, say nothing of the new log.
func TestConsumerOfADeletedTopic(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "lost"), "partitions=1")
	for n := range 3 {
		mark(t, q, hour(n))
	}
	c := join(t, q, "g", false)
	old := await(t, c, 3)
	deleteTopic(t, q.topic)
	anew, _ := open(t, q.topic, "partitions=1")
	for n := range 3 {
		mark(t, anew, hour(n))
	}
	mark(t, anew, hour(9))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		p, err := c.Poll(ctx)
		if err == nil && len(p.Marks) == 0 {
			continue
		}
		if !errors.Is(err, kerr.UnknownTopicID) || !strings.Contains(err.Error(), "made again") {
			t.Fatalf("polled %+v, %v", p, err)
		}
		break
	}
	for _, m := range old {
		c.Done(m)
	}
	if err := c.Close(); err != nil {
		t.Logf("closed: %v", err) // whether the broker takes its commit does not matter
	}
	drain(t, anew, "g").wants(t, "the new topic", []int32{0}, hour(0), hour(1), hour(2), hour(9))
}

// Marks that are deleted before a live consumer has read them are a gap, whether
// or not others follow; and neither a drain nor the watchdog waits for them.
func TestDeletedMarksAreAGap(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		drain bool
		below int64 // of 4
		want  []afterhours.Hour
	}{
		"others follow":             {below: 3, want: []afterhours.Hour{hour(3), hour(4)}},
		"none follows":              {below: 4, want: []afterhours.Hour{hour(4)}},
		"others follow, in a drain": {drain: true, below: 3, want: []afterhours.Hour{hour(3)}},
		"none follows, in a drain":  {drain: true, below: 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q, l := open(t, testenv.Topic(t, "deleted"), "partitions=1")
			mark(t, q, hour(0))
			drain(t, q, "g")
			mark(t, q, hour(1))
			mark(t, q, hour(2))
			mark(t, q, hour(3))
			k := join(t, q, "g", c.drain)
			defer closeOf(t, k)
			k.client.PauseFetchTopics(q.topic) // it is slow
			soon, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			eventually(t, "it has joined", func() bool {
				once, cancel := context.WithTimeout(soon, 50*time.Millisecond)
				defer cancel()
				if p, err := k.Poll(once); err == nil {
					t.Fatalf("polled %+v", p)
				}
				return k.hasJoined()
			})
			deleteRecords(t, q.topic, 0, c.below)
			if !c.drain {
				mark(t, q, hour(4))
			}
			k.client.ResumeFetchTopics(q.topic)
			var got told
			for len(got.hours) < len(c.want) || len(got.gaps) == 0 {
				p, err := k.Poll(soon)
				if err != nil {
					t.Fatalf("told %+v, then %v\n%s", got, err, l)
				}
				got.gaps = append(got.gaps, p.Gaps...)
				for _, m := range p.Marks {
					got.hours = append(got.hours, m.Hour)
				}
			}
			got.wants(t, "after the deletion", []int32{0}, c.want...)
			if !c.drain {
				return
			}
			if p, err := k.Poll(soon); !errors.Is(err, io.EOF) {
				t.Errorf("the drain goes on: %+v, %v", p, err)
			}
		})
	}
}

// Done of a mark says nothing of what its offset means after the log went back.
func TestLateDoneOfAnotherReading(t *testing.T) {
	t.Parallel()
	c := &Consumer{log: new(logs).logger(), assigned: map[int32]*partition{0: {known: true, reading: 1}}, readings: 1}
	record := func(offset int64) *kgo.Record { return &kgo.Record{Key: []byte(hour(0).String()), Offset: offset} }
	p := c.assigned[0]
	before := c.enter(p, record(7), nil)
	after := c.enter(p, record(3), nil) // of an hour that is being rewritten
	if gaps := c.takeGaps(); len(gaps) != 1 {
		t.Errorf("gaps %v, want one", gaps)
	}
	c.Done(before[0])
	if p.floor().at != 3 || p.ledger.Waiting() != 1 {
		t.Fatalf("floor %d, %d hours wait: the new mark was served by the old one", p.floor().at, p.ledger.Waiting())
	}
	c.Done(after[0])
	if p.ledger.Waiting() != 0 {
		t.Error("the new mark is not done")
	}
}

// Partitions that are added are read by a consumer that is there already; to it
// they are new logs.
func TestAddedPartitionsAreRead(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "added"), "partitions=1")
	mark(t, q, hour(0))
	drain(t, q, "g")
	c := join(t, q, "g", false)
	defer closeOf(t, c)
	widen(t, q, 4)
	wide, _ := open(t, q.topic, "")
	want := map[afterhours.Hour]bool{}
	for n := range 20 {
		mark(t, wide, hour(n))
		want[hour(n)] = true
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	seen, gaps := map[int32]bool{}, []int32(nil)
	for len(want) > 0 {
		c.client.ForceMetadataRefresh() // what a minute does otherwise
		once, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		p, err := c.Poll(once)
		cancel()
		if err != nil && ctx.Err() != nil {
			t.Fatalf("%v are missing: %v", want, err)
		}
		gaps = append(gaps, p.Gaps...)
		for _, m := range p.Marks {
			delete(want, m.Hour)
			seen[m.Partition] = true
		}
	}
	slices.Sort(gaps)
	if len(seen) != 4 || !slices.Equal(gaps, []int32{1, 2, 3}) {
		t.Errorf("marks of partitions %v, gaps in %v", seen, gaps)
	}
}
