package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/afterhours/afterhours/internal/testenv"
)

// gapHours is how many hours have events whose marks go.
const gapHours = 30

// gapEvents are stragglers, one an hour, so that they lie in lanes that are never
// closed.
func gapEvents(from, to int) (s sample) {
	for n := from; n < to; n++ {
		at := time.Date(2026, 1, 1, n%gapHours, 0, 0, 0, time.UTC)
		s = append(s, fmt.Sprintf(`{"event_id":"e%d","event_type":"t","event_time":%q}`, n, at.Format(time.RFC3339)))
	}
	return s
}

// TestGapIsSwept: marks go from the queue before the compactor came to them. It says
// so, the next sweep finds every hour without being told to look at all, and a drain
// later all is merged.
func TestGapIsSwept(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*testing.T, *kadm.Client, string){
		"marks are deleted":                 deleteMarks,
		"the topic is deleted":              deleteQueue,
		"the topic is deleted, and is long": func(t *testing.T, a *kadm.Client, topic string) { deleteQueue(t, a, topic); fill(t, topic) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topic := testenv.Topic(t, "gap")
			s := setup{flags: []string{"--data", t.TempDir(), "--dirty", "kafka://" + testenv.Kafka(t) + "/" + topic + "?partitions=2"}}
			s.ingest(t, gapEvents(0, gapHours).file(t))
			s.compactor(t, "once")
			s.compactor(t, "sweep")
			s.ingest(t, gapEvents(gapHours, 2*gapHours).file(t))
			lose(t, queueAdmin(t), topic)

			if out, said := s.once(t); !strings.Contains(out, "0 rows added") || !strings.Contains(said, "marks may be gone") {
				t.Errorf("after the loss: %s\n%s", out, said)
			}
			if out := s.compactor(t, "sweep"); !strings.Contains(out, fmt.Sprintf("%d hours", gapHours)) {
				t.Errorf("swept: %s", out)
			}
			if out, said := s.once(t); !strings.Contains(out, fmt.Sprintf("%d rows added", gapHours)) || strings.Contains(said, "marks may be gone") {
				t.Errorf("after the sweep: %s\n%s", out, said)
			}
			if out := s.compactor(t, "verify"); !strings.Contains(out, fmt.Sprintf("%d rows published", 2*gapHours)) || !strings.Contains(out, " 0 not merged yet; 0 hours behind, 0 broken") {
				t.Errorf("the books: %s", out)
			}
		})
	}
}

// once drains the queue, and returns what was printed and what was logged.
func (s setup) once(t *testing.T) (stdout, stderr string) {
	t.Helper()
	var out, log bytes.Buffer
	cmd := command(t, "compactor", append([]string{"once"}, s.flags...)...)
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, &out, &log)
	}
	return out.String(), log.String()
}

func queueClient(t *testing.T, more ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(more, kgo.SeedBrokers(testenv.Kafka(t)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func queueAdmin(t *testing.T) *kadm.Client { return kadm.NewClient(queueClient(t)) }

// deleteMarks deletes every record of a topic, which a log-compacted one allows
// only for a moment.
func deleteMarks(t *testing.T, a *kadm.Client, topic string) {
	t.Helper()
	ends, err := a.ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	policy := func(p string) {
		t.Helper()
		if _, err := a.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &p}}, topic); err != nil {
			t.Fatal(err)
		}
	}
	policy("delete")
	waitFor(t, func() bool {
		rs, err := a.DeleteRecords(t.Context(), ends.Offsets())
		return errors.Join(err, rs.Error()) == nil
	})
	policy("compact")
}

// deleteQueue deletes a topic; the next command makes it again.
func deleteQueue(t *testing.T, a *kadm.Client, topic string) {
	t.Helper()
	if _, err := a.DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
}

// fill makes the topic again and writes marks of somebody's hours to it, beyond
// where the old one ended.
func fill(t *testing.T, topic string) {
	t.Helper()
	compact, stamp := "compact", "LogAppendTime"
	settings := map[string]*string{"cleanup.policy": &compact, "message.timestamp.type": &stamp}
	if _, err := queueAdmin(t).CreateTopic(t.Context(), 2, 1, settings, topic); err != nil {
		t.Fatal(err)
	}
	var marks []*kgo.Record
	for n := range 500 {
		marks = append(marks, kgo.KeyStringRecord(fmt.Sprintf("other/2026-02-%02dT%02d", 1+n/24, n%24), "{}"))
	}
	if err := queueClient(t, kgo.DefaultProduceTopic(topic)).ProduceSync(t.Context(), marks...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}
