package ingest

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// buckets are the buckets opened so far, by URL without the key.
type buckets map[string]*blob.Bucket

func (b buckets) open(ctx context.Context, u *url.URL) (*blob.Bucket, error) {
	at := url.URL{Scheme: u.Scheme, Host: u.Host, RawQuery: u.RawQuery}
	if bucket := b[at.String()]; bucket != nil {
		return bucket, nil
	}
	bucket, err := blob.OpenBucket(ctx, at.String())
	if err != nil {
		return nil, err
	}
	b[at.String()] = bucket
	return bucket, nil
}

// close ends reading; what goes wrong then concerns no line that was read.
func (b buckets) close() {
	for _, bucket := range b {
		_ = bucket.Close()
	}
}

// objects is an object, or every object below a prefix that ends in a slash.
func (b buckets) objects(ctx context.Context, name string) ([]input, error) {
	u, err := url.Parse(name)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", name, err)
	}
	bucket, err := b.open(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("open bucket of %s: %w", name, err)
	}
	key := strings.TrimPrefix(u.Path, "/")
	place := u.Scheme + "://" + u.Host + "/"
	if key != "" && !strings.HasSuffix(key, "/") {
		if _, err := bucket.Attributes(ctx, key); err != nil {
			return nil, fmt.Errorf("read %s: %w", place+key, absent(err))
		}
		return []input{object(bucket, place, key)}, nil
	}
	var all []input
	for it := bucket.List(&blob.ListOptions{Prefix: key}); ; {
		o, err := it.Next(ctx)
		switch {
		case err == io.EOF && len(all) == 0:
			return nil, fmt.Errorf("read %s: there is no object below it", place+key)
		case err == io.EOF:
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("list %s: %w", place+key, err)
		case !o.IsDir && o.Size > 0: // empty objects with a final slash are somebody's "directories"
			all = append(all, object(bucket, place, o.Key))
		}
	}
}

func absent(err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound {
		return fmt.Errorf("there is no such object, or no permission to read it: %w", err)
	}
	return err
}

func object(bucket *blob.Bucket, place, key string) input {
	return input{place + key, func(ctx context.Context) (io.ReadCloser, time.Time, error) {
		r, err := bucket.NewReader(ctx, key, nil)
		if err != nil {
			return nil, time.Time{}, fmt.Errorf("read %s: %w", place+key, absent(err))
		}
		return r, r.ModTime(), nil
	}}
}
