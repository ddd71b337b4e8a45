package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

const (
	// kafkaMaxWait is how long a broker holds back an answer that would be empty;
	// the end of a generation waits for it.
	kafkaMaxWait = 500 * time.Millisecond

	// kafkaMaxBytes is what one answer brings, save for a single larger batch.
	kafkaMaxBytes = 4 << 20

	// kafkaAhead is how many messages of a partition are read ahead. Nothing else
	// bounds the memory that they take.
	kafkaAhead = 16

	// kafkaRetry is the pause after an answer that may be another one next time.
	kafkaRetry = time.Second
)

// read puts the messages of a partition until the generation ends. It ends the
// generation itself when the offset turns out to lie outside the log: the next
// one starts anew.
func (m *member) read(ctx context.Context, g *generation, p *topicPartition, committed int64) {
	if offset, ok := m.startOffset(ctx, p, committed); ok {
		p.start.Store(offset + 1)
		r := kafkago.NewReader(kafkago.ReaderConfig{
			Brokers:               m.Brokers,
			Dialer:                m.dialer,
			Topic:                 p.topic,
			Partition:             p.id,
			MinBytes:              1,
			MaxBytes:              kafkaMaxBytes,
			MaxWait:               kafkaMaxWait,
			QueueCapacity:         kafkaAhead,
			OffsetOutOfRangeError: true, // or it would wait for ever
		})
		defer r.Close() // its error is always nil
		if err := r.SetOffset(offset); err != nil {
			m.stop(fmt.Errorf("read topic %q partition %d: %w", p.topic, p.id, err))
		}
		m.putAll(ctx, r, p, offset)
	}
	g.readers.Done() // before Close, which waits for an answer of the broker
}

// startOffset compares what is committed with the log. It tries until it can or
// ctx ends.
func (m *member) startOffset(ctx context.Context, p *topicPartition, committed int64) (int64, bool) {
	for silent := false; ctx.Err() == nil; silent = true {
		first, end, err := m.bounds(ctx, p)
		if err == nil {
			return m.resume(p, committed, first, end), true
		}
		if denied(err) {
			m.stop(fmt.Errorf("read topic %q partition %d: %w", p.topic, p.id, err))
			return 0, false
		}
		if !silent && ctx.Err() == nil {
			m.Log.Warn("read kafka partition, will be tried again", "topic", p.topic, "partition", p.id, "error", err.Error())
		}
		if sleep(ctx, kafkaRetry) != nil {
			break
		}
	}
	return 0, false
}

// bounds returns the first offset of the log and the one after its last.
func (m *member) bounds(ctx context.Context, p *topicPartition) (first, end int64, err error) {
	var errs []error
	for _, broker := range m.Brokers {
		conn, err := m.dialer.DialLeader(ctx, "tcp", broker, p.topic, p.id)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		err = conn.SetDeadline(time.Now().Add(kafkaTimeout))
		if err == nil {
			first, end, err = conn.ReadOffsets()
		}
		return first, end, errors.Join(err, conn.Close())
	}
	return 0, 0, errors.Join(errs...)
}

// resume returns the offset to read from: the committed one, or the first of the
// log if nothing is committed or what is lies outside the log.
func (m *member) resume(p *topicPartition, committed, first, end int64) int64 {
	switch {
	case committed == kafkago.FirstOffset:
		return first
	case committed >= first && committed <= end:
		return committed
	case committed < first:
		m.Log.Error("kafka deleted messages before they were read", "topic", p.topic, "partition", p.id,
			"messages_lost", first-committed, "committed", committed, "first", first)
	default:
		m.Log.Error("kafka log ends before the committed offset, reading all of it again", "topic", p.topic, "partition", p.id,
			"committed", committed, "end", end)
	}
	// What is committed would hide messages once the log has grown beyond it.
	p.acks.reset(first)
	return first
}

// putAll puts messages until ctx ends, an offset lies outside the log, or Put
// fails.
func (m *member) putAll(ctx context.Context, r *kafkago.Reader, p *topicPartition, next int64) {
	silent := false
	for {
		msg, err := r.FetchMessage(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, kafkago.OffsetOutOfRange), errors.Is(err, io.EOF):
			m.Log.Warn("kafka offset lies outside the log, looking again", "topic", p.topic, "partition", p.id, "offset", next)
			return
		case denied(err):
			m.stop(fmt.Errorf("read topic %q partition %d at %s: %w", p.topic, p.id, strings.Join(m.Brokers, ","), err))
			return
		case err != nil:
			if !silent {
				m.Log.Warn("read kafka partition, will be tried again", "topic", p.topic, "partition", p.id, "error", err.Error())
			}
			silent = true
			continue
		}
		if msg.Offset > next {
			m.Log.Error("kafka deleted messages before they were read", "topic", p.topic, "partition", p.id,
				"messages_lost", msg.Offset-next, "next", msg.Offset)
		}
		next, silent = msg.Offset+1, false
		if err := m.putOne(ctx, p, msg); err != nil {
			if ctx.Err() == nil {
				m.stop(err)
			}
			return
		}
	}
}

func (m *member) putOne(ctx context.Context, p *topicPartition, msg kafkago.Message) error {
	ack := p.acks.add(msg.Offset)
	if control(msg) {
		ack()
		return nil
	}
	value, cut := keepable(msg.Value)
	err := m.put(ctx, Record{
		Bytes:    value,
		Cut:      cut,
		Source:   p.topic,
		Position: strconv.Itoa(p.id) + "@" + strconv.FormatInt(msg.Offset, 10),
		Time:     msg.Time,
	}, ack)
	if err != nil {
		p.acks.takeBack()
	}
	return err
}

// control reports whether a message is the control record that ends a
// transaction. kafka-go hands them out like messages, without the flag that
// tells: the key is version 0 and type 0 or 1, the value is version 0 and the
// coordinator's epoch. No JSON begins like this.
func control(msg kafkago.Message) bool {
	return len(msg.Key) == 4 && msg.Key[0] == 0 && msg.Key[1] == 0 && msg.Key[2] == 0 && msg.Key[3] <= 1 &&
		len(msg.Value) == 6 && msg.Value[0] == 0 && msg.Value[1] == 0
}
