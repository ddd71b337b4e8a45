package cassandra

import (
	"context"
	"sync/atomic"
	"testing"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/internal/testenv"
	"github.com/afterhours/afterhours/store"
)

const (
	benchBatch = 100 // rows
	benchLanes = 8
	inFlight   = 16 // batches per processor
)

// bare is a session as the driver makes it, for floors.
func bare(b *testing.B, url string) *gocql.Session {
	b.Helper()
	c := gocql.NewCluster(testenv.Cassandra(b))
	c.Keyspace = keyspaceOf(url)
	c.Consistency = gocql.LocalQuorum
	s, err := c.CreateSession()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	return s
}

// BenchmarkAppend writes batches of 100 rows with payloads of 300 bytes to several
// lanes, many at once. Its floor is the driver with the same batches, encoded
// beforehand.
func BenchmarkAppend(b *testing.B) {
	url := testenv.Keyspace(b)
	s := open(b, url)
	raw := bare(b, url)
	lanes := make([]store.Lane, benchLanes)
	for i := range lanes {
		lanes[i] = store.OwnLane(afterhours.NewSegment())
	}
	b.Run("store", func(b *testing.B) {
		parallel(b, func(ctx context.Context, n uint32) error {
			return s.Append(ctx, tenOClock, lanes[n%benchLanes].Name, now(), testRows(n*benchBatch, benchBatch))
		})
	})
	b.Run("floor", func(b *testing.B) {
		event := store.AppendEvent(nil, testRows(0, 1)[0].Event)
		parallel(b, func(ctx context.Context, n uint32) error {
			batch := raw.Batch(gocql.UnloggedBatch)
			for i := range uint32(benchBatch) {
				batch.Query(s.insertRow, tenOClock.Type, tenOClock.Span(), lanes[n%benchLanes].Name+"f", segment[:], int64(n*benchBatch+i), event)
			}
			return batch.ExecContext(ctx)
		})
	})
}

// parallel calls f with the numbers of batches and reports events per second.
func parallel(b *testing.B, f func(ctx context.Context, n uint32) error) {
	var last atomic.Uint32
	b.SetParallelism(inFlight)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if err := f(b.Context(), last.Add(1)-1); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(benchBatch*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkReadRows reads a closed lane of 50,000 rows. Its floor is the driver
// reading the same cells in pages of the same size.
func BenchmarkReadRows(b *testing.B) {
	const rows = 50_000
	url := testenv.Keyspace(b)
	s := open(b, url)
	raw := bare(b, url)
	lane := store.Lane{Name: segment.String(), Closed: true, Rows: rows, Bytes: rows * 320}
	for first := uint32(0); first < rows; first += benchBatch {
		if err := s.Append(b.Context(), tenOClock, lane.Name, now(), testRows(first, benchBatch)); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("store", func(b *testing.B) {
		repeatedly(b, rows, func() (n int, err error) {
			err = s.ReadRows(b.Context(), tenOClock, lane, nil, func(store.Row) error { n++; return nil })
			return n, err
		})
	})
	b.Run("floor", func(b *testing.B) {
		repeatedly(b, rows, func() (n int, err error) {
			it := raw.Query("SELECT segment, seq, event FROM events WHERE event_type = ? AND hour = ? AND lane = ?",
				tenOClock.Type, tenOClock.Span(), lane.Name).PageSize(pageSize(lane.Rows, lane.Bytes)).IterContext(b.Context())
			var segment, event []byte
			var seq int64
			for it.Scan(&segment, &seq, &event) {
				n++
			}
			return n, it.Close()
		})
	})
}

// repeatedly calls f, which reads so many rows, and reports rows per second.
func repeatedly(b *testing.B, rows int, f func() (int, error)) {
	for b.Loop() {
		if n, err := f(); n != rows || err != nil {
			b.Fatalf("read %d rows, %v", n, err)
		}
	}
	b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "rows/s")
}
