package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// KafkaConfig says which topics are read, and as which group.
type KafkaConfig struct {
	Brokers []string // HOST:PORT
	Topics  []string // either these topics, all of which must exist
	Pattern *regexp.Regexp
	// Pattern instead of Topics: every topic whose whole name matches, also those
	// created later; they are found within half a minute. Topics whose names begin
	// with two underscores are Kafka's own and never match.

	Group string       // consumer group; a new one starts at the first message
	Log   *slog.Logger // required
}

const (
	kafkaTimeout = 10 * time.Second // for one question to the brokers
	kafkaRefresh = 30 * time.Second // between looks for new topics

	// kafkaGrace is how long the end of a generation waits for what was put to be
	// acknowledged. It is less than the time a rebalance gives its members.
	kafkaGrace = 5 * time.Second

	// kafkaCommit is the time between commits.
	kafkaCommit = time.Second
)

// Kafka is a source of messages of Kafka topics. Members of one group share the
// topics' partitions. A message's offset is committed only when it and every
// earlier one of its partition are acknowledged; what is not is delivered again.
//
// # Limits
//
// Topics with log compaction are refused: kafka-go, which reads, may stop for
// ever in a log whose batches were emptied. Messages of aborted transactions are
// delivered like others. Control records, which end transactions, are not.
type Kafka struct {
	KafkaConfig
	pattern *regexp.Regexp // Pattern, for the whole name
	dialer  *kafkago.Dialer
	refresh time.Duration
	grace   time.Duration
	session time.Duration // after which a crashed member's partitions are given away

	reading atomic.Pointer[generation] // nil while this is no member
}

var _ Source = (*Kafka)(nil)

// OpenKafka makes sure that the brokers can be reached and the topics can be
// read.
func OpenKafka(ctx context.Context, c KafkaConfig) (*Kafka, error) {
	k := &Kafka{
		KafkaConfig: c,
		dialer:      &kafkago.Dialer{ClientID: "afterhours", Timeout: 5 * time.Second},
		refresh:     kafkaRefresh, grace: kafkaGrace, session: 10 * time.Second,
	}
	if c.Pattern != nil {
		p, err := regexp.Compile("^(?:" + c.Pattern.String() + ")$")
		if err != nil {
			return nil, fmt.Errorf("compile topic pattern: %w", err)
		}
		k.pattern = p
	}
	topics, err := k.topics(ctx)
	if err != nil {
		return nil, err
	}
	if len(topics) == 0 {
		k.Log.Warn("no kafka topic matches yet", "pattern", c.Pattern.String())
	}
	return k, nil
}

// Run reads until ctx ends or a topic of the list is gone. Brokers that cannot
// be reached for a while are waited for.
func (k *Kafka) Run(ctx context.Context, put Put) error {
	for {
		topics, err := k.topics(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		if err := k.runTopics(ctx, topics, put); err != nil {
			return err
		}
	}
}

// runTopics reads as a member of the group until the topics have changed.
func (k *Kafka) runTopics(ctx context.Context, topics []string, put Put) error {
	if len(topics) == 0 {
		return sleep(ctx, k.refresh)
	}
	group, err := kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{
		ID:                    k.Group,
		Brokers:               k.Brokers,
		Dialer:                k.dialer,
		Topics:                topics,
		StartOffset:           kafkago.FirstOffset, // the last one would lose what came before the first commit
		WatchPartitionChanges: true,
		SessionTimeout:        k.session,
		JoinGroupBackoff:      time.Second,
	})
	if err != nil {
		return fmt.Errorf("join group %q: %w", k.Group, err)
	}
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	m := &member{Kafka: k, put: put, stop: stop}
	var side sync.WaitGroup
	side.Go(func() { k.watchTopics(reading, topics, stop) })
	err = m.run(reading, group)
	stop(nil)
	side.Wait()
	// Close ends the generation, which commits, and leaves the group.
	return errors.Join(err, group.Close())
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errTopicsChanged stops a membership to join again with other topics.
var errTopicsChanged = errors.New("topics have changed")

// watchTopics stops the reading when the topics are no more those given.
func (k *Kafka) watchTopics(ctx context.Context, have []string, stop context.CancelCauseFunc) {
	for sleep(ctx, k.refresh) == nil {
		topics, err := k.topics(ctx)
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, errTopic):
			stop(err)
		case err != nil:
			k.Log.Warn("look for kafka topics", "error", err.Error())
		case !slices.Equal(topics, have):
			k.Log.Info("kafka topics have changed", "topics", topics)
			stop(errTopicsChanged)
		}
	}
}

// errTopic is wrapped when a topic is missing or cannot be read.
var errTopic = errors.New("cannot be ingested")

// topics returns the topics to read, sorted.
func (k *Kafka) topics(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, kafkaTimeout)
	defer cancel()
	exist, err := k.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("list topics of Kafka at %s: %w", strings.Join(k.Brokers, ","), err)
	}
	var topics []string
	if k.pattern == nil {
		topics, err = k.listed(exist)
	} else {
		topics = k.matching(exist)
	}
	if err != nil || len(topics) == 0 {
		return nil, err
	}
	return k.readable(ctx, topics)
}

// list returns the names of all topics from the first broker that answers.
// Metadata of all topics is asked for, because kafka-go would have a broker
// create a topic that is asked for by name.
func (k *Kafka) list(ctx context.Context) (map[string]bool, error) {
	var errs []error
	for _, broker := range k.Brokers {
		partitions, err := k.partitions(ctx, broker)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		exist := map[string]bool{}
		for _, p := range partitions {
			exist[p.Topic] = true
		}
		return exist, nil
	}
	return nil, errors.Join(errs...)
}

func (k *Kafka) partitions(ctx context.Context, broker string) (_ []kafkago.Partition, err error) {
	conn, err := k.dialer.DialContext(ctx, "tcp", broker)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.SetDeadline(time.Now().Add(kafkaTimeout)); err != nil {
		return nil, err
	}
	return conn.ReadPartitions()
}

func (k *Kafka) listed(exist map[string]bool) ([]string, error) {
	topics := slices.Clone(k.Topics)
	slices.Sort(topics)
	topics = slices.Compact(topics)
	var missing []error
	for _, t := range topics {
		if !exist[t] {
			missing = append(missing, fmt.Errorf("topic %q at %s %w: there is no such topic, or it may not be read", t, strings.Join(k.Brokers, ","), errTopic))
		}
	}
	return topics, errors.Join(missing...)
}

func (k *Kafka) matching(exist map[string]bool) []string {
	var topics []string
	for _, t := range slices.Sorted(maps.Keys(exist)) {
		if k.pattern.MatchString(t) && !strings.HasPrefix(t, "__") {
			topics = append(topics, t)
		}
	}
	return topics
}

// readable leaves out topics that match but have log compaction, and refuses
// those that are listed.
func (k *Kafka) readable(ctx context.Context, topics []string) ([]string, error) {
	compacted, err := k.compacted(ctx, topics)
	if err != nil {
		return nil, fmt.Errorf("read settings of topics at %s, which DescribeConfigs allows: %w", strings.Join(k.Brokers, ","), err)
	}
	if len(compacted) == 0 {
		return topics, nil
	}
	if k.pattern == nil {
		return nil, fmt.Errorf("topics %q %w: they are log-compacted, which drops events; set cleanup.policy=delete", compacted, errTopic)
	}
	k.Log.Warn("kafka topics match but are log-compacted, leaving them out", "topics", compacted)
	return slices.DeleteFunc(topics, func(t string) bool { return slices.Contains(compacted, t) }), nil
}

// compacted returns the topics with log compaction.
func (k *Kafka) compacted(ctx context.Context, topics []string) ([]string, error) {
	req := &kafkago.DescribeConfigsRequest{}
	for _, t := range topics {
		req.Resources = append(req.Resources, kafkago.DescribeConfigRequestResource{
			ResourceType: kafkago.ResourceTypeTopic, ResourceName: t, ConfigNames: []string{"cleanup.policy"},
		})
	}
	transport := &kafkago.Transport{ClientID: k.dialer.ClientID, MetadataTopics: topics}
	defer transport.CloseIdleConnections()
	client := &kafkago.Client{Addr: kafkago.TCP(k.Brokers...), Transport: transport, Timeout: kafkaTimeout}
	resp, err := client.DescribeConfigs(ctx, req)
	if err != nil {
		return nil, err
	}
	var compacted []string
	for _, r := range resp.Resources {
		if r.Error != nil {
			return nil, fmt.Errorf("topic %q: %w", r.ResourceName, r.Error)
		}
		for _, e := range r.ConfigEntries {
			if e.ConfigName == "cleanup.policy" && strings.Contains(e.ConfigValue, "compact") {
				compacted = append(compacted, r.ResourceName)
			}
		}
	}
	return compacted, nil
}
