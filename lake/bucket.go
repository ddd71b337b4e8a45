package lake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path"
	"strings"

	"gocloud.dev/blob"
)

// parquetType is the media type of partitions.
const parquetType = "application/vnd.apache.parquet"

// provider is what differs between S3 and Google Cloud Storage.
type provider interface {
	// reading returns how objects are read.
	reading() *blob.ReaderOptions

	// version returns the version of the object that a response carries.
	version(r *blob.Reader) (string, error)

	// listed returns a listed object's true key and version.
	listed(o *blob.ListObject) (key, version string, err error)

	// writing makes an upload depend on the version it replaces, "" for none, and
	// returns what knows the version it made once it is complete. inParts asks
	// for an upload in several requests, however small it is.
	writing(version string, inParts bool) (o *blob.WriterOptions, made func() string, err error)

	// absent reports whether an error says that the object certainly is not
	// there: "forbidden" and "no such bucket" do not.
	absent(err error) bool

	// conflict reports whether an error says that a condition did not hold, or that
	// an object is shorter than it was. replace says that it was about a version.
	conflict(err error, replace bool) bool

	// explain says what a person can do about an error, or nothing.
	explain(err error) string

	// severalParts is a size, in bytes, that takes several requests if it is sent
	// in parts.
	severalParts() int
}

// bucket keeps objects in an object store, below a prefix.
type bucket struct {
	*blob.Bucket
	provider
	prefix  string // empty, or ends with a slash
	tempDir string
}

func openBucket(ctx context.Context, u *url.URL, tempDir string) (string, objects, error) {
	if u.Host == "" {
		return "", nil, fmt.Errorf("no bucket: want %s://BUCKET/PREFIX", u.Scheme)
	}
	if u.User != nil || u.Fragment != "" {
		return "", nil, errors.New("credentials and fragments do not belong here: give credentials as the cloud's SDK takes them")
	}
	q := u.Query()
	if q.Has("prefix") {
		return "", nil, fmt.Errorf("parameter prefix: write the prefix as the path, %s://BUCKET/PREFIX", u.Scheme)
	}
	prefix := strings.Trim(u.Path, "/")
	if prefix != "" && path.Clean(prefix) != prefix {
		return "", nil, fmt.Errorf("prefix %q: want names separated by single slashes", prefix)
	}
	b, err := blob.OpenBucket(ctx, (&url.URL{Scheme: u.Scheme, Host: u.Host, RawQuery: u.RawQuery}).String())
	if err != nil {
		return "", nil, err
	}
	k := &bucket{Bucket: b, provider: gcs{}, prefix: prefix, tempDir: tempDir}
	name := url.URL{Scheme: u.Scheme, Host: u.Host, Path: prefix}
	if prefix != "" {
		k.prefix += "/"
	}
	if u.Scheme == "s3" {
		if k.provider, err = newS3(b); err != nil {
			return "", nil, errors.Join(err, b.Close())
		}
		// Buckets of the same name at different endpoints are different lakes.
		if e, err := url.Parse(q.Get("endpoint")); err == nil && e.Host != "" {
			name.RawQuery = url.Values{"endpoint": {(&url.URL{Scheme: e.Scheme, Host: e.Host, Path: e.Path}).String()}}.Encode()
		}
	}
	return name.String(), k, nil
}

func (b *bucket) get(ctx context.Context, key string) (*object, error) {
	return b.read(ctx, key, b.download)
}

// stat gets the object, but leaves its bytes where they are: unlike an answer
// without any, a refusal says whether it is the object that is absent.
func (b *bucket) stat(ctx context.Context, key string) (*object, error) {
	return b.read(ctx, key, func(r *blob.Reader) (*object, error) {
		version, err := b.version(r)
		return &object{size: r.Size(), version: version}, err
	})
}

// read hands the answer of a request for an object to use, unless there is none.
func (b *bucket) read(ctx context.Context, key string, use func(*blob.Reader) (*object, error)) (*object, error) {
	r, err := b.NewReader(ctx, b.prefix+key, b.reading())
	if err != nil {
		if b.absent(err) {
			return nil, nil
		}
		return nil, b.explained(err)
	}
	o, err := use(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, b.explained(err)
	}
	return o, nil
}

func (b *bucket) tail(ctx context.Context, o Object, n int64) ([]byte, error) {
	r, err := b.NewRangeReader(ctx, b.prefix+o.Key, o.Size-n, n, b.reading())
	if err != nil {
		if b.absent(err) || b.conflict(err, true) {
			return nil, fmt.Errorf("%w: %w", ErrConflict, err)
		}
		return nil, b.explained(err)
	}
	defer r.Close()
	version, err := b.version(r)
	if err != nil {
		return nil, err
	}
	if version != o.Version {
		return nil, ErrConflict
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil, fmt.Errorf("read the last %d bytes: %w", n, b.explained(err))
	}
	return buf, nil
}

// download copies a response to a temporary file.
func (b *bucket) download(r *blob.Reader) (*object, error) {
	version, err := b.version(r)
	if err != nil {
		return nil, err
	}
	f, err := temp(b.tempDir)
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(f, r)
	if err == nil && n != r.Size() {
		err = fmt.Errorf("download ended after %d of %d bytes", n, r.Size())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &object{file: f, size: n, version: version}, nil
}

func (b *bucket) create() (*os.File, error) { return temp(b.tempDir) }

func (b *bucket) put(ctx context.Context, key string, f *os.File, base *object) (version string, err error) {
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if base != nil {
		version = base.version
	}
	return b.upload(ctx, key, io.NewSectionReader(f, 0, st.Size()), st.Size(), version, false)
}

// upload writes an object if its newest version is the given one, "" for none,
// and returns the version that it has become.
func (b *bucket) upload(ctx context.Context, key string, src io.Reader, size int64, version string, inParts bool) (string, error) {
	o, made, err := b.writing(version, inParts)
	if err != nil {
		return "", err
	}
	o.ContentType, o.DisableContentTypeDetection = parquetType, true
	err = b.write(ctx, b.prefix+key, src, size, o)
	if err == nil {
		return made(), nil
	}
	if ctx.Err() != nil {
		return "", err
	}
	var slow net.Error
	if b.conflict(err, version != "") || errors.As(err, &slow) && slow.Timeout() {
		return "", fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return "", b.explained(err)
}

// write sends all of src or nothing: to close a writer publishes what it was
// given so far, save when its context is cancelled before.
func (b *bucket) write(ctx context.Context, key string, src io.Reader, size int64, o *blob.WriterOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := b.NewWriter(ctx, key, o)
	if err != nil {
		return err
	}
	n, err := io.Copy(w, src)
	if err == nil && n != size {
		err = fmt.Errorf("upload ended after %d of %d bytes", n, size)
	}
	if err != nil {
		cancel()
		return errors.Join(err, w.Close())
	}
	return w.Close()
}

func (b *bucket) list(ctx context.Context, visit func(Object) error) error {
	all := b.List(&blob.ListOptions{Prefix: b.prefix})
	for {
		o, err := all.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return b.explained(err)
		}
		key, version, err := b.listed(o)
		if err != nil {
			return err
		}
		if err := visit(Object{Key: strings.TrimPrefix(key, b.prefix), Size: o.Size, Modified: o.ModTime, Version: version}); err != nil {
			return err
		}
	}
}

func (b *bucket) explained(err error) error {
	if remedy := b.explain(err); remedy != "" {
		return fmt.Errorf("%w: %s", err, remedy)
	}
	return err
}

func (b *bucket) close() error { return b.Close() }
