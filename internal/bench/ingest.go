package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours/dirty/kafka"
	"github.com/afterhours/afterhours/ingest"
	"github.com/afterhours/afterhours/internal/testenv/servers"
	"github.com/afterhours/afterhours/store"
)

// ingests are acknowledged writes, on real servers, beside raw batches of the same
// rows; each in a keyspace of its own.
func (s *suite) ingests() group {
	line := func(id, name, do string, g goal) work {
		return work{id: id, name: name, rate: true, goal: g, do: func(ctx context.Context, _ string) (f figure, err error) {
			c := cluster{s.cassandra, fmt.Sprintf("bench_%d_%s_%d", os.Getpid(), id, s.round)}
			if err := c.create(ctx); err != nil {
				return figure{}, err
			}
			defer func() { err = errors.Join(err, c.drop(ctx)) }()
			return s.measure(ctx, id, task{Do: do, Store: c.url(), Queue: "kafka://" + s.kafka + "/" + c.keyspace, Events: s.Events}, s.Events)
		}}
	}
	return group{
		name:  "ingest",
		needs: map[string]string{servers.Cassandra: s.cassandra, servers.Kafka: s.kafka},
		works: []work{
			line("raw_batches", "raw batches", "raw batches", goal{}),
			line("ingest", "acknowledged writes", "ingest", goal{against: "raw_batches"}),
		},
	}
}

// generated is a source of the hour's first events.
type generated int

func (g generated) Run(ctx context.Context, put ingest.Put) error {
	for n := range int(g) {
		e := event(n)
		r := ingest.Record{Bytes: e.Payload, Source: "bench", Position: fmt.Sprint(n), Time: e.Received.Time()}
		if err := put(ctx, r, func() {}); err != nil {
			return err
		}
	}
	return nil
}

// rawBatches writes the encoded events as same-partition batches, with as many in
// flight as ingest has, and nothing else.
func rawBatches(ctx context.Context, t task) (took, error) {
	s, err := clusterOf(t.Store).session()
	if err != nil {
		return took{}, err
	}
	defer s.Close()
	const table = `CREATE TABLE raw (lane text, seq int, event blob, PRIMARY KEY (lane, seq))
		WITH compaction = {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS', 'compaction_window_size': 1}`
	if err := s.Query(table).ExecContext(ctx); err != nil {
		return took{}, err
	}
	elapsed, err := t.time(func() error {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(writers)
		for from := 0; from < t.Events; from += batchRows {
			g.Go(func() error {
				batch := s.Batch(gocql.UnloggedBatch)
				for n := from; n < min(from+batchRows, t.Events); n++ {
					batch.Query(`INSERT INTO raw (lane, seq, event) VALUES (?, ?, ?)`, fmt.Sprint(n/segmentRows), n, store.AppendEvent(nil, event(n)))
				}
				return batch.ExecContext(ctx)
			})
		}
		return g.Wait()
	})
	return took{elapsed.Seconds(), int64(t.Events)}, err
}

// ingestAll brings the hour's events in through the whole path: mapping, store,
// index, marks, acknowledgement.
func ingestAll(ctx context.Context, t task) (took, error) {
	s, err := clusterOf(t.Store).open(ctx)
	if err != nil {
		return took{}, err
	}
	defer s.Close()
	q, err := kafka.Open(ctx, t.Queue, quiet)
	if err != nil {
		return took{}, err
	}
	defer q.Close()
	m := ingest.Mapping{
		IDField: "event_id", TypeField: "event_type", TimeField: "event_time",
		AcceptPast: ingest.DefaultAcceptPast, AcceptFuture: ingest.DefaultAcceptFuture, Columns: benchColumns,
	}
	var sum ingest.Summary
	elapsed, err := t.time(func() (err error) {
		sum, err = ingest.Run(ctx, generated(t.Events), m, ingest.New(s, q, ingest.Options{Columns: m.Columns, Log: quiet}))
		return err
	})
	return took{elapsed.Seconds(), sum.Written}, err
}
