package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/afterhours/afterhours"
)

// load makes events and has them brought in, by the topic and by files.
type load struct {
	ledger *ledger
	rng    *rand.Rand // of the goroutine that runs
	open   func(now time.Time) bool
	world  *world
	rate   int

	mu    sync.Mutex
	await [sourcePartitions][]sent // in the topic and not acknowledged, by offset
}

// sent is a record in the topic.
type sent struct {
	offset int64
	record record
}

var eventTypes = []string{"purchase", "purchase", "refund"}

// hour draws the hour of an event, one of two dozen: most are late by a few hours,
// some by up to three weeks. Events of the hour that is under way come while they
// can reach the lake before their raw rows expire.
func (l *load) hour(now time.Time) afterhours.Hour {
	age := time.Duration(0)
	switch d := l.rng.IntN(100); {
	case d < 15 && l.open(now):
	case d < 50:
		age = time.Duration(1+l.rng.IntN(3)) * time.Hour
	case d < 85:
		age = time.Duration(4+3*l.rng.IntN(4)) * time.Hour
	default:
		age = time.Duration(1+3*l.rng.IntN(4)) * 49 * time.Hour
	}
	return afterhours.HourOf(eventTypes[l.rng.IntN(len(eventTypes))], afterhours.MicrosOf(now.Add(-age)))
}

// payloadOf is the payload of an event's copy: always the same for a record.
func payloadOf(r record, h afterhours.Hour) []byte {
	rng := rand.New(rand.NewPCG(uint64(r.serial), 1))
	at := h.Start + afterhours.Micros(rng.Int64N(int64(time.Hour/time.Microsecond)))
	filler := make([]byte, 10+rng.IntN(120))
	for i := range filler {
		filler[i] = byte(rng.Uint32())
	}
	return fmt.Appendf(nil, `{"event_id":%q,"event_type":%q,"event_time":%q,"user_id":"u%d","amount":%d,"filler":"%s"}`,
		eventID(r.serial), h.Type, at.Time().Format(time.RFC3339Nano), rng.IntN(500), r.copy, hex.EncodeToString(filler))
}

// brokenKinds are records that are no events, each with room for its mark.
var brokenKinds = []string{
	`{"event_id":"%s","event_type":"purchase"}`,
	`{"event_id":"%s","event_type":"purchase","event_time":"yesterday"}`,
	`{"event_id":"%s","event_type":"purchase","event_time":`,
	"%s \xff\xfe no JSON",
	`[{"event_id":"%s"}]`,
	`{"event_id":"%s","event_type":"_quarantine","event_time":"2026-01-01T00:00:00Z"}`,
}

// next makes a record: an event of the hour, a copy of an earlier one, or what is
// no event.
func (l *load) next(h afterhours.Hour) (record, []byte) {
	switch d := l.rng.IntN(1000); {
	case d < 5:
		r := l.ledger.addBroken()
		return r, fmt.Appendf(nil, brokenKinds[r.serial%len(brokenKinds)], brokenMark(r.serial))
	case d < 125 && l.ledger.size() > 0:
		return l.ledger.again(l.earlier(), d < 35, payloadOf)
	}
	return l.ledger.add(h, func(r record) []byte { return payloadOf(r, h) })
}

// earlier draws an event that was sent before: half of them lately, the others at
// any time.
func (l *load) earlier() int {
	n := l.ledger.size()
	if l.rng.IntN(2) == 0 {
		return n - 1 - l.rng.IntN(min(n, 2000))
	}
	return l.rng.IntN(n)
}

// loadTick is between two looks at how much is to be sent.
const loadTick = 200 * time.Millisecond

// produce sends records to the topic until ctx ends, and waits for those on their
// way. Some ticks bring many records of one hour, as a backfill does.
func (l *load) produce(ctx context.Context) {
	tick := time.NewTicker(loadTick)
	defer tick.Stop()
	for ctx.Err() == nil {
		burst, hour, to := l.rng.IntN(3) == 0, l.hour(time.Now()), l.rng.Int32N(sourcePartitions)
		for range l.rate * int(loadTick/time.Millisecond) / 1000 {
			if !burst {
				hour, to = l.hour(time.Now()), l.rng.Int32N(sourcePartitions)
			}
			r, b := l.next(hour)
			// It blocks while too much is under way, such as when the broker is down.
			k := &kgo.Record{Partition: to, Value: b, Timestamp: recordTime()}
			l.world.broker.Produce(ctx, k, func(k *kgo.Record, err error) {
				if err == nil {
					l.produced(k.Partition, sent{k.Offset, r})
				}
			})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// recordTime is when records say that they were made: in an hour that is over. It
// is the hour of those that go to quarantine, which shall not wait there until they
// expire.
func recordTime() time.Time { return time.Now().Add(-2 * time.Hour) }

// flush waits until all that is produced is in the topic.
func (l *load) flush(ctx context.Context) error { return l.world.broker.Flush(ctx) }

func (l *load) produced(partition int32, s sent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.await[partition] = append(l.await[partition], s)
}

// acknowledge asks every second for the offsets that ingest has committed, until
// ctx ends: what is below is acknowledged.
func (l *load) acknowledge(ctx context.Context) {
	for ctx.Err() == nil {
		_ = l.ask(ctx) // that the broker does not answer is what we do
		pause(ctx, time.Second)
	}
}

func (l *load) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	committed, err := l.world.admin.FetchOffsets(ctx, ingestGroup)
	if err != nil {
		return err
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.await {
		o, ok := committed.Lookup(sourceTopic, int32(p))
		if !ok || o.Err != nil {
			continue
		}
		var acked []record
		for len(l.await[p]) > 0 && l.await[p][0].offset < o.At {
			acked = append(acked, l.await[p][0].record)
			l.await[p] = l.await[p][1:]
		}
		l.ledger.ack(now, acked...)
	}
	return nil
}

// waiting returns how many records of the topic are not acknowledged.
func (l *load) waiting() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.await {
		n += len(p)
	}
	return n
}
