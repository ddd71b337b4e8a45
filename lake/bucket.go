package lake

import (
	"context"
	"crypto/rand"
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

// uploadParts is how many parts of an upload to S3 are under way, and so in
// memory, at once.
const uploadParts = 3

// provider is what differs between S3 and Google Cloud Storage.
type provider interface {
	// reading returns how objects are read.
	reading() *blob.ReaderOptions

	// version returns the version of the object that a response carries.
	version(r *blob.Reader) (string, error)

	// listed returns a listed object's true key and version.
	listed(o *blob.ListObject) (key, version string, err error)

	// expect makes an upload depend on a version.
	expect(version string) (func(as func(any) bool) error, error)

	// absent reports whether an error says that the object certainly is not
	// there: "forbidden" and "no such bucket" do not.
	absent(err error) bool

	// conflict reports whether an error says that a condition did not hold.
	// replace says that it was one on a version.
	conflict(err error, replace bool) bool

	// explain says what a person can do about an error, or nothing.
	explain(err error) string

	// partSize is the smallest size of parts, in bytes, and twoParts the size of
	// an upload that takes several requests with it.
	partSize() int
	twoParts() int
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
		k.provider = s3{}
		// Buckets of the same name at different endpoints are different lakes.
		if e, err := url.Parse(q.Get("endpoint")); err == nil && e.Host != "" {
			name.RawQuery = url.Values{"endpoint": {(&url.URL{Scheme: e.Scheme, Host: e.Host, Path: e.Path}).String()}}.Encode()
		}
	}
	return name.String(), k, nil
}

func (b *bucket) get(ctx context.Context, key string) (*object, error) {
	r, err := b.NewReader(ctx, b.prefix+key, b.reading())
	if err != nil {
		if b.absent(err) {
			return nil, nil
		}
		return nil, b.explained(err)
	}
	o, err := b.download(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, b.explained(err)
	}
	return o, nil
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

func (b *bucket) put(ctx context.Context, key string, f *os.File, base *object) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	version := ""
	if base != nil {
		version = base.version
	}
	return b.upload(ctx, key, io.NewSectionReader(f, 0, st.Size()), st.Size(), version, 0)
}

// upload writes an object if its newest version is the given one, "" for none.
func (b *bucket) upload(ctx context.Context, key string, src io.Reader, size int64, version string, partSize int) error {
	o := &blob.WriterOptions{
		ContentType: parquetType, DisableContentTypeDetection: true,
		BufferSize: partSize, MaxConcurrency: uploadParts,
	}
	if version == "" {
		o.IfNotExist = true
	} else {
		var err error
		if o.BeforeWrite, err = b.expect(version); err != nil {
			return err
		}
	}
	err := b.write(ctx, b.prefix+key, src, size, o)
	if err == nil || ctx.Err() != nil {
		return err
	}
	var slow net.Error
	if b.conflict(err, version != "") || errors.As(err, &slow) && slow.Timeout() {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return b.explained(err)
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

// prove tries every kind of conditional upload against an object of its own.
func (b *bucket) prove(ctx context.Context) (err error) {
	name := "_proof/" + rand.Text()
	for _, size := range []int{1, b.twoParts()} {
		p := &proof{bucket: b, key: fmt.Sprintf("%s-%d", name, size), size: size}
		err := p.run(ctx)
		if cleanup := p.remove(context.WithoutCancel(ctx)); err == nil {
			err = cleanup
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// proof is a series of uploads of one size.
type proof struct {
	*bucket
	key  string
	size int
}

func (p *proof) run(ctx context.Context) error {
	if err := p.send(ctx, 'a', ""); err != nil {
		return fmt.Errorf("create an object: %w", err)
	}
	first, err := p.now(ctx, 'a')
	if err != nil {
		return err
	}
	if err := p.mustConflict("create an object that is there", p.send(ctx, 'b', "")); err != nil {
		return err
	}
	if err := p.send(ctx, 'c', first); err != nil {
		return fmt.Errorf("replace an object: %w", err)
	}
	if err := p.mustConflict("replace a stale version", p.send(ctx, 'd', first)); err != nil {
		return err
	}
	second, err := p.now(ctx, 'c')
	if err != nil {
		return err
	}
	if err := p.remove(ctx); err != nil {
		return err
	}
	return p.mustConflict("replace an object that is not there", p.send(ctx, 'e', second))
}

// send uploads the object filled with one byte.
func (p *proof) send(ctx context.Context, fill byte, version string) error {
	src := strings.NewReader(strings.Repeat(string(fill), p.size))
	return p.upload(ctx, p.key, src, int64(p.size), version, p.partSize())
}

func (p *proof) mustConflict(what string, err error) error {
	if errors.Is(err, ErrConflict) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: the store allowed it for an upload of %d bytes: it ignores If-Match or If-None-Match (on Google Cloud Storage, generations), "+
		"and two compactors would overwrite each other's rows; use a store that honours conditional writes", what, p.size)
}

// now returns the object's version after checking what it holds.
func (p *proof) now(ctx context.Context, fill byte) (version string, err error) {
	o, err := p.get(ctx, p.key)
	if err != nil {
		return "", fmt.Errorf("read an object: %w", err)
	}
	if o == nil {
		return "", errors.New("read an object: it is not there right after it was written: use a store whose reads are consistent")
	}
	defer o.file.Close()
	var b [1]byte
	if _, err := o.file.ReadAt(b[:], 0); err != nil {
		return "", err
	}
	if o.size != int64(p.size) || b[0] != fill {
		return "", errors.New("read an object: it is not what was written last: use a store whose reads are consistent")
	}
	return o.version, nil
}

func (p *proof) remove(ctx context.Context) error {
	err := p.Delete(ctx, p.prefix+p.key)
	if err == nil || p.absent(err) {
		return nil
	}
	return fmt.Errorf("remove an object: %w", p.explained(err))
}
