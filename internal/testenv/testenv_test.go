package testenv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
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
	"google.golang.org/api/googleapi"

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
	small, dirty, delay := "1000", "0.01", "0"
	if _, err := kadm.NewClient(c).CreateTopic(t.Context(), 1, 1, map[string]*string{
		"cleanup.policy": ptr("compact"), "segment.bytes": ptr("1048576"), "segment.ms": &small,
		"min.cleanable.dirty.ratio": &dirty, "min.compaction.lag.ms": &delay,
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
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
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
	testConditions(t, testenv.S3(t), s3Version, func(version any) *blob.WriterOptions {
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
	testConditions(t, testenv.GCS(t), gcsVersion, func(version any) *blob.WriterOptions {
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
// which one must win, with uploads of one request and of several.
func testConditions(t *testing.T, bucketURL string, version func(*blob.Reader) (any, bool), ifMatch func(any) *blob.WriterOptions) {
	bucket, err := blob.OpenBucket(t.Context(), bucketURL)
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	for _, size := range []int{100, 20 << 20} {
		key := fmt.Sprintf("event_type=a b/hour=%d/events.parquet", size)
		won := race(t, bucket, key, size, func() *blob.WriterOptions { return &blob.WriterOptions{IfNotExist: true} })
		if won != 1 {
			t.Errorf("size %d: %d writers of 8 created the object", size, won)
		}
		for range 3 {
			r, err := bucket.NewReader(t.Context(), key, nil)
			if err != nil {
				t.Fatal(err)
			}
			v, ok := version(r)
			if !ok {
				t.Fatal("the reader shows no version")
			}
			if n, err := io.Copy(io.Discard, r); err != nil || n != int64(size) {
				t.Errorf("read %d bytes, %v, want %d", n, err, size)
			}
			r.Close()
			if won := race(t, bucket, key, size, func() *blob.WriterOptions { return ifMatch(v) }); won != 1 {
				t.Errorf("size %d: %d writers of 8 replaced the object", size, won)
			}
		}
	}
	listed, _, err := bucket.ListPage(t.Context(), blob.FirstPageToken, 10, nil)
	if err != nil || len(listed) != 2 {
		t.Errorf("listed %d objects, %v, want 2", len(listed), err)
	}
}

// race lets 8 writers write different bytes at once and returns how many did.
// The others must be told that the condition failed.
func race(t *testing.T, bucket *blob.Bucket, key string, size int, opts func() *blob.WriterOptions) int {
	t.Helper()
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			data := bytes.Repeat([]byte{byte(i)}, size)
			data = append(data[:size-8], fmt.Sprintf("%08d", time.Now().Nanosecond()%1e8)...)
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
	return int(won.Load())
}

// What fake-gcs-server ignores by itself.
func TestGCSHonoursOtherConditions(t *testing.T) {
	t.Parallel()
	name := strings.TrimPrefix(testenv.GCS(t), "gs://")
	client, err := storage.NewClient(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, b := t.Context(), client.Bucket(name)
	write := func(o *storage.ObjectHandle) int64 {
		w := o.NewWriter(ctx)
		io.WriteString(w, "text")
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return w.Attrs().Generation
	}
	o, other := b.Object("a b/c"), b.Object("d")
	now, of := write(o), write(other)
	is := func(g int64) storage.Conditions { return storage.Conditions{GenerationMatch: g} }
	read := func(o *storage.ObjectHandle) error {
		r, err := o.NewRangeReader(ctx, 1, 2)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.ReadAll(r)
		return err
	}
	compose := func(to, from *storage.ObjectHandle) error {
		_, err := to.ComposerFrom(from).Run(ctx)
		return err
	}
	rewrite := func(to, from *storage.ObjectHandle) error {
		_, err := to.CopierFrom(from).Run(ctx)
		return err
	}
	attrs := func(o *storage.ObjectHandle) error { _, err := o.Attrs(ctx); return err }
	for _, tt := range []struct {
		name string
		err  error
		want int
	}{
		{"read, stale", read(o.If(is(now + 1))), 412},
		{"read", read(o.If(is(now))), 200},
		{"attributes, stale", attrs(o.If(is(now + 1))), 412},
		{"attributes", attrs(o.If(is(now))), 200},
		{"compose, stale source", compose(b.Object("new"), other.If(is(of+1))), 412},
		{"compose, stale target", compose(o.If(is(now+1)), other), 412},
		{"compose onto existing as absent", compose(o.If(storage.Conditions{DoesNotExist: true}), other), 412},
		{"compose", compose(b.Object("new").If(storage.Conditions{DoesNotExist: true}), other.If(is(of))), 200},
		{"rewrite, stale source", rewrite(b.Object("copy"), other.If(is(of+1))), 412},
		{"rewrite, stale target", rewrite(o.If(is(now+1)), other), 412},
		{"rewrite", rewrite(b.Object("copy"), other.If(is(of))), 200},
		{"delete, stale", o.If(is(now + 1)).Delete(ctx), 412},
		{"delete", o.If(is(now)).Delete(ctx), 200},
	} {
		if got := statusOf(tt.err); got != tt.want {
			t.Errorf("%s: status %d (%v), want %d", tt.name, got, tt.err, tt.want)
		}
	}
}

func statusOf(err error) int {
	var e *googleapi.Error
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &e):
		return e.Code
	}
	return 0
}

// A slow upload that a faster one has overtaken must not win, and must not
// hold the faster one up.
func TestGCSUploadOvertaken(t *testing.T) {
	t.Parallel()
	bucket, err := blob.OpenBucket(t.Context(), testenv.GCS(t))
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	slow, err := bucket.NewWriter(ctx, "k", &blob.WriterOptions{IfNotExist: true, BufferSize: 256 << 10, ContentType: "text/plain"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Write(make([]byte, 300<<10)); err != nil {
		t.Fatal(err)
	}
	if err := bucket.WriteAll(ctx, "k", []byte("fast"), &blob.WriterOptions{IfNotExist: true}); err != nil {
		t.Fatalf("the fast upload: %v", err)
	}
	if err := slow.Close(); gcerrors.Code(err) != gcerrors.FailedPrecondition {
		t.Errorf("the slow upload: %v, want a failed precondition", err)
	}
	if b, err := bucket.ReadAll(ctx, "k"); string(b) != "fast" {
		t.Errorf("object = %.20q, %v, want fast", b, err)
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
