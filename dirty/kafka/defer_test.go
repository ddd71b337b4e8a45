package kafka

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
	"github.com/afterhours/afterhours/internal/testenv"
)

func deferAll(t testing.TB, c *Consumer, marks ...dirty.Mark) {
	t.Helper()
	if err := c.Defer(t.Context(), marks...); err != nil {
		t.Fatal(err)
	}
}

// On the wire a deferred mark says since when its hour waits, however often it
// was deferred.
func TestDeferredMarkOnTheWire(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "again"), "partitions=1")
	mark(t, q, hour(0))
	c := join(t, q, "g", false)
	defer closeOf(t, c)
	first := await(t, c, 1)[0]
	deferAll(t, c, first)
	deferAll(t, c, await(t, c, 1)[0])
	want := []string{"{}", string(encodeValue(afterhours.Mark{Since: first.Time})), string(encodeValue(afterhours.Mark{Since: first.Time}))}
	var got []string
	if _, err := q.scan(t.Context(), 0, 0, 3, func(r *kgo.Record) bool { got = append(got, string(r.Value)); return true }); err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("value %d is %s, want %s", i, got[i], want[i])
		}
	}
}

// A value is a hint: what cannot be read, or cannot be true, is none, and the
// mark is a mark all the same.
func TestValueIsAHint(t *testing.T) {
	t.Parallel()
	const at = afterhours.Micros(1763632800000000)
	for value, want := range map[string]afterhours.Micros{
		"":                                    0,
		"x":                                   0,
		"null":                                0,
		"[]":                                  0,
		"{}":                                  0,
		"{":                                   0,
		`{"since":null}`:                      0,
		`{"since":"yesterday"}`:               0,
		`{"since":1.5}`:                       0,
		`{"since":-1}`:                        0,
		`{"since":99999999999999999999}`:      0,
		`{"since":1763632800000001}`:          0, // after the mark was made
		`{"since":1763632800000000}`:          at,
		`{"since":7,"cause":["x",{"y":"z"}]}`: 7,
		string(encodeValue(afterhours.Mark{Since: 5})): 5,
	} {
		m, err := markOf(&kgo.Record{Key: []byte(hour(1).String()), Value: []byte(value), Timestamp: at.Time(), Partition: 2, Offset: 3})
		if w := (dirty.Mark{Mark: afterhours.Mark{Hour: hour(1), Time: at, Since: want}, Partition: 2, Offset: 3}); err != nil || m != w {
			t.Errorf("%s: %+v, %v, want %+v", value, m, err, w)
		}
	}
}

// A crash after the new mark and before the old one is done leaves both to be
// handed out, and to serve the hour once is enough for both.
func TestCrashBetweenMarkAndDone(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "between"), "partitions=1")
	mark(t, q, hour(0))
	mark(t, q, hour(1))
	c := join(t, q, "g", false)
	ms := await(t, c, 2)
	if err := q.append(t.Context(), dirty.Again(ms[:1])); err != nil {
		t.Fatal(err)
	}
	closeOf(t, c)
	var last dirty.Mark
	got := drainAll(t, q, "g", func(c *Consumer, m dirty.Mark) {
		if m.Hour == hour(1) {
			c.Done(m)
		}
		last = m
	})
	if len(got) != 3 || got[0] != ms[0] || last.Hour != hour(0) || last.Since != ms[0].Time {
		t.Fatalf("handed out %+v, want the old mark %+v and the new one", got, ms[0])
	}
	if at := committed(t, q, "g", 0); at != 2 {
		t.Errorf("committed %d, the last mark of the hour that waits is at 2", at)
	}
	drainAll(t, q, "g", (*Consumer).Done)
	if at := committed(t, q, "g", 0); at != 3 {
		t.Errorf("committed %d after all was done", at)
	}
}

// To defer a mark of a partition that belongs to another member by now loses
// nothing, and says nothing about that member's marks.
func TestDeferOfARevokedPartition(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "moved"), "partitions=2")
	a := join(t, q, "g", false)
	for n := range 20 {
		mark(t, q, hour(n))
	}
	of := map[int32][]dirty.Mark{}
	for _, m := range await(t, a, 20) {
		of[m.Partition] = append(of[m.Partition], m)
	}
	b := join(t, q, "g", false)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var moved []int32
	seen := map[afterhours.Hour]dirty.Mark{} // what b was handed last
	poll := func(c *Consumer) dirty.Polled {
		once, cancel := context.WithTimeout(ctx, 150*time.Millisecond)
		defer cancel()
		p, err := c.Poll(once)
		if err != nil && (once.Err() == nil || ctx.Err() != nil) {
			t.Fatalf("%v with %v moved, %d seen", err, moved, len(seen))
		}
		return p
	}
	pollB := func() {
		for _, m := range poll(b).Marks {
			seen[m.Hour] = m
		}
	}
	for len(moved) == 0 {
		moved = poll(a).Revoked
		pollB()
	}
	if len(moved) != 1 {
		t.Fatalf("partitions %v moved, want one of two", moved)
	}
	late := of[moved[0]]
	deferAll(t, a, late...)
	if got := a.Behind(); len(got) > 0 {
		t.Errorf("behind %v", got)
	}
	for missing := true; missing; {
		pollB()
		missing = false
		for _, m := range late {
			missing = missing || seen[m.Hour].Since != m.Time
		}
	}
	closeOf(t, a)
	closeOf(t, b) // has served nothing
	left := map[afterhours.Hour]bool{}
	for _, m := range drainAll(t, q, "g", (*Consumer).Done) {
		left[m.Hour] = true
	}
	if len(left) != 20 {
		t.Errorf("%d hours of 20 were handed out", len(left))
	}
	if got, err := q.Pending(t.Context(), named(q, "g")); err != nil || len(got) != 0 {
		t.Errorf("pending %v, %v", got, err)
	}
}

// A drain that still waits for one partition does not hand out what it deferred
// to another, though it has read it there.
func TestDrainLeavesWhatItDeferred(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "left"), "partitions=2")
	for n := range 20 {
		mark(t, q, hour(n))
	}
	of := map[int32][]dirty.Mark{}
	for _, m := range drainAll(t, q, "where", nil) {
		of[m.Partition] = append(of[m.Partition], m)
	}
	c := join(t, q, "g", true)
	defer closeOf(t, c)
	slow := map[string][]int32{q.topic: {0}}
	c.client.PauseFetchPartitions(slow)
	deferAll(t, c, await(t, c, len(of[1]))...)
	eventually(t, "the drain has read its own marks", func() bool {
		once, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if p, err := c.Poll(once); err == nil {
			t.Fatalf("handed out %+v", p)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.assigned[1].position == int64(2*len(of[1]))
	})
	c.client.ResumeFetchPartitions(slow)
	mark(t, q, of[1][0].Hour) // ends the fetch that waits without partition 0
	for _, m := range await(t, c, len(of[0])) {
		if m.Partition != 0 {
			t.Errorf("handed out %+v", m)
		}
	}
	if p, err := c.Poll(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("poll after the end: %+v, %v", p, err)
	}
}

// After partitions were added an hour may wait in two of them. Each of its marks
// is owed on its own, and the old one can be deferred away.
func TestHourInTwoPartitions(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "grown"), "partitions=1")
	for n := range 10 {
		mark(t, q, hour(n))
	}
	widen(t, q, 4)
	// Only now, so that it knows the new partitions.
	q, _ = open(t, q.topic, "")
	for n := range 10 {
		mark(t, q, hour(n))
	}
	split := map[afterhours.Hour]dirty.Mark{} // marks of partition 0 whose hours go elsewhere now
	elsewhere := map[afterhours.Hour]bool{}
	for _, m := range drainAll(t, q, "g", func(c *Consumer, m dirty.Mark) {
		if m.Partition != 0 {
			c.Done(m)
		}
	}) {
		if m.Partition == 0 {
			split[m.Hour] = m
		} else {
			elsewhere[m.Hour] = true
		}
	}
	if len(elsewhere) == 0 || len(split) != 10 {
		t.Fatalf("%d hours in partition 0, %d elsewhere: want some in both", len(split), len(elsewhere))
	}
	again := drainAll(t, q, "g", nil)
	for _, m := range again {
		if m.Partition != 0 {
			t.Errorf("%+v was done and came again", m)
		}
		delete(split, m.Hour)
	}
	if len(split) > 0 {
		t.Errorf("to serve other partitions served %v as well", split)
	}

	drainAll(t, q, "g", func(c *Consumer, m dirty.Mark) { deferAll(t, c, m) })
	if at := committed(t, q, "g", 0); at < 10 {
		t.Errorf("committed %d of partition 0 after its marks were deferred", at)
	}
	got := map[afterhours.Hour]bool{}
	for _, m := range drainAll(t, q, "g", (*Consumer).Done) {
		if m.Since == 0 || elsewhere[m.Hour] != (m.Partition != 0) {
			t.Errorf("%+v: want it deferred, in its hour's present partition", m)
		}
		got[m.Hour] = true
	}
	if len(got) != 10 {
		t.Errorf("%d hours of 10 came again", len(got))
	}
}

// BenchmarkDefer defers 1,000 marks at once.
func BenchmarkDefer(b *testing.B) {
	q, _ := open(b, testenv.Topic(b, "bench"), "partitions=4")
	var hs []afterhours.Hour
	for n := range 1_000 {
		hs = append(hs, hour(n))
	}
	mark(b, q, hs...)
	c := join(b, q, "g", false)
	defer closeOf(b, c)
	marks := await(b, c, len(hs))
	for b.Loop() {
		deferAll(b, c, marks...)
		b.StopTimer()
		marks = await(b, c, len(hs))
		b.StartTimer()
	}
}
