package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// segmentBytes is how long a log grows before its next segment begins; only
// segments before the last are log-compacted.
const segmentBytes = 64 << 20

// setting is what a topic's setting must be, and why.
type setting struct {
	name string
	want []string // any of them; the first is recommended
	why  string
}

// required are the settings without which marks are lost or misread.
var required = []setting{
	{"cleanup.policy", []string{"compact"}, "any other policy loses marks, or keeps them all"},
	{"message.timestamp.type", []string{"LogAppendTime"}, "a mark's time is when the broker took it"},
	{"compression.type", []string{"producer", "uncompressed"}, "marks are stored as they were written"},
}

// advised are the settings without which a broker's failure may lose marks.
func advised(replicas int) []setting {
	a := []setting{{"unclean.leader.election.enable", []string{"false"}, "a replica that lags may else become leader, and acknowledged marks are lost"}}
	if replicas >= 3 {
		var two []string // or more
		for n := 2; n <= replicas; n++ {
			two = append(two, strconv.Itoa(n))
		}
		a = append(a, setting{"min.insync.replicas", two, "a mark may else be acknowledged by one broker alone"})
	}
	return a
}

// prepareTopic creates the topic if it is missing and checks its settings.
func (q *Queue) prepareTopic(ctx context.Context) error {
	t, err := q.describe(ctx)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		t, err = q.createTopic(ctx)
	}
	if err != nil {
		return err
	}
	return q.checkTopic(ctx, t)
}

// describe returns the topic as the brokers know it.
func (q *Queue) describe(ctx context.Context) (kadm.TopicDetail, error) {
	m, err := q.admin.Metadata(ctx, q.topic)
	if err != nil {
		return kadm.TopicDetail{}, fmt.Errorf("describe topic %q: %w", q.topic, err)
	}
	t := m.Topics[q.topic]
	if t.Err != nil {
		return t, fmt.Errorf("describe topic %q: %w", q.topic, t.Err)
	}
	return t, nil
}

// createTopic creates the topic, unless somebody else just did, and waits until
// every partition has a leader.
func (q *Queue) createTopic(ctx context.Context) (kadm.TopicDetail, error) {
	brokers, err := q.admin.ListBrokers(ctx)
	if err != nil {
		return kadm.TopicDetail{}, fmt.Errorf("list brokers: %w", err)
	}
	replication := q.replication
	if replication == 0 {
		replication = int16(min(3, len(brokers)))
	}
	made, err := q.admin.CreateTopic(ctx, q.partitions, replication, newTopic(int(replication)), q.topic)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return kadm.TopicDetail{}, fmt.Errorf("create topic %q with %d partitions and replication %d: %w (%s)",
			q.topic, q.partitions, replication, err, made.ErrMessage)
	}
	return q.awaitLeaders(ctx)
}

// newTopic returns the settings of a topic we create.
func newTopic(replicas int) map[string]*string {
	s := map[string]*string{"segment.bytes": new(strconv.Itoa(segmentBytes))}
	for _, r := range slices.Concat(required, advised(replicas)) {
		s[r.name] = &r.want[0]
	}
	return s
}

// awaitLeaders asks until the topic can be used, or ctx ends.
func (q *Queue) awaitLeaders(ctx context.Context) (kadm.TopicDetail, error) {
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for {
		t, err := q.describe(ctx)
		if err == nil && led(t) {
			return t, nil
		}
		if err != nil && !kerr.IsRetriable(err) {
			return t, err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return t, fmt.Errorf("wait for the leaders of topic %q: %w", q.topic, errors.Join(ctx.Err(), err))
		}
	}
}

func led(t kadm.TopicDetail) bool {
	for _, p := range t.Partitions {
		if p.Leader < 0 || p.Err != nil {
			return false
		}
	}
	return len(t.Partitions) > 0
}

// checkTopic refuses a topic that loses marks, and warns of one that may.
func (q *Queue) checkTopic(ctx context.Context, t kadm.TopicDetail) error {
	have, err := q.settings(ctx)
	if err != nil {
		return err
	}
	for _, f := range q.findings(have, advised(t.Partitions.NumReplicas())) {
		q.log.Warn("kafka topic is not safe against the failure of a broker", "topic", q.topic, "finding", f.Error())
	}
	if int(q.partitions) != len(t.Partitions) {
		q.log.Debug("kafka topic has another number of partitions", "topic", q.topic,
			slog.Int("partitions", len(t.Partitions)), slog.Int("asked", int(q.partitions)))
	}
	if err := errors.Join(q.findings(have, required)...); err != nil {
		return fmt.Errorf("topic %q cannot hold marks: %w", q.topic, err)
	}
	return nil
}

// settings returns the topic's settings, defaults of the brokers included.
func (q *Queue) settings(ctx context.Context) (map[string]string, error) {
	rs, err := q.admin.DescribeTopicConfigs(ctx, q.topic)
	if err != nil {
		return nil, fmt.Errorf("read settings of topic %q: %w", q.topic, err)
	}
	r, err := rs.On(q.topic, nil)
	if err = errors.Join(err, r.Err); err != nil {
		return nil, fmt.Errorf("read settings of topic %q: %w", q.topic, err)
	}
	have := map[string]string{}
	for _, c := range r.Configs {
		have[c.Key] = c.MaybeValue()
	}
	return have, nil
}

// findings compares, and tells for each difference how to end it.
func (q *Queue) findings(have map[string]string, wanted []setting) []error {
	var found []error
	for _, w := range wanted {
		if v := have[w.name]; !slices.Contains(w.want, v) {
			found = append(found, fmt.Errorf(
				"setting %s is %q, want %q: %s; run kafka-configs.sh --bootstrap-server %s --alter --entity-type topics --entity-name %s --add-config %s=%s",
				w.name, v, w.want[0], w.why, q.brokers[0], q.topic, w.name, w.want[0]))
		}
	}
	return found
}
