package kafka

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
	"github.com/afterhours/afterhours/internal/testenv"
)

// logs collects what was logged.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// open opens a queue on a topic of the test's broker.
func open(t testing.TB, topic, parameters string) (*Queue, *logs) {
	t.Helper()
	var l logs
	q, err := Open(t.Context(), "kafka://"+testenv.Kafka(t)+"/"+topic+"?"+parameters, l.logger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(l.String())
		}
	})
	return q, &l
}

// admin returns an administrator of the test's broker.
func admin(t *testing.T) *kadm.Client {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(testenv.Kafka(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return kadm.NewClient(c)
}

// widen gives a queue's topic more partitions, and waits until the broker knows them.
func widen(t *testing.T, q *Queue, partitions int) {
	t.Helper()
	rs, err := admin(t).UpdatePartitions(t.Context(), partitions, q.topic)
	if err = errors.Join(err, rs.Error()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new partitions have leaders", func() bool {
		d, err := q.describe(t.Context())
		return err == nil && len(d.Partitions) == partitions && led(d)
	})
}

// create creates a topic with settings as "name=value".
func create(t *testing.T, topic string, partitions int32, settings ...string) {
	t.Helper()
	m := map[string]*string{}
	for _, s := range settings {
		name, v, _ := strings.Cut(s, "=")
		m[name] = &v
	}
	if _, err := admin(t).CreateTopic(t.Context(), partitions, 1, m, topic); err != nil {
		t.Fatal(err)
	}
}

// restless are the settings of a topic that the log cleaner compacts within
// seconds.
var restless = []string{
	"cleanup.policy=compact", "message.timestamp.type=LogAppendTime", "segment.ms=100",
	"min.cleanable.dirty.ratio=0.001", "min.compaction.lag.ms=0", "delete.retention.ms=0",
}

// hour returns one of many hours.
func hour(n int) afterhours.Hour {
	return afterhours.HourOf("purchase", afterhours.Micros(n)*3600e6)
}

// mark marks hours or ends the test.
func mark(t testing.TB, q *Queue, hours ...afterhours.Hour) {
	t.Helper()
	if err := q.Mark(t.Context(), hours...); err != nil {
		t.Fatal(err)
	}
}

// named returns a group's name. Groups are the whole broker's, and members that
// want other topics would disturb a test.
func named(q *Queue, group string) string { return group + "-" + q.topic }

// join consumes; the test closes the consumer.
func join(t testing.TB, q *Queue, group string, drain bool) *Consumer {
	t.Helper()
	c, err := q.consume(named(q, group), dirty.Options{Drain: drain})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// closeOf closes or fails the test.
func closeOf(t testing.TB, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// drainAll reads a group to its end without serving anything.
func drainAll(t *testing.T, q *Queue, group string, each func(*Consumer, dirty.Mark)) []dirty.Mark {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := join(t, q, group, true)
	defer closeOf(t, c)
	var marks []dirty.Mark
	for {
		p, err := c.Poll(ctx)
		if errors.Is(err, io.EOF) {
			return marks
		}
		if err != nil {
			t.Fatalf("poll after %d marks: %v", len(marks), err)
		}
		for _, m := range p.Marks {
			marks = append(marks, m)
			if each != nil {
				each(c, m)
			}
		}
	}
}

// await polls until n marks came.
func await(t testing.TB, c *Consumer, n int) []dirty.Mark {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var marks []dirty.Mark
	for len(marks) < n {
		p, err := c.Poll(ctx)
		if err != nil {
			t.Fatalf("poll after %d of %d marks: %v", len(marks), n, err)
		}
		marks = append(marks, p.Marks...)
	}
	return marks
}

// committed returns a group's offset, or -1.
func committed(t *testing.T, q *Queue, group string, partition int32) int64 {
	t.Helper()
	os, err := q.committed(t.Context(), named(q, group))
	if err != nil {
		t.Fatal(err)
	}
	o, _ := os.Lookup(q.topic, partition)
	return o.At
}

// patience bounds what must happen, on a machine that is busy.
const patience = time.Minute

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("never came true: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
