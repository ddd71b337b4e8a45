package lake

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/afterhours/afterhours"
)

var benchColumns = []afterhours.Column{{Name: "user_id", Field: "user_id", Type: afterhours.String}}

// benchRows returns n events of 300 B of 50,000 users, in no order.
func benchRows(n int) []row {
	r := rand.New(rand.NewPCG(1, 2))
	rows := make([]row, n)
	for i := range rows {
		at := hour.Start + afterhours.Micros(r.Int64N(3600e6))
		var noise [70]byte
		for j := range noise {
			noise[j] = byte(r.Uint32())
		}
		payload := fmt.Sprintf(`{"event_id":"%016x","event_type":"purchase","event_time":"%s","user_id":"user-%05d","amount":%d,"data":"%s"}`,
			r.Uint64(), at, r.IntN(50000), r.IntN(10000), hex.EncodeToString(noise[:]))
		rows[i] = row{
			afterhours.RowID{Seq: uint32(i)},
			afterhours.Event{ID: fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()), Type: hour.Type, Time: at, Received: at, Payload: []byte(payload)},
		}
	}
	return rows
}

func openBench(b *testing.B) *Lake {
	l, err := Open(context.Background(), "file://"+b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	return l
}

// BenchmarkRebuild1M publishes an hour of a million events from memory.
func BenchmarkRebuild1M(b *testing.B) {
	rows := benchRows(1_000_000)
	b.ReportAllocs()
	for b.Loop() {
		l := openBench(b)
		res, err := rewrite(l, hour, RewriteOptions{Columns: benchColumns, Rebuild: true}, rows...)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(res.Bytes)/float64(res.Manifest.Rows), "bytes/row")
	}
	b.ReportMetric(1e6*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkMerge publishes late events, a tenth of them copies, of an hour that
// has many.
func BenchmarkMerge(b *testing.B) {
	for name, events := range map[string]int{"1M": 1_000_000, "10M": 10_000_000} {
		b.Run("into "+name, func(b *testing.B) {
			rows := benchRows(events)
			l := openBench(b)
			o := RewriteOptions{Columns: benchColumns}
			if _, err := rewrite(l, hour, o, rows...); err != nil {
				b.Fatal(err)
			}
			seq := uint32(events)
			for _, n := range []int{1, 10, 1000} {
				late := rows[:n]
				b.Run(fmt.Sprint(n), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						for j := range late {
							late[j].id.Seq = seq
							if seq++; j >= n/10 {
								late[j].e.ID = fmt.Sprintf("late-%d", seq)
							}
						}
						if _, err := rewrite(l, hour, o, late...); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}

// BenchmarkVerify1M decodes an hour of a million events in full.
func BenchmarkVerify1M(b *testing.B) {
	l := openBench(b)
	if _, err := rewrite(l, hour, RewriteOptions{Columns: benchColumns}, benchRows(1_000_000)...); err != nil {
		b.Fatal(err)
	}
	base, err := l.Base(context.Background(), hour)
	if err != nil {
		b.Fatal(err)
	}
	defer base.Close()
	for b.Loop() {
		if err := base.Verify(); err != nil {
			b.Fatal(err)
		}
	}
}
