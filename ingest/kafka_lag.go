package ingest

import (
	"context"
	"fmt"
	"strings"

	kafkago "github.com/segmentio/kafka-go"
)

// Waiting returns how many messages of the partitions that this member reads are
// not acknowledged, in hand or not yet read. A member that is waiting for others
// has none. It asks the brokers for the ends of the logs.
func (k *Kafka) Waiting(ctx context.Context) (int64, error) {
	g := k.reading.Load()
	if g == nil {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, kafkaTimeout)
	defer cancel()
	ask := &kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{}}
	floors := map[string]map[int]int64{}
	for _, p := range g.parts {
		at, known := p.from()
		if !known {
			continue
		}
		if floors[p.topic] == nil {
			floors[p.topic] = map[int]int64{}
		}
		floors[p.topic][p.id] = at
		ask.Topics[p.topic] = append(ask.Topics[p.topic], kafkago.LastOffsetOf(p.id))
	}
	if len(floors) == 0 {
		return 0, nil
	}
	transport := &kafkago.Transport{ClientID: k.dialer.ClientID}
	defer transport.CloseIdleConnections()
	client := &kafkago.Client{Addr: kafkago.TCP(k.Brokers...), Transport: transport, Timeout: kafkaTimeout}
	ends, err := client.ListOffsets(ctx, ask)
	if err != nil {
		return 0, fmt.Errorf("list last offsets of topics at %s: %w", strings.Join(k.Brokers, ","), err)
	}
	var waiting int64
	for topic, parts := range ends.Topics {
		for _, p := range parts {
			if p.Error != nil {
				return 0, fmt.Errorf("list last offset of topic %q partition %d: %w", topic, p.Partition, p.Error)
			}
			waiting += max(0, p.LastOffset-floors[topic][p.Partition])
		}
	}
	return waiting, nil
}

// from returns the offset below which everything is acknowledged, false until it is
// known where reading begins.
func (p *topicPartition) from() (int64, bool) {
	if at := p.acks.floor(); at >= 0 {
		return at, true
	}
	at := p.start.Load()
	return at - 1, at > 0
}
