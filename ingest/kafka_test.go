package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/afterhours/afterhours/internal/testenv"
)

// broker administrates the test's Kafka and writes to it.
type broker struct {
	*kadm.Client
	client *kgo.Client
	addr   string
}

func newBroker(t *testing.T) broker {
	t.Helper()
	addr := testenv.Kafka(t)
	c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ProducerLinger(0), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return broker{kadm.NewClient(c), c, addr}
}

// topic creates a topic with settings as "name=value".
func (b broker) topic(t *testing.T, name string, partitions int32, settings ...string) string {
	t.Helper()
	m := map[string]*string{}
	for _, s := range settings {
		k, v, _ := strings.Cut(s, "=")
		m[k] = &v
	}
	if _, err := b.CreateTopic(t.Context(), partitions, 1, m, name); err != nil {
		t.Fatal(err)
	}
	b.await(t, name, int(partitions))
	return name
}

// await waits until every partition of a topic can be written to.
func (b broker) await(t *testing.T, topic string, partitions int) {
	t.Helper()
	soon(t, topic+" is there", func() bool {
		os, err := b.ListEndOffsets(t.Context(), topic)
		return err == nil && os.Error() == nil && len(os[topic]) == partitions
	})
}

// write writes messages from first up to last, spread over the partitions, and
// returns their texts.
func (b broker) write(t *testing.T, topic string, partitions, first, last int) []string {
	t.Helper()
	var texts []string
	for n := first; n < last; n++ {
		texts = append(texts, fmt.Sprintf("%s %d", topic, n))
		r := &kgo.Record{Topic: topic, Partition: int32(n % partitions), Key: []byte("k"), Value: []byte(texts[len(texts)-1])}
		if err := b.client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	return texts
}

// committed returns a group's offset, or -1.
func (b broker) committed(t *testing.T, group, topic string, partition int32) int64 {
	t.Helper()
	os, err := b.FetchOffsetsForTopics(t.Context(), group, topic)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := os.Lookup(topic, partition)
	return o.At
}

// inbox is where a test's source puts records.
type inbox struct {
	keep func(Record) bool // acknowledges at once if it says so; nil: always

	mu   sync.Mutex
	got  []Record
	acks map[string]func() // by the record's text, of those not yet acknowledged
}

func (in *inbox) put(ctx context.Context, r Record, ack func()) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.got = append(in.got, r)
	if in.keep == nil || in.keep(r) {
		ack()
		return nil
	}
	if in.acks == nil {
		in.acks = map[string]func(){}
	}
	in.acks[string(r.Bytes)] = ack
	return ctx.Err()
}

func (in *inbox) texts() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	var ts []string
	for _, r := range in.got {
		ts = append(ts, string(r.Bytes))
	}
	return ts
}

func (in *inbox) len() int { return len(in.texts()) }

func (in *inbox) ack(text string) {
	in.mu.Lock()
	ack := in.acks[text]
	in.mu.Unlock()
	ack()
}

// running is a source that runs.
type running struct {
	*Kafka
	in   *inbox
	log  *safeLog
	stop func() error
}

// safeLog may be read while it is written.
type safeLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *safeLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// run opens and runs a source. stop ends it; it is called with the test's end at
// the latest.
func (b broker) run(t *testing.T, c KafkaConfig, in *inbox) running {
	t.Helper()
	r := running{in: in, log: &safeLog{}}
	c.Brokers, c.Log = []string{b.addr}, slog.New(slog.NewTextHandler(r.log, nil))
	k, err := OpenKafka(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	k.refresh, k.grace = 300*time.Millisecond, 300*time.Millisecond
	r.Kafka = k
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx, in.put) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := r.stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("the source ended with %v", err)
		}
		if t.Failed() {
			t.Log(r.log)
		}
	})
	return r
}

// soon waits until ok, at most for some seconds.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("never came true: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func sameTexts(t *testing.T, got, want []string) {
	t.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("got %d: %q, want %d: %q", len(got), got, len(want), want)
	}
}

// A message of more than an event may have is cut: its beginning is handed on, with
// the size and hash of all of it. Those around it are as they are.
func TestKafkaCutsLargeMessages(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	topic := b.topic(t, testenv.Topic(t, "large"), 1, "max.message.bytes=4194304")
	c, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.ProducerBatchMaxBytes(4<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	large := bytes.Repeat([]byte("0123456789abcdef"), 2<<20/16)
	for _, value := range [][]byte{[]byte("before"), large, large[:maxKept], []byte("after")} {
		if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: value}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	in := &inbox{}
	b.run(t, KafkaConfig{Topics: []string{topic}, Group: topic}, in)
	soon(t, "all are read", func() bool { return in.len() == 4 })
	for i, r := range in.got {
		if cut := r.Cut != nil; cut != (i == 1) || len(r.Bytes) > maxKept || cap(r.Bytes) > 2*maxKept {
			t.Errorf("message %d is cut: %v, to %d bytes in %d", i, cut, len(r.Bytes), cap(r.Bytes))
		}
	}
	if cut := in.got[1].Cut; *cut != (Cut{Size: 2 << 20, SHA256: sha256.Sum256(large)}) || !bytes.Equal(in.got[1].Bytes, large[:maxKept]) {
		t.Errorf("the large one is cut as %+v", cut)
	}
}

// A new group reads from the first message; a record tells its topic, partition,
// offset and time.
func TestKafkaReadsFromTheFirst(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	topic := b.topic(t, testenv.Topic(t, "first"), 1)
	want := b.write(t, topic, 1, 0, 5)
	src := b.run(t, KafkaConfig{Topics: []string{topic, topic}, Group: topic}, &inbox{})
	soon(t, "five records", func() bool { return src.in.len() >= 5 })
	sameTexts(t, src.in.texts(), want)
	last := src.in.got[4]
	if last.Source != topic || last.Position != "0@4" || time.Since(last.Time).Abs() > time.Minute || last.Cut != nil {
		t.Errorf("got %+v", last)
	}
	soon(t, "the end is committed while the source runs", func() bool { return b.committed(t, topic, topic, 0) == 5 })
}

// The committed offset never passes a record that is not acknowledged, in
// whatever order acknowledgements come; what is not acknowledged comes again.
func TestKafkaCommitsTheContiguousFloor(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	topic := b.topic(t, testenv.Topic(t, "floor"), 1)
	texts := b.write(t, topic, 1, 0, 6)
	none := func(Record) bool { return false }
	src := b.run(t, KafkaConfig{Topics: []string{topic}, Group: topic}, &inbox{keep: none})
	soon(t, "six records", func() bool { return src.in.len() == 6 })
	src.in.ack(texts[5])
	src.in.ack(texts[1])
	src.in.ack(texts[0])
	soon(t, "two are committed", func() bool { return b.committed(t, topic, topic, 0) == 2 })
	src.in.ack(texts[3])
	if err := src.stop(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	src.in.ack(texts[2]) // too late for this member
	if at := b.committed(t, topic, topic, 0); at != 2 {
		t.Errorf("committed %d", at)
	}
	again := b.run(t, KafkaConfig{Topics: []string{topic}, Group: topic}, &inbox{})
	soon(t, "four again", func() bool { return again.in.len() >= 4 })
	sameTexts(t, again.in.texts(), texts[2:])
}

// A source that is stopped waits a moment for acknowledgements under way, and
// commits them before it leaves.
func TestKafkaStopCommitsWhatIsAcknowledged(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	topic := b.topic(t, testenv.Topic(t, "stop"), 1)
	texts := b.write(t, topic, 1, 0, 2)
	src := b.run(t, KafkaConfig{Topics: []string{topic}, Group: topic}, &inbox{keep: func(Record) bool { return false }})
	src.grace = 20 * time.Second
	soon(t, "two records", func() bool { return src.in.len() == 2 })
	stopped := make(chan error)
	go func() { stopped <- src.stop() }()
	src.in.ack(texts[1])
	select {
	case <-stopped:
		t.Fatal("it did not wait for the first")
	case <-time.After(time.Second):
	}
	src.in.ack(texts[0])
	<-stopped
	if at := b.committed(t, topic, topic, 0); at != 2 {
		t.Errorf("committed %d", at)
	}
}

// Members share the partitions; when one leaves, the other reads its partitions
// from what was acknowledged.
func TestKafkaMembersShare(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	topic := b.topic(t, testenv.Topic(t, "members"), 4)
	c := KafkaConfig{Topics: []string{topic}, Group: topic}
	one := b.run(t, c, &inbox{})
	two := b.run(t, c, &inbox{})
	n := 0
	var want []string
	soon(t, "both get records", func() bool {
		want = append(want, b.write(t, topic, 4, n, n+4)...)
		n += 4
		time.Sleep(100 * time.Millisecond)
		return one.in.len() > 0 && two.in.len() > 0
	})
	if err := two.stop(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	want = append(want, b.write(t, topic, 4, n, n+4)...)
	all := func() []string {
		texts := append(one.in.texts(), two.in.texts()...)
		slices.Sort(texts)
		return slices.Compact(texts)
	}
	soon(t, "every record", func() bool { return len(all()) == len(want) })
	sameTexts(t, all(), want)
	soon(t, "all is committed", func() bool {
		lag := 0
		for p := range int32(4) {
			lag += n/4 + 1 - int(b.committed(t, topic, topic, p))
		}
		return lag == 0
	})
}

// A pattern stands for whole names, finds topics that are created later, and
// leaves out log-compacted ones; it may match nothing at first.
func TestKafkaPatternFindsNewTopics(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	name := testenv.Topic(t, "pattern")
	src := b.run(t, KafkaConfig{Pattern: regexp.MustCompile(regexp.QuoteMeta(name) + `\.(a|b|c)`), Group: name}, &inbox{})
	var want []string
	for i, suffix := range []string{".a", ".b"} {
		topic := b.topic(t, name+suffix, 2)
		want = append(want, b.write(t, topic, 2, 0, 4)...)
		soon(t, "its records", func() bool { return src.in.len() >= 4*(i+1) })
	}
	for _, other := range []string{b.topic(t, name+".c", 1, "cleanup.policy=compact"), b.topic(t, name+".bb", 1)} {
		b.write(t, other, 1, 0, 1)
	}
	soon(t, "the log-compacted topic is told of", func() bool { return strings.Contains(src.log.String(), "log-compacted") })
	want = append(want, b.write(t, name+".a", 2, 4, 8)...)
	soon(t, "further records", func() bool { return src.in.len() >= len(want) })
	got := src.in.texts()
	slices.Sort(got)
	sameTexts(t, slices.Compact(got), want)
}

// Partitions that are added to a topic are read.
func TestKafkaReadsAddedPartitions(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	topic := b.topic(t, testenv.Topic(t, "added"), 1)
	src := b.run(t, KafkaConfig{Topics: []string{topic}, Group: topic}, &inbox{})
	b.write(t, topic, 1, 0, 1)
	soon(t, "one record", func() bool { return src.in.len() == 1 })
	if _, err := b.CreatePartitions(t.Context(), 1, topic); err != nil {
		t.Fatal(err)
	}
	b.await(t, topic, 2)
	newBroker(t).write(t, topic, 2, 1, 2) // its client knows of the partition
	soon(t, "its record", func() bool { return slices.Contains(src.in.texts(), topic+" 1") })
}

// What cannot be read is told at once: topics that are missing, all of them, or
// log-compacted, and brokers that do not answer, by name.
func TestKafkaTellsWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	name := testenv.Topic(t, "cannot")
	b.topic(t, name+".there", 1)
	b.topic(t, name+".compacted", 1, "cleanup.policy=compact,delete")
	for _, c := range []struct {
		brokers, topics []string
		want            []string
	}{
		{[]string{b.addr}, []string{name + ".there", name + ".x", name + ".y"}, []string{name + ".x", name + ".y", "no such topic", b.addr}},
		{[]string{b.addr}, []string{name + ".there", name + ".compacted"}, []string{name + ".compacted", "cleanup.policy=delete"}},
		{[]string{"127.0.0.1:1", "127.0.0.1:2"}, []string{"t"}, []string{"127.0.0.1:1", "127.0.0.1:2", "refused"}},
	} {
		began := time.Now()
		_, err := OpenKafka(t.Context(), KafkaConfig{Brokers: c.brokers, Topics: c.topics, Group: "g", Log: slog.New(slog.DiscardHandler)})
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v of %v: %v does not name %s", c.topics, c.brokers, err, want)
			}
		}
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("%v: it took %v", c.brokers, d)
		}
	}
}

// A topic of the list that is deleted ends the source; the error names it.
func TestKafkaTopicIsGone(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	topic := b.topic(t, testenv.Topic(t, "gone"), 1)
	k, err := OpenKafka(t.Context(), KafkaConfig{Brokers: []string{b.addr}, Topics: []string{topic}, Group: topic, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	k.refresh = 200 * time.Millisecond
	in := &inbox{}
	done := make(chan error, 1)
	go func() { done <- k.Run(t.Context(), in.put) }()
	b.write(t, topic, 1, 0, 1)
	soon(t, "a record", func() bool { return in.len() == 1 })
	if _, err := b.DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if !errors.Is(err, errTopic) || !strings.Contains(err.Error(), topic) {
			t.Errorf("got %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("it goes on")
	}
}

// An error of Put ends the source with that error, and nothing is committed.
func TestKafkaReturnsTheErrorOfPut(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	topic := b.topic(t, testenv.Topic(t, "put"), 1)
	b.write(t, topic, 1, 0, 3)
	k, err := OpenKafka(t.Context(), KafkaConfig{Brokers: []string{b.addr}, Topics: []string{topic}, Group: topic, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	k.grace = 100 * time.Millisecond
	full := errors.New("the store is full")
	err = k.Run(t.Context(), func(context.Context, Record, func()) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	if at := b.committed(t, topic, topic, 0); at != -1 {
		t.Errorf("committed %d", at)
	}
}

// An offset that is committed outside the log is told, with what is lost;
// everything that is left is read.
func TestKafkaCommittedOffsetOutsideTheLog(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	for name, c := range map[string]struct {
		committed, deleted int64
		log                string
	}{
		"beyond": {committed: 100, log: "ends before the committed offset"},
		"below":  {committed: 1, deleted: 3, log: "messages_lost=2"},
	} {
		topic := b.topic(t, testenv.Topic(t, name), 1)
		texts := b.write(t, topic, 1, 0, 5)
		os := kadm.Offsets{}
		os.AddOffset(topic, 0, c.committed, -1)
		if err := b.CommitAllOffsets(t.Context(), topic, os); err != nil {
			t.Fatal(err)
		}
		if c.deleted > 0 {
			os := kadm.Offsets{}
			os.AddOffset(topic, 0, c.deleted, -1)
			if _, err := b.DeleteRecords(t.Context(), os); err != nil {
				t.Fatal(err)
			}
		}
		src := b.run(t, KafkaConfig{Topics: []string{topic}, Group: topic}, &inbox{keep: func(Record) bool { return false }})
		soon(t, "what is left", func() bool { return src.in.len() >= 5-int(c.deleted) })
		sameTexts(t, src.in.texts(), texts[c.deleted:])
		soon(t, "the wrong offset is replaced", func() bool { return b.committed(t, topic, topic, 0) == c.deleted })
		if !strings.Contains(src.log.String(), c.log) {
			t.Errorf("%s: logged %s", name, src.log)
		}
	}
}

// The control records of transactions are not events, and hold no offset up.
func TestKafkaPassesOverControlRecords(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	topic := b.topic(t, testenv.Topic(t, "tx"), 1)
	tx, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.DefaultProduceTopic(topic), kgo.TransactionalID(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Close()
	for _, text := range []string{"one", "two"} {
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := tx.ProduceSync(t.Context(), kgo.StringRecord(text)).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := tx.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
	src := b.run(t, KafkaConfig{Topics: []string{topic}, Group: topic}, &inbox{})
	soon(t, "all is committed", func() bool { return b.committed(t, topic, topic, 0) == 4 })
	sameTexts(t, src.in.texts(), []string{"one", "two"})
}
