package ingest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/afterhours/afterhours/internal/testenv"
)

// What waits is what is not acknowledged, read or not; nothing after the end.
func TestKafkaTellsWhatWaits(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	topic := b.topic(t, testenv.Topic(t, "waits"), 2)
	texts := b.write(t, topic, 2, 0, 10)
	src := b.run(t, KafkaConfig{Topics: []string{topic}, Group: topic}, &inbox{keep: func(Record) bool { return false }})
	waits := func(want int64) func() bool {
		return func() bool {
			n, err := src.Waiting(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return n == want
		}
	}
	soon(t, "all ten wait", func() bool { return src.in.len() == 10 && waits(10)() })
	for _, text := range texts[:6] {
		src.in.ack(text)
	}
	soon(t, "four wait", waits(4))
	texts = append(texts, b.write(t, topic, 2, 10, 15)...)
	soon(t, "five more are read", func() bool { return src.in.len() == 15 })
	soon(t, "nine wait", waits(9))
	for _, text := range texts[6:] {
		src.in.ack(text)
	}
	soon(t, "none waits", waits(0))
	b.write(t, topic, 2, 15, 16)
	if err := src.stop(); err == nil {
		t.Error("it was not stopped")
	}
	if !waits(0)() {
		t.Error("somebody who is no member says that records wait")
	}
}

// A stop does not wait for a message that could not be put any more.
func TestKafkaStopWaitsForNothingThatWasNotPut(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	topic := b.topic(t, testenv.Topic(t, "full"), 1)
	b.write(t, topic, 1, 0, 3)
	in := &inbox{}
	k, err := OpenKafka(t.Context(), KafkaConfig{Brokers: []string{b.addr}, Topics: []string{topic}, Group: topic, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	k.grace = time.Hour
	ctx, stop := context.WithCancel(t.Context())
	full, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- k.Run(ctx, func(ctx context.Context, r Record, ack func()) error {
			if in.len() < 2 {
				return in.put(ctx, r, ack)
			}
			close(full)
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	<-full
	stop()
	<-done
	if at := b.committed(t, topic, topic, 0); at != 2 {
		t.Errorf("committed %d, want the two that were put", at)
	}
}
