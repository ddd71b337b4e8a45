package testenv_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/storage"
	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/gcsblob"
	_ "gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"

	"github.com/afterhours/afterhours/internal/testenv"
)

func TestCassandraRunsQueries(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(testenv.Keyspace(t))
	if err != nil {
		t.Fatal(err)
	}
	c := gocql.NewCluster(u.Host)
	c.Keyspace = strings.TrimPrefix(u.Path, "/")
	c.Timeout = 30 * time.Second
	c.PoolConfig.HostSelectionPolicy = gocql.DCAwareRoundRobinPolicy("dc1")
	session, err := c.CreateSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for _, stmt := range []string{
		"CREATE TABLE events (id text PRIMARY KEY, payload blob)",
		"INSERT INTO events (id, payload) VALUES ('a', 0x01)",
	} {
		if err := session.Query(stmt).Consistency(gocql.LocalQuorum).Exec(); err != nil {
			t.Fatal(err)
		}
	}
	var payload []byte
	var version string
	if err := session.Query("SELECT payload FROM events WHERE id = 'a'").Scan(&payload); err != nil || !bytes.Equal(payload, []byte{1}) {
		t.Errorf("payload = %x, %v, want 01", payload, err)
	}
	if err := session.Query("SELECT release_version FROM system.local").Scan(&version); err != nil || version != "5.0.5" {
		t.Errorf("version = %s, %v, want 5.0.5", version, err)
	}
}

// A topic is created, written, and read back after the log cleaner has removed
// the older of two records of a key.
func TestKafkaCompactsTopics(t *testing.T) {
	t.Parallel()
	topic := testenv.Topic(t, "marks")
	c, err := kgo.NewClient(kgo.SeedBrokers(testenv.Kafka(t)), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := kadm.NewClient(c).CreateTopic(t.Context(), 1, 1, map[string]*string{
		"cleanup.policy": ptr("compact"), "segment.bytes": ptr("1048576"), "segment.ms": ptr("1000"),
		"min.cleanable.dirty.ratio": ptr("0.01"), "min.compaction.lag.ms": ptr("0"),
	}, topic); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if err := c.ProduceSync(t.Context(), &kgo.Record{Key: []byte("k"), Value: fmt.Append(nil, i)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1100 * time.Millisecond) // let the segment roll
	}
	for read := 4; read > 2; {
		time.Sleep(500 * time.Millisecond)
		read = countRecords(t, topic)
		t.Logf("%d records left", read)
	}
}

// countRecords reads a topic of one partition to its end.
func countRecords(t *testing.T, topic string) (n int) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(testenv.Kafka(t)), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ends, err := kadm.NewClient(c).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, 0)
	for last := int64(-1); last < end.Offset-1; {
		fetches := c.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) { n, last = n+1, r.Offset })
	}
	return n
}

func TestS3HonoursConditions(t *testing.T) {
	t.Parallel()
	// 17 MiB, since the SDK uploads up to 16 MiB in one request, and losers of
	// single requests of several MiB see a reset connection: the gateway refuses
	// and hangs up while the body is still on its way.
	testConditions(t, testenv.S3(t), 17<<20, s3Version, func(version any) *blob.WriterOptions {
		return &blob.WriterOptions{BeforeWrite: func(as func(any) bool) error {
			var in *transfermanager.UploadObjectInput
			if !as(&in) {
				return errors.New("not an upload to S3")
			}
			in.IfMatch = version.(*string)
			return nil
		}}
	})
}

func TestGCSHonoursConditions(t *testing.T) {
	t.Parallel()
	testConditions(t, testenv.GCS(t), 6<<20, gcsVersion, func(version any) *blob.WriterOptions {
		return &blob.WriterOptions{BeforeWrite: func(as func(any) bool) error {
			var h **storage.ObjectHandle
			if !as(&h) {
				return errors.New("not an upload to GCS")
			}
			*h = (*h).If(storage.Conditions{GenerationMatch: version.(int64)})
			return nil
		}}
	})
}

func s3Version(r *blob.Reader) (any, bool) {
	var out s3.GetObjectOutput
	ok := r.As(&out)
	return out.ETag, ok
}

func gcsVersion(r *blob.Reader) (any, bool) {
	var gr *storage.Reader
	if !r.As(&gr) {
		return nil, false
	}
	return gr.Attrs.Generation, true
}

// testConditions creates an object and replaces it, each time by 8 writers of
// which one must win, with uploads of one request and, at size large, of several.
func testConditions(t *testing.T, bucketURL string, large int, version func(*blob.Reader) (any, bool), ifMatch func(any) *blob.WriterOptions) {
	bucket, err := blob.OpenBucket(t.Context(), bucketURL)
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	for _, size := range []int{100, large} {
		key := fmt.Sprintf("event_type=a b/hour=%d/events.parquet", size)
		race(t, bucket, key, size, func() *blob.WriterOptions { return &blob.WriterOptions{IfNotExist: true} })
		for range 2 {
			v := readVersion(t, bucket, key, size, version)
			race(t, bucket, key, size, func() *blob.WriterOptions { return ifMatch(v) })
		}
	}
	listed, _, err := bucket.ListPage(t.Context(), blob.FirstPageToken, 10, nil)
	if err != nil || len(listed) != 2 {
		t.Errorf("listed %d objects, %v, want 2", len(listed), err)
	}
}

// readVersion reads an object of the given size and returns what the same
// response says about its version.
func readVersion(t *testing.T, bucket *blob.Bucket, key string, size int, version func(*blob.Reader) (any, bool)) any {
	t.Helper()
	r, err := bucket.NewReader(t.Context(), key, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	v, ok := version(r)
	if !ok {
		t.Fatal("the reader shows no version")
	}
	if n, err := io.Copy(io.Discard, r); err != nil || n != int64(size) {
		t.Errorf("read %d bytes, %v, want %d", n, err, size)
	}
	return v
}

// race lets 8 writers write different bytes at once. One must win; the others
// must be told that the condition failed.
func race(t *testing.T, bucket *blob.Bucket, key string, size int, opts func() *blob.WriterOptions) {
	t.Helper()
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			data := make([]byte, size)
			rand.Read(data)
			o := opts()
			o.BufferSize = 5 << 20
			o.ContentType = "application/octet-stream"
			switch err := bucket.WriteAll(t.Context(), key, data, o); {
			case err == nil:
				won.Add(1)
			case gcerrors.Code(err) != gcerrors.FailedPrecondition && !strings.Contains(err.Error(), "ConditionalRequestConflict"):
				t.Errorf("writer %d: %v (%v)", i, err, gcerrors.Code(err))
			}
		})
	}
	wg.Wait()
	if n := won.Load(); n != 1 {
		t.Errorf("size %d: %d writers of 8 won", size, n)
	}
}

func TestCredentialsReachChildren(t *testing.T) {
	testenv.S3(t)
	testenv.GCS(t)
	for _, k := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "STORAGE_EMULATOR_HOST"} {
		if os.Getenv(k) == "" {
			t.Errorf("%s is not set", k)
		}
	}
}

func ptr(s string) *string { return &s }
