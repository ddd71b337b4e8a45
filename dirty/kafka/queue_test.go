package kafka

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/afterhours/afterhours/internal/testenv"
)

// On the wire, a mark is the hour's text and a value that is not null, without
// compression, in the partition that Java's clients choose.
func TestMarkOnTheWire(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "wire"), "partitions=5")
	java := kgo.StickyKeyPartitioner(nil).ForTopic(q.topic)
	for n := range 40 {
		mark(t, q, hour(n))
	}
	seen := 0
	logs, err := q.bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for p, log := range logs {
		_, err := q.scan(t.Context(), p, 0, log.end, func(r *kgo.Record) bool {
			seen++
			if r.Value == nil || string(r.Value) != "{}" {
				t.Errorf("value of %s is %q", r.Key, r.Value)
			}
			if c := r.Attrs.CompressionType(); c != 0 {
				t.Errorf("%s is compressed with %d", r.Key, c)
			}
			if r.Attrs.TimestampType() != 1 {
				t.Errorf("time of %s is not the broker's", r.Key)
			}
			if want := java.Partition(&kgo.Record{Key: r.Key}, 5); int(r.Partition) != want {
				t.Errorf("%s is in partition %d, Java's clients choose %d", r.Key, r.Partition, want)
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen != 40 {
		t.Errorf("%d marks of 40", seen)
	}
}

// The balancer agrees with Java's for the vectors of Kafka's own test
// (UtilsTest.testMurmur2).
func TestPartitionsAreThoseOfJava(t *testing.T) {
	t.Parallel()
	parts := make([]int, 1<<16)
	for i := range parts {
		parts[i] = i
	}
	for key, hash := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
	} {
		c := config{topic: "t", brokers: []string{"b:1"}}
		got := c.writer(nil).Balancer.Balance(kafkago.Message{Key: []byte(key)}, parts...)
		if want := int(hash&0x7fffffff) % len(parts); got != want {
			t.Errorf("%s: got %d, want %d", key, got, want)
		}
	}
}

// A single mark is not held back by the writer's batching.
func TestMarkIsSoonThere(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "soon"), "partitions=1")
	mark(t, q, hour(0)) // connects
	best := time.Hour
	for n := range 20 {
		began := time.Now()
		mark(t, q, hour(n))
		best = min(best, time.Since(began))
	}
	if best > 200*time.Millisecond {
		t.Errorf("the fastest of 20 marks took %v", best)
	}
}

// What the broker refuses is an error that names the cause, the hour and the
// topic: acknowledgements are waited for.
func TestRefusedMarkIsAnError(t *testing.T) {
	t.Parallel()
	topic := testenv.Topic(t, "small")
	create(t, topic, 1, append([]string{"max.message.bytes=70"}, restless...)...)
	q, _ := open(t, topic, "")
	err := q.Mark(t.Context(), hour(1))
	if !errors.Is(err, kafkago.MessageSizeTooLarge) {
		t.Errorf("got %v", err)
	}
	for _, want := range []string{topic, hour(1).String(), testenv.Kafka(t)} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

// To mark nothing is nothing, and a caller that gives up gets its own error.
func TestMarkEnds(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "ends"), "partitions=1")
	mark(t, q)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.Mark(ctx, hour(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Pending is what was not committed, of every partition, and joins no group.
func TestPendingIsWhatIsNotCommitted(t *testing.T) {
	t.Parallel()
	q, _ := open(t, testenv.Topic(t, "pending"), "partitions=3")
	if got, err := q.Pending(t.Context(), named(q, "g")); err != nil || len(got) != 0 {
		t.Errorf("of nothing: %v, %v", got, err)
	}
	for n := range 30 {
		mark(t, q, hour(n))
	}
	served := drainAll(t, q, "g", (*Consumer).Done)
	mark(t, q, hour(7), hour(8))
	got, err := q.Pending(t.Context(), named(q, "g"))
	if err != nil || len(served) != 30 || len(got) != 2 {
		t.Fatalf("%d served, pending %v, %v", len(served), got, err)
	}
	if got, err := q.Pending(t.Context(), named(q, "other")); err != nil || len(got) != 32 {
		t.Errorf("of a group that never was: %d, %v", len(got), err)
	}
}

// The password reaches kafka-go by franz-go's mechanisms.
func TestBothClientsAuthenticateAlike(t *testing.T) {
	t.Parallel()
	for sasl, first := range map[string]string{
		"plain": "\x00me\x00secret", "scram-sha-256": "n,,n=me,r=", "scram-sha-512": "n,,n=me,r=",
	} {
		c, err := parseURL("kafka://me:secret@b/m?tls=true&sasl=" + sasl)
		if err != nil {
			t.Fatal(err)
		}
		tr := c.transport()
		if tr.TLS == nil || !strings.EqualFold(tr.SASL.Name(), sasl) {
			t.Errorf("%s: TLS %v, mechanism %s", sasl, tr.TLS, tr.SASL.Name())
		}
		_, said, err := tr.SASL.Start(t.Context())
		if err != nil || !strings.HasPrefix(string(said), first) {
			t.Errorf("%s: begins with %q, %v", sasl, said, err)
		}
	}
}

// A password in clear text is warned of.
func TestClearPasswordIsWarnedOf(t *testing.T) {
	t.Parallel()
	var l logs
	_, err := Open(t.Context(), "kafka://me:secret@127.0.0.1:1/m?sasl=plain", slog.New(slog.NewTextHandler(&l, nil)))
	if err == nil || !strings.Contains(l.String(), "clear text") || strings.Contains(l.String(), "secret") {
		t.Errorf("got %v, logged %s", err, l.String())
	}
}
