// Package kafka keeps marks in a log-compacted Kafka topic.
//
// It is the queue for production. kafka-go writes marks; franz-go reads them,
// because kafka-go's reader silently stops on logs whose batches were emptied by
// log compaction.
//
// # URL
//
//	kafka://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]/TOPIC[?PARAMETERS]
//
//	partitions=16        of a topic that must be created; later changes are accepted
//	replication=3        likewise; default: 3, or the number of brokers if there are fewer
//	tls=true             default false; authorities are those of the system
//	sasl=scram-sha-512   or scram-sha-256 or plain; needs USER:PASSWORD
//
// # Format
//
// The topic has cleanup.policy=compact, message.timestamp.type=LogAppendTime and
// no compression. A record's key is the hour's text form. Its value is {}, or for
// a mark that was made again {"since":1763632800000000}, in microseconds since
// the Unix epoch: never null, which would be a tombstone and erase the mark. The
// partition is chosen as Java's clients choose it (murmur2 of the key), so that
// other tools can write marks too. A key that is no hour is logged and passed
// over; a value that says nothing is no fault, since is a hint.
//
// # Gaps
//
// A mark that is gone before a group was handed it cannot be had back, but it is not
// missed in silence. A group that has committed nothing, or whose offset lies outside
// the log or in a topic of the same name that was deleted, reads the whole log and is
// told of a gap; so is a consumer that finds marks deleted before it came to them. A
// consumer whose topic is deleted under it ends with an error. What cannot be noticed
// is somebody's tombstone that log compaction has carried out: a sweep finds its hour.
//
// # Limits
//
// Brokers must know topics by ID (Kafka 3.1 or newer).
// The topic's max.message.bytes must allow keys of about 220 bytes. After a
// crash another member of the group takes over within 10 seconds.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/dirty"
)

const (
	// openTimeout bounds each of Open's two steps: to find a broker, and to
	// prepare the topic.
	openTimeout = 15 * time.Second

	// markLinger is how long the writer waits for more marks of a partition.
	// Ingest has already gathered those it has, so it is short.
	markLinger = 2 * time.Millisecond

	// markAttempts bounds how often one batch of marks is sent before Mark
	// returns the error.
	markAttempts = 5

	// stallAfter is how long marks may wait without arriving before a consumer
	// gives up.
	stallAfter = 2 * time.Minute
)

// Queue is a topic of marks. It implements [dirty.Queue].
type Queue struct {
	config
	log        *slog.Logger
	reader     *kgo.Client // of no group: administration and Pending
	admin      *kadm.Client
	writer     *kafkago.Writer
	transport  *kafkago.Transport
	stallAfter time.Duration
}

var _ dirty.Queue = (*Queue)(nil)

// Open connects to the topic that a URL names, as the package comment describes.
// The topic is created if it is missing; one that loses marks is refused with
// the settings that are wrong and the commands that mend them.
func Open(ctx context.Context, rawURL string, log *slog.Logger) (*Queue, error) {
	c, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	reader, err := c.client(kgo.MetadataMinAge(100 * time.Millisecond)) // leaders that moved, topics just made
	if err != nil {
		return nil, fmt.Errorf("configure Kafka client: %w", err)
	}
	q := &Queue{config: c, log: log, reader: reader, admin: kadm.NewClient(reader), transport: c.transport(), stallAfter: stallAfter}
	q.writer = c.writer(q.transport)
	if err := q.prepare(ctx); err != nil {
		return nil, errors.Join(err, q.Close())
	}
	return q, nil
}

// prepare reaches a broker and makes the topic ready.
func (q *Queue) prepare(ctx context.Context) error {
	if q.sasl == "plain" && !q.tls {
		q.log.Warn("kafka password is sent in clear text; use tls=true", "brokers", q.brokers)
	}
	dial, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := q.reader.Ping(dial); err != nil {
		return fmt.Errorf("reach Kafka at %s: %w", strings.Join(q.brokers, ","), err)
	}
	work, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	return q.prepareTopic(work)
}

// writer returns the writer of marks. Every field that is set replaces a default
// that would lose marks or delay them.
func (c *config) writer(t *kafkago.Transport) *kafkago.Writer {
	return &kafkago.Writer{
		Addr:         kafkago.TCP(c.brokers...),
		Topic:        c.topic,
		Transport:    t,
		RequiredAcks: kafkago.RequireAll,
		Balancer:     kafkago.Murmur2Balancer{Consistent: true},
		BatchTimeout: markLinger,
		BatchSize:    1000,
		MaxAttempts:  markAttempts,
	}
}

// Mark appends a mark of each hour and returns when all in-sync replicas have
// all of them. It tries a few times; when ctx ends first, marks that are on
// their way may still arrive.
func (q *Queue) Mark(ctx context.Context, hours ...afterhours.Hour) error {
	marks := make([]afterhours.Mark, len(hours))
	for i, h := range hours {
		marks[i].Hour = h
	}
	return q.append(ctx, marks)
}

// append does what Mark promises. The broker sets the times.
func (q *Queue) append(ctx context.Context, marks []afterhours.Mark) error {
	records := make([]kafkago.Message, len(marks))
	for i, m := range marks {
		records[i] = kafkago.Message{Key: []byte(m.Hour.String()), Value: encodeValue(m)}
	}
	err := q.writer.WriteMessages(ctx, records...)
	if err == nil {
		return nil
	}
	first, err := firstFault(err)
	return fmt.Errorf("mark hour %s, one of %d, on topic %q at %s: %w",
		marks[first].Hour, len(marks), q.topic, strings.Join(q.brokers, ","), err)
}

// firstFault returns the first record that has an error, and that error.
func firstFault(err error) (int, error) {
	var each kafkago.WriteErrors
	if errors.As(err, &each) {
		for i, err := range each {
			if err != nil {
				return i, err
			}
		}
	}
	return 0, err
}

// Close ends the connections. Calls under way fail.
func (q *Queue) Close() error {
	err := q.writer.Close()
	q.transport.CloseIdleConnections()
	q.reader.Close()
	if err != nil {
		return fmt.Errorf("close Kafka writer: %w", err)
	}
	return nil
}

// Ping reports whether brokers answer and every partition of the topic has a
// leader. It does not tell whether marks may be written.
func (q *Queue) Ping(ctx context.Context) error {
	t, err := q.describe(ctx)
	if err != nil {
		return fmt.Errorf("ping Kafka at %s: %w", strings.Join(q.brokers, ","), err)
	}
	if !led(t) {
		return fmt.Errorf("ping Kafka at %s: a partition of topic %q has no leader", strings.Join(q.brokers, ","), q.topic)
	}
	return nil
}
