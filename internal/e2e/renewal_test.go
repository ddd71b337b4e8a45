package e2e

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afterhours/afterhours"
	dirtypebble "github.com/afterhours/afterhours/dirty/pebble"
	"github.com/afterhours/afterhours/ingest"
	"github.com/afterhours/afterhours/internal/testenv"
	"github.com/afterhours/afterhours/store"
	"github.com/afterhours/afterhours/store/cassandra"
)

// TestIndexRowsAreRenewed: on a real server with a TTL far below an hour, the index
// leads to every row that lives, in lanes of both kinds that get rows for longer than
// an index row lives.
func TestIndexRowsAreRenewed(t *testing.T) {
	t.Parallel()
	const ttl = 4 * time.Second
	quiet := slog.New(slog.DiscardHandler)
	s, err := cassandra.Open(t.Context(), testenv.Keyspace(t)+"?ttl="+ttl.String(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	marks, err := dirtypebble.Open(t.TempDir(), dirtypebble.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer marks.Close()
	w := ingest.New(s, marks, ingest.Options{Log: quiet})
	ended := make(chan error, 1)
	go func() { ended <- w.Run(t.Context()) }()

	begun, n := time.Now(), 0
	times := map[string]time.Time{"own": begun, "shared": begun.AddDate(0, 0, -5)}
	var acked [2]atomic.Int64 // events, by kind
	for ; time.Since(begun) < 3*ttl; n++ {
		for kind, name := range []string{"own", "shared"} {
			e := afterhours.NewEvent(fmt.Sprint("e", n), name, times[name], time.Now(), nil)
			if err := w.Write(t.Context(), e, ingest.Record{}, func() { acked[kind].Add(1) }); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	for kind, name := range []string{"own", "shared"} {
		h := afterhours.HourOf(name, afterhours.MicrosOf(times[name]))
		read := 0
		lanes, err := s.Lanes(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lanes {
			if err := s.ReadRows(t.Context(), h, l, nil, func(store.Row) error { read++; return nil }); err != nil {
				t.Fatal(err)
			}
		}
		// Those of the last second, at least, are acknowledged and live.
		if read < 10 {
			t.Errorf("%s: %d events acknowledged; %d lanes lead to %d rows", name, acked[kind].Load(), len(lanes), read)
		}
	}
	w.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
