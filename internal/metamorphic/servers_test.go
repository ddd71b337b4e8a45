package metamorphic

import (
	"context"
	"errors"
	"testing"
	"time"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/s3blob"

	"github.com/afterhours/afterhours/dirty"
	"github.com/afterhours/afterhours/dirty/kafka"
	"github.com/afterhours/afterhours/internal/testenv"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store"
	"github.com/afterhours/afterhours/store/cassandra"
)

// realSite is a site on Cassandra, Kafka and S3.
func realSite(t *testing.T) *site {
	t.Helper()
	at, place := testenv.Keyspace(t), testenv.S3(t)
	topic := "kafka://" + testenv.Kafka(t) + "/" + testenv.Topic(t, "marks")
	bucket, err := blob.OpenBucket(context.Background(), place)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, clock: &clock{real: true}}
	s.read = func(o lake.Object) ([]byte, error) { return bucket.ReadAll(context.Background(), o.Key) }
	s.open = func() (store.Store, dirty.Queue, *lake.Lake) {
		st, err1 := cassandra.Open(context.Background(), at, quiet)
		q, err2 := kafka.Open(context.Background(), topic, quiet)
		l, err3 := lake.Open(context.Background(), place, lake.Options{TempDir: t.TempDir(), Logger: quiet})
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		return st, q, l
	}
	s.store, s.queue, s.lake = s.open()
	t.Cleanup(func() {
		s.close()
		if err := bucket.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// On Cassandra, Kafka and S3 the same events give the same bytes as embedded.
func TestRealServersGiveTheSame(t *testing.T) {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano()) >> 10
	}
	w, want := plainWay(t, s, 120)
	for i := range *variants - 1 {
		tryVariant(t, w, want, newRun(realSite(t), variant(s, i), w), s)
	}
}
