package lake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	// wholeBytes is up to which size an object is read as a whole as soon as more
	// is wanted of it than came with the first answer: a request takes as long.
	wholeBytes = 4 << 20

	// remoteReads is how many small reads of an object are under way at once.
	remoteReads = 16
)

// remote reads a version of an object in a bucket, by ranges. If the object is of
// another version by now, the error is ErrConflict. It is safe for concurrent use.
type remote struct {
	ctx     context.Context // of the requests: the object is a file to its readers
	bucket  *bucket
	key     string
	version string
	size    int64
	end     []byte                 // came with the first answer
	front   func() ([]byte, error) // all before, of an object that is not large
}

// unreached marks an error of reaching an object, which says nothing about what the
// object holds.
type unreached struct{ error }

// Unwrap returns what went wrong.
func (u unreached) Unwrap() error { return u.error }

// newRemote returns a reader of the version that an answer, with the object's end,
// is of.
func newRemote(ctx context.Context, b *bucket, key string, a *answer, end []byte) *remote {
	r := &remote{ctx: ctx, bucket: b, key: key, version: a.version, size: a.size, end: end}
	r.front = sync.OnceValues(func() ([]byte, error) {
		front := make([]byte, r.size-int64(len(r.end)))
		return front, r.fetch(front, 0)
	})
	return r
}

// ReadAt makes a request for what it does not have, and for nothing more if the
// object is large.
func (r *remote) ReadAt(p []byte, off int64) (int, error) {
	start := r.size - int64(len(r.end))
	if off >= start {
		return (&end{r.end, start}).ReadAt(p, off)
	}
	n := int(min(int64(len(p)), start-off))
	if start <= wholeBytes {
		front, err := r.front()
		if err != nil {
			return 0, err
		}
		copy(p[:n], front[off:])
	} else if err := r.fetch(p[:n], off); err != nil {
		return 0, err
	}
	if n == len(p) {
		return n, nil
	}
	m, err := r.ReadAt(p[n:], start)
	return n + m, err
}

// fetch fills p by one request.
func (r *remote) fetch(p []byte, off int64) error {
	a, err := r.bucket.open(r.ctx, r.bucket.prefix+r.key, span{off, int64(len(p))}, r.version)
	if err == nil {
		err = errors.Join(a.fill(p, off, r.version), a.body.Close())
	}
	switch {
	case err == nil:
		return nil
	case r.bucket.absent(err) || r.bucket.conflict(err, true):
		return unreached{fmt.Errorf("%w: %w", ErrConflict, err)}
	}
	return unreached{fmt.Errorf("read bytes %d to %d: %w", off, off+int64(len(p)), r.bucket.explained(err))}
}

// span is a stretch of an object: so many bytes, to the end if negative, from an
// offset, from the end if negative.
type span struct{ at, n int64 }

// answer is the answer to a request for a span, with the bytes from an offset on.
type answer struct {
	body    io.ReadCloser
	at      int64
	size    int64 // of the object
	version string
}

var errNoRanges = errors.New("the store answered with other bytes than were asked for: use one that serves ranges")

// fill reads the bytes at an offset. A store that ignores conditions on reads is
// found by the version that it tells.
func (a *answer) fill(p []byte, off int64, version string) error {
	if a.version != version {
		return fmt.Errorf("%w: it is of version %s by now, not %s", ErrConflict, a.version, version)
	}
	if a.at != off {
		return errNoRanges
	}
	if n, err := io.ReadFull(a.body, p); err != nil {
		return fmt.Errorf("the answer ended after %d of %d bytes: %w", n, len(p), err)
	}
	return nil
}
