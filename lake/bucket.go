package lake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"unicode"

	"gocloud.dev/blob"
)

// parquetType is the media type of partitions.
const parquetType = "application/vnd.apache.parquet"

// provider is what differs between S3 and Google Cloud Storage.
type provider interface {
	// open asks for a span of an object's newest version, if that is the given one,
	// "" for any. The key begins with the prefix.
	open(ctx context.Context, key string, r span, version string) (*answer, error)

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

// copier is a provider whose store copies ranges of objects itself.
type copier interface {
	// assemble makes the parts of a draft the object, if its newest version is still
	// the given one, from which those of the base are copied. Nothing is left behind
	// if it fails. The key begins with the prefix.
	assemble(ctx context.Context, key string, d *draft, parts []piece, version string) (made string, err error)
}

// sender is a provider that sends small objects at less cost than gocloud's writer
// does, which has memory for a part of a large one for each.
type sender interface {
	// send makes the bytes the object if its newest version is the given one, "" for
	// none. The key begins with the prefix.
	send(ctx context.Context, key string, content []byte, version string) (made string, err error)
}

// sentWhole is up to which size an object is small, in bytes.
const sentWhole = 8 << 20

// bucket keeps objects in an object store, below a prefix.
type bucket struct {
	*blob.Bucket
	provider
	prefix string // empty, or ends with a slash
	opt    Options
	copies atomic.Bool // the store was seen to copy ranges right
}

func openBucket(ctx context.Context, u *url.URL, opt Options) (string, objects, error) {
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
	if strings.Contains(prefix+"/", "../") || strings.ContainsFunc(prefix, unicode.IsControl) {
		return "", nil, fmt.Errorf("prefix %q: want no name that ends with two dots, and no control characters", prefix)
	}
	b, err := blob.OpenBucket(ctx, (&url.URL{Scheme: u.Scheme, Host: u.Host, RawQuery: u.RawQuery}).String())
	if err != nil {
		return "", nil, err
	}
	k := &bucket{Bucket: b, prefix: prefix, opt: opt}
	name := url.URL{Scheme: u.Scheme, Host: u.Host, Path: prefix}
	if prefix != "" {
		k.prefix += "/"
	}
	if u.Scheme == "s3" {
		k.provider, err = newS3(b, u)
	} else {
		k.provider, err = newGCS(b, u)
	}
	if err != nil {
		return "", nil, errors.Join(err, b.Close())
	}
	if u.Scheme == "s3" {
		// Buckets of the same name at different endpoints are different lakes.
		if e, err := url.Parse(q.Get("endpoint")); err == nil && e.Host != "" {
			name.RawQuery = url.Values{"endpoint": {(&url.URL{Scheme: e.Scheme, Host: e.Host, Path: e.Path}).String()}}.Encode()
		}
	}
	return name.String(), k, nil
}

// get asks for the object's end, which of most objects is all that is wanted. An
// empty object has none that a store would give.
func (b *bucket) get(ctx context.Context, key string) (*object, error) {
	var o *object
	a, err := b.open(ctx, b.prefix+key, span{-footerGuess, -1}, "")
	if err == nil {
		o, err = b.opened(ctx, key, a)
	}
	switch {
	case err == nil:
		return o, nil
	case b.absent(err):
		return nil, nil
	case b.conflict(err, false):
		return b.stat(ctx, key)
	}
	return nil, b.explained(err)
}

// opened returns the object whose end an answer has.
func (b *bucket) opened(ctx context.Context, key string, a *answer) (*object, error) {
	err := errNoRanges
	end := make([]byte, min(a.size, footerGuess))
	if a.at == a.size-int64(len(end)) {
		err = a.fill(end, a.at, a.version)
	}
	if err := errors.Join(err, a.body.Close()); err != nil {
		return nil, err
	}
	return &object{remote: newRemote(ctx, b, key, a, end), size: a.size, version: a.version}, nil
}

// stat asks for the object, but leaves its bytes where they are: unlike an answer
// without any, a refusal says whether it is the object that is absent.
func (b *bucket) stat(ctx context.Context, key string) (*object, error) {
	a, err := b.open(ctx, b.prefix+key, span{0, -1}, "")
	if err != nil {
		if b.absent(err) {
			return nil, nil
		}
		return nil, b.explained(err)
	}
	return &object{size: a.size, version: a.version}, a.body.Close()
}

func (b *bucket) tail(ctx context.Context, o Object, n int64) ([]byte, error) {
	r := &remote{ctx: ctx, bucket: b, key: o.Key, version: o.Version}
	buf := make([]byte, n)
	return buf, r.fetch(buf, o.Size-n)
}

func (b *bucket) sync(*os.File) error { return nil }

func (b *bucket) create() (*os.File, error) { return temp(b.opt.TempDir) }

func (b *bucket) put(ctx context.Context, key string, d *draft, base *object) (version string, err error) {
	if base != nil {
		version = base.version
	}
	if d.sum, err = d.verified.sum(); err != nil {
		return "", err
	}
	if parts := d.parts(); parts != nil && b.copies.Load() {
		return b.assemble(ctx, key, d, parts, version)
	}
	return b.upload(ctx, key, d.stream(), d.size, version, false)
}

// assemble is upload for a draft of which the store copies what it has.
func (b *bucket) assemble(ctx context.Context, key string, d *draft, parts []piece, version string) (string, error) {
	made, err := b.provider.(copier).assemble(ctx, b.prefix+key, d, parts, version)
	return made, b.failed(ctx, err, version)
}

// upload writes an object if its newest version is the given one, "" for none,
// and returns the version that it has become.
func (b *bucket) upload(ctx context.Context, key string, src io.Reader, size int64, version string, inParts bool) (string, error) {
	if s, direct := b.provider.(sender); direct && !inParts && size <= sentWhole {
		made, err := b.send(ctx, s, key, src, size, version)
		return made, b.failed(ctx, err, version)
	}
	o, made, err := b.writing(version, inParts)
	if err != nil {
		return "", err
	}
	o.ContentType, o.DisableContentTypeDetection = parquetType, true
	err = b.write(ctx, b.prefix+key, src, size, o)
	if err == nil {
		return made(), nil
	}
	return "", b.failed(ctx, err, version)
}

// failed says what an upload's error means.
func (b *bucket) failed(ctx context.Context, err error, version string) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	var slow net.Error
	if b.conflict(err, version != "") || errors.As(err, &slow) && slow.Timeout() {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return b.explained(err)
}

// send reads all of the source before anything is sent.
func (b *bucket) send(ctx context.Context, s sender, key string, src io.Reader, size int64, version string) (string, error) {
	content := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	n, err := content.ReadFrom(src)
	if err == nil && n != size {
		err = fmt.Errorf("upload ended after %d of %d bytes", n, size)
	}
	if err != nil {
		return "", err
	}
	return s.send(ctx, b.prefix+key, content.Bytes(), version)
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
