package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/compact"
	"github.com/afterhours/afterhours/dirty"
	dirtypebble "github.com/afterhours/afterhours/dirty/pebble"
	"github.com/afterhours/afterhours/ingest"
	"github.com/afterhours/afterhours/internal/testenv"
	"github.com/afterhours/afterhours/internal/testenv/servers"
	"github.com/afterhours/afterhours/lake"
	"github.com/afterhours/afterhours/store/pebble"
)

const (
	hourEvents = 5  // of a small hour
	hourTypes  = 20 // that small hours are of
)

// smallHours are many hours of few events, as late events leave them: ingest has put
// the rows into the embedded store and the marks into the embedded queue, and a
// compactor drains these, with board, feed and offsets. Every round drains the same
// marks, as another group, into a new lake.
func (s *suite) smallHours() group {
	return group{
		name:    "hours",
		needs:   map[string]string{servers.S3: s.s3},
		prepare: s.prepareHours,
		// Some file systems do not use the inodes of deleted files again for minutes,
		// and search among them: ext4 without a journal (recently_deleted in its
		// ialloc.c). The next round would be slower by what this one leaves.
		keeps: true,
		works: []work{
			{
				id: "hours", name: fmt.Sprintf("%s hours of %d events into a directory", count(s.Hours), hourEvents), rate: true,
				goal: goal{against: "hours_files", perSecond: 1000}, do: s.inDirectory("hours", "drain"),
			},
			{
				id: "hours_again", name: "the same hours with nothing new", rate: true,
				goal: goal{perSecond: 2000}, do: s.inDirectory("hours_again", "drain again"),
			},
			{id: "hours_files", name: "the same files, bare", rate: true, do: s.inDirectory("hours_files", "files")},
			{
				id: "s3_hours", name: fmt.Sprintf("%s hours of %d events to S3", count(s.S3Hours), hourEvents), rate: true,
				goal: goal{against: "s3_puts", times: 0.5}, do: s.onGateway("s3_hours", "drain"),
			},
			{id: "s3_puts", name: "the same objects, bare puts", rate: true, do: s.onGateway("s3_puts", "puts")},
		},
	}
}

func (s *suite) inDirectory(id, do string) func(context.Context, string) (figure, error) {
	return func(ctx context.Context, dir string) (figure, error) {
		t := s.hoursTask(do, "directory", s.Hours)
		t.Lake = fileURL(filepath.Join(dir, "lake"))
		return s.measure(ctx, id, t, s.Hours)
	}
}

// onGateway works on the round's part of the bucket, which stays until the gateway
// ends.
func (s *suite) onGateway(id, do string) func(context.Context, string) (figure, error) {
	return func(ctx context.Context, _ string) (figure, error) {
		t := s.hoursTask(do, "gateway", s.S3Hours)
		q := url.Values{"endpoint": {"http://" + s.s3}, "region": {servers.S3Region}, "use_path_style": {"true"}}
		t.Lake = fmt.Sprintf("s3://%s/round-%d?%s", bucketName(), s.round, q.Encode())
		return s.measure(ctx, id, t, s.S3Hours)
	}
}

func bucketName() string { return fmt.Sprintf("bench-%d", os.Getpid()) }

// hoursTask is a task on the rows and the marks below a directory.
func (s *suite) hoursTask(do, name string, hours int) task {
	dir := filepath.Join(s.dir, "hours", name)
	return task{Do: do, Store: pebbleURL(filepath.Join(dir, "store")), Queue: pebbleURL(filepath.Join(dir, "queue")), Hours: hours, Workers: s.Workers}
}

func (s *suite) prepareHours(ctx context.Context) error {
	for name, hours := range map[string]int{"directory": s.Hours, "gateway": s.S3Hours} {
		s.progress("write %s hours of %d events", count(hours), hourEvents)
		if _, err := s.hoursTask("strays", name, hours).start(ctx); err != nil {
			return err
		}
	}
	name := bucketName()
	_, err := testenv.S3Client("http://"+s.s3).CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: &name})
	return err
}

// smallHour is the n-th of the small hours: of several types, back from the hour.
func smallHour(n int) afterhours.Hour {
	at := hour.Add(-time.Duration(n/hourTypes) * time.Hour)
	return afterhours.HourOf(fmt.Sprintf("bench%02d", n%hourTypes), afterhours.MicrosOf(at))
}

// fillHours has ingest take the events of the small hours, which come mixed.
func fillHours(ctx context.Context, t task) (took, error) {
	b, err := openEmbedded(t)
	if err != nil {
		return took{}, err
	}
	defer b.close()
	w := ingest.New(b.store, b.queue, ingest.Options{Columns: benchColumns, Log: quiet})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.Run(ctx) })
	g.Go(func() error {
		defer w.Close()
		for n := range t.Hours * hourEvents {
			h, e := smallHour(n%t.Hours), event(n)
			e.Type, e.Time, e.Received = h.Type, h.Start+e.Time-benchHour().Start, afterhours.MicrosOf(time.Now())
			if err := w.Write(ctx, e, ingest.Record{Source: "bench"}, func() {}); err != nil {
				return err
			}
		}
		return nil
	})
	return took{}, g.Wait()
}

// backends are those of small hours.
type backends struct {
	store *pebble.Store
	queue *dirtypebble.Queue
}

func openEmbedded(t task) (b backends, err error) {
	if b.store, err = pebble.Open(strings.TrimPrefix(t.Store, "pebble://"), pebble.Options{Logger: quiet}); err != nil {
		return b, err
	}
	if b.queue, err = dirtypebble.Open(strings.TrimPrefix(t.Queue, "pebble://"), dirtypebble.Options{Logger: quiet}); err != nil {
		return b, errors.Join(err, b.store.Close())
	}
	return b, nil
}

func (b backends) close() error { return errors.Join(b.queue.Close(), b.store.Close()) }

// drain serves all marks, as the command `compactor once` does.
func drain(ctx context.Context, t task) (took, error) {
	elapsed, sum, err := drainAll(ctx, t, false)
	return took{elapsed.Seconds(), sum.Rewritten}, err
}

// drainAgain marks all hours once more, and serves these marks.
func drainAgain(ctx context.Context, t task) (took, error) {
	elapsed, sum, err := drainAll(ctx, t, true)
	return took{elapsed.Seconds(), sum.Unchanged}, err
}

func drainAll(ctx context.Context, t task, again bool) (elapsed time.Duration, sum compact.Summary, err error) {
	b, err := openEmbedded(t)
	if err != nil {
		return 0, sum, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	l, err := lake.Open(ctx, t.Lake, lake.Options{Logger: quiet})
	if err != nil {
		return 0, sum, err
	}
	defer l.Close()
	c, err := compact.New(b.store, l, config(t.Workers))
	if err != nil {
		return 0, sum, err
	}
	if again {
		hours := make([]afterhours.Hour, t.Hours)
		for n := range hours {
			hours[n] = smallHour(n)
		}
		if err := b.queue.Mark(ctx, hours...); err != nil {
			return 0, sum, err
		}
	}
	elapsed, err = t.time(func() error {
		marks, err := b.queue.Consume(ctx, l.URL(), dirty.Options{Drain: true})
		if err != nil {
			return err
		}
		sum, err = c.Drain(ctx, marks, compact.Limits{})
		return errors.Join(err, marks.Close())
	})
	return elapsed, sum, err
}

// bareFiles writes the files of a lake once more, to other directories of the same
// shape, each as durably: created, synced, renamed, with its directory and the one
// above synced. That is what the disk allows.
func bareFiles(ctx context.Context, t task) (took, error) {
	root := strings.TrimPrefix(t.Lake, "file://")
	files := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".parquet" {
			return err
		}
		files[strings.TrimPrefix(path, root)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		return took{}, err
	}
	bare := root + "-bare"
	if err := os.Mkdir(bare, 0o777); err != nil {
		return took{}, err
	}
	elapsed, err := t.time(func() error {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(t.Workers)
		for name, content := range files {
			g.Go(func() error {
				if err := ctx.Err(); err != nil {
					return err
				}
				return writeDurably(bare, filepath.Join(bare, name), content)
			})
		}
		return g.Wait()
	})
	return took{elapsed.Seconds(), int64(len(files))}, err
}

func writeDurably(root, name string, content []byte) error {
	f, err := os.CreateTemp(root, "")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if err := errors.Join(syncDir(filepath.Dir(dir)), os.Rename(f.Name(), name)); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// barePuts puts the objects of a lake once more, under other keys, each on the
// condition that there is none.
func barePuts(ctx context.Context, t task) (took, error) {
	u, err := url.Parse(t.Lake)
	if err != nil {
		return took{}, err
	}
	c := testenv.S3Client(u.Query().Get("endpoint"), func(o *awss3.Options) {
		o.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) { tr.MaxIdleConnsPerHost = t.Workers })
	})
	prefix := strings.TrimPrefix(u.Path, "/")
	objects, err := getAll(ctx, c, u.Host, prefix, t.Workers)
	if err != nil {
		return took{}, err
	}
	elapsed, err := t.time(func() error {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(t.Workers)
		for key, content := range objects {
			g.Go(func() error {
				_, err := c.PutObject(ctx, &awss3.PutObjectInput{
					Bucket: &u.Host, Key: aws.String("bare-" + key), IfNoneMatch: aws.String("*"), Body: bytes.NewReader(content),
				})
				return err
			})
		}
		return g.Wait()
	})
	return took{elapsed.Seconds(), int64(len(objects))}, err
}

// getAll gets the partitions below a prefix.
func getAll(ctx context.Context, c *awss3.Client, bucket, prefix string, workers int) (map[string][]byte, error) {
	objects := map[string][]byte{}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	pages := awss3.NewListObjectsV2Paginator(c, &awss3.ListObjectsV2Input{Bucket: &bucket, Prefix: aws.String(prefix + "/event_type=")})
	for pages.HasMorePages() {
		p, err := pages.NextPage(ctx)
		if err != nil {
			return nil, errors.Join(err, g.Wait())
		}
		for _, o := range p.Contents {
			g.Go(func() error {
				out, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: &bucket, Key: o.Key})
				if err != nil {
					return err
				}
				content, err := io.ReadAll(out.Body)
				mu.Lock()
				defer mu.Unlock()
				objects[*o.Key] = content
				return errors.Join(err, out.Body.Close())
			})
		}
	}
	return objects, g.Wait()
}
