package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/dirty/kafka"
	"github.com/afterhours/afterhours/ingest"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
	"github.com/afterhours/afterhours/store/cassandra"
)

// The same bounds for a figure and its floor.
const (
	batchRows = 100
	writers   = 128
	segment   = 50_000
)

// hour is where all events lie; late ones come days after it.
var hour = time.Date(2026, 11, 18, 10, 0, 0, 0, time.UTC)

// quiet keeps the log lines of a figure out of its time.
var quiet = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))

// payload makes the n-th event's JSON, of about 300 bytes.
func payload(n int, received time.Time) []byte {
	at := hour.Add(time.Duration(n*7919%3_600_000) * time.Millisecond)
	return fmt.Appendf(nil, `{"event_id":"%016x","event_type":"bench","event_time":%q,"received_at":%q,"user_id":"u%06d","page":"/item/%08d","agent":"%s"}`,
		n*2654435761, at.Format(time.RFC3339Nano), received.Format(time.RFC3339Nano), n*31%200_000, n, strings.Repeat("x", 120))
}

// generated is a source of events in memory.
type generated struct {
	from, to int
	received time.Time
}

func (g generated) Run(ctx context.Context, put ingest.Put) error {
	for n := g.from; n < g.to; n++ {
		r := ingest.Record{Bytes: payload(n, g.received), Source: "bench", Position: fmt.Sprint(n), Time: g.received}
		if err := put(ctx, r, func() {}); err != nil {
			return err
		}
	}
	return nil
}

func (b bench) child(ctx context.Context, work string) error {
	do := map[string]func(context.Context) (time.Duration, error){
		"raw batches": b.rawBatches, "ingest": b.ingestAll, "bare read": b.bareRead, "rebuild": b.rewrite, "merge": b.merge,
	}[work]
	if do == nil {
		return fmt.Errorf("no work is called %q", work)
	}
	took, err := do(ctx)
	if err != nil {
		return err
	}
	fmt.Println(took.Seconds())
	return nil
}

func (b bench) open(ctx context.Context) (*cassandra.Store, error) {
	return cassandra.Open(ctx, "cassandra://"+b.cassandra+"/"+b.run, quiet)
}

// session is a bare driver session with the settings a careful user would give.
func (b bench) session() (*gocql.Session, error) {
	c := gocql.NewCluster(b.cassandra)
	c.Keyspace, c.Consistency, c.Timeout = b.run, gocql.LocalQuorum, time.Minute
	c.PoolConfig.HostSelectionPolicy = gocql.TokenAwareHostPolicy(gocql.RoundRobinHostPolicy())
	return c.CreateSession()
}

// rawBatches writes the encoded events as same-partition batches, with as many
// in flight as ingest has, and nothing else.
func (b bench) rawBatches(ctx context.Context) (time.Duration, error) {
	s, err := b.session()
	if err != nil {
		return 0, err
	}
	defer s.Close()
	const table = `CREATE TABLE raw (lane text, seq int, event blob, PRIMARY KEY (lane, seq))
		WITH compaction = {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS', 'compaction_window_size': 1}`
	if err := s.Query(table).Exec(); err != nil {
		return 0, err
	}
	start := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for from := 0; from < b.events; from += batchRows {
		g.Go(func() error {
			batch := s.Batch(gocql.UnloggedBatch)
			for n := from; n < min(from+batchRows, b.events); n++ {
				e := afterhours.NewEvent(fmt.Sprintf("%016x", n), "bench", hour, hour, payload(n, hour))
				batch.Query(`INSERT INTO raw (lane, seq, event) VALUES (?, ?, ?)`, fmt.Sprint(n/segment), n, store.AppendEvent(nil, e))
			}
			return batch.ExecContext(ctx)
		})
	}
	err = g.Wait()
	return time.Since(start), err
}

// ingestAll brings the hour's events in through the whole path: mapping, store,
// index, marks, acknowledgement.
func (b bench) ingestAll(ctx context.Context) (time.Duration, error) {
	return b.ingest(ctx, generated{0, b.events, hour.Add(time.Minute)})
}

func (b bench) ingest(ctx context.Context, src generated) (time.Duration, error) {
	s, err := b.open(ctx)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	q, err := kafka.Open(ctx, "kafka://"+b.kafka+"/"+b.run, quiet)
	if err != nil {
		return 0, err
	}
	defer q.Close()
	m := ingest.Mapping{
		IDField: "event_id", TypeField: "event_type", TimeField: "event_time", ReceivedField: "received_at",
		AcceptPast: ingest.DefaultAcceptPast, AcceptFuture: ingest.DefaultAcceptFuture,
		Columns: []afterhours.Column{{Name: "user_id", Field: "user_id", Type: afterhours.String}},
	}
	start := time.Now()
	sum, err := ingest.Run(ctx, src, m, ingest.New(s, q, ingest.Options{Columns: m.Columns, Log: quiet}))
	took := time.Since(start)
	if err == nil && sum.Written != int64(src.to-src.from) {
		err = fmt.Errorf("%d of %d events were kept", sum.Written, src.to-src.from)
	}
	return took, err
}

// bareRead pages through the hour's rows, several lanes at once, and looks at
// nothing.
func (b bench) bareRead(ctx context.Context) (time.Duration, error) {
	s, err := b.session()
	if err != nil {
		return 0, err
	}
	defer s.Close()
	h := afterhours.HourOf("bench", afterhours.MicrosOf(hour))
	var lanes []string
	it := s.Query(`SELECT lane FROM segments WHERE event_type = ? AND hour = ?`, h.Type, h.Span()).IterContext(ctx)
	for lane := ""; it.Scan(&lane); {
		lanes = append(lanes, lane)
	}
	if err := it.Close(); err != nil {
		return 0, err
	}
	var rows atomic.Int64
	start := time.Now()
	var g errgroup.Group
	g.SetLimit(4)
	for _, lane := range lanes {
		g.Go(func() error {
			it := s.Query(`SELECT segment, seq, event FROM events WHERE event_type = ? AND hour = ? AND lane = ?`, h.Type, h.Span(), lane).
				PageSize(3000).IterContext(ctx)
			var seg, event []byte
			for seq := 0; it.Scan(&seg, &seq, &event); {
				rows.Add(1)
			}
			return it.Close()
		})
	}
	err = g.Wait()
	took := time.Since(start)
	if err == nil && rows.Load() != int64(b.events) {
		err = fmt.Errorf("read %d of %d rows", rows.Load(), b.events)
	}
	return took, err
}

// rewrite brings the hour's partition up to date.
func (b bench) rewrite(ctx context.Context) (time.Duration, error) {
	s, err := b.open(ctx)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	l, err := lake.Open(ctx, b.lakeURL(), lake.Options{Logger: quiet})
	if err != nil {
		return 0, err
	}
	defer l.Close()
	cfg := compact.Defaults()
	cfg.Workers, cfg.Logger = 1, quiet
	c, err := compact.New(s, l, cfg)
	if err != nil {
		return 0, err
	}
	out := c.Rewrite(ctx, afterhours.HourOf("bench", afterhours.MicrosOf(hour)))
	if out.Err == nil && out.Unchanged {
		return 0, fmt.Errorf("nothing was new")
	}
	return out.Elapsed, out.Err
}

// merge has late events come in, and measures the rewrite that they cause.
func (b bench) merge(ctx context.Context) (time.Duration, error) {
	if _, err := b.ingest(ctx, generated{b.events, b.events + b.late, hour.Add(48 * time.Hour)}); err != nil {
		return 0, err
	}
	return b.rewrite(ctx)
}
