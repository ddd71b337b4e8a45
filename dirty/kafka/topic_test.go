package kafka

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afterhours/afterhours/internal/testenv"
)

// A missing topic is created with every setting that marks need.
func TestMissingTopicIsCreated(t *testing.T) {
	t.Parallel()
	q, l := open(t, testenv.Topic(t, "created"), "partitions=3&replication=1")
	have, err := q.settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"cleanup.policy": "compact", "segment.bytes": "67108864", "compression.type": "producer",
		"message.timestamp.type": "LogAppendTime", "unclean.leader.election.enable": "false",
	} {
		if have[name] != want {
			t.Errorf("%s is %q, want %q", name, have[name], want)
		}
	}
	if d, err := q.describe(t.Context()); err != nil || len(d.Partitions) != 3 {
		t.Errorf("got %v, %v", d.Partitions, err)
	}
	if strings.Contains(l.String(), "WARN") {
		t.Errorf("warned of our own topic: %s", l)
	}
}

// With three replicas, a mark is acknowledged by two brokers at least.
func TestThreeReplicasAskForTwoInSync(t *testing.T) {
	t.Parallel()
	if v := newTopic(3)["min.insync.replicas"]; v == nil || *v != "2" {
		t.Errorf("got %v", v)
	}
	if v, ok := newTopic(2)["min.insync.replicas"]; ok {
		t.Errorf("two replicas: got %s: one broker down would stop ingest", *v)
	}
}

// Processes that start at once agree on the topic.
func TestTopicIsCreatedOnceByMany(t *testing.T) {
	t.Parallel()
	url := "kafka://" + testenv.Kafka(t) + "/" + testenv.Topic(t, "race")
	errs := make(chan error)
	for range 4 {
		go func() {
			q, err := Open(t.Context(), url, slog.New(slog.DiscardHandler))
			if err == nil {
				err = q.Close()
			}
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// A topic that loses marks is refused; the error tells every setting that is
// wrong and the command that mends it.
func TestTopicThatLosesMarksIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ settings, want []string }{
		"delete":     {[]string{"cleanup.policy=delete", "message.timestamp.type=LogAppendTime"}, []string{"cleanup.policy", `"delete"`, `"compact"`}},
		"both":       {[]string{"cleanup.policy=compact,delete", "message.timestamp.type=LogAppendTime"}, []string{"cleanup.policy"}},
		"time":       {[]string{"cleanup.policy=compact"}, []string{"message.timestamp.type", `"CreateTime"`, "LogAppendTime"}},
		"compressed": {[]string{"cleanup.policy=compact", "message.timestamp.type=LogAppendTime", "compression.type=zstd"}, []string{"compression.type"}},
		"all":        {[]string{"compression.type=gzip"}, []string{"cleanup.policy", "message.timestamp.type", "compression.type"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topic := testenv.Topic(t, "refused")
			create(t, topic, 1, c.settings...)
			q, err := Open(t.Context(), "kafka://"+testenv.Kafka(t)+"/"+topic, slog.New(slog.DiscardHandler))
			if err == nil {
				closeOf(t, q)
				t.Fatal("opened")
			}
			for _, w := range append(c.want, topic) {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%v does not name %s", err, w)
				}
			}
			n := strings.Count(err.Error(), "kafka-configs.sh --bootstrap-server "+testenv.Kafka(t))
			if !slices.ContainsFunc(c.want, func(w string) bool { return strings.Contains(err.Error(), "--add-config "+w+"=") }) || n == 0 {
				t.Errorf("%v does not tell how to mend it", err)
			}
		})
	}
}

// A topic that may lose marks when a broker fails is used, with a warning; its
// number of partitions is its operator's.
func TestUnsafeTopicIsWarnedOf(t *testing.T) {
	t.Parallel()
	topic := testenv.Topic(t, "warned")
	create(t, topic, 2, append(slices.Clone(restless), "unclean.leader.election.enable=true")...)
	_, l := open(t, topic, "partitions=7")
	if s := l.String(); !strings.Contains(s, "WARN") || !strings.Contains(s, "unclean.leader.election.enable") {
		t.Errorf("logged %s", s)
	}
}

// A broker that cannot be reached is named, within seconds.
func TestUnreachableBrokerIsNamed(t *testing.T) {
	t.Parallel()
	began := time.Now()
	_, err := Open(t.Context(), "kafka://127.0.0.1:1/marks", slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("got %v", err)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("it took %v", d)
	}
}

// Of three replicas, two in sync are advised; more are as safe.
func TestReplicasInSyncAreChecked(t *testing.T) {
	t.Parallel()
	q := &Queue{config: config{topic: "t", brokers: []string{"b:1"}}}
	for value, findings := range map[string]int{"1": 1, "2": 0, "3": 0} {
		have := map[string]string{"min.insync.replicas": value, "unclean.leader.election.enable": "false"}
		if got := q.findings(have, advised(3)); len(got) != findings {
			t.Errorf("%s of three: %v", value, got)
		}
	}
}
