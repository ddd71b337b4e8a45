package lake

import (
	"context"
	"io"
	"os"
	"sync"
	"time"

	"github.com/afterhours/afterhours"
)

// objects is where partitions are kept. Keys are relative to the lake's root.
type objects interface {
	// get opens the newest version of an object: whatever is read of it is of that
	// version. It returns nil if there certainly is none; what merely cannot be read
	// is an error. The context is also that of all reading.
	get(ctx context.Context, key string) (*object, error)

	// stat returns the newest version of an object like get, and a file only if the
	// backend needs one to know the version again.
	stat(ctx context.Context, key string) (*object, error)

	// tail reads the last n bytes of an object as a listing showed it. If it is of
	// another version by now, or gone, the error is ErrConflict.
	tail(ctx context.Context, o Object, n int64) ([]byte, error)

	// create opens a temporary file for put.
	create() (*os.File, error)

	// sync has the file's content last, as far as put relies on that.
	sync(f *os.File) error

	// put makes the draft, whose file create opened and sync has synced, the object,
	// if and only if the newest version is still base, nil for none, and returns the
	// new version, "" if the store did not say. If it is not, or if nobody knows
	// whether the request got through, the error is ErrConflict. Whatever the error,
	// the caller starts again from get.
	put(ctx context.Context, key string, d *draft, base *object) (version string, err error)

	// list visits every object.
	list(ctx context.Context, visit func(Object) error) error

	// prove shows that put keeps its promise, and cleans up behind itself.
	prove(ctx context.Context) error

	close() error
}

// object is one version of an object, open for reading if it has a file or is in a
// bucket.
type object struct {
	file    *os.File
	remote  *remote
	size    int64
	version string

	// closing is set once the file was replaced: closing it frees its content, which
	// takes the kernel a while, so it is done on the side.
	closing *sync.WaitGroup
}

func (o *object) reader() io.ReaderAt {
	if o.remote != nil {
		return o.remote
	}
	return o.file
}

func (o *object) close() error {
	switch {
	case o.file == nil:
		return nil
	case o.closing == nil:
		return o.file.Close()
	}
	o.closing.Go(func() { _ = o.file.Close() }) // nothing was written to it
	return nil
}

// Object is a partition as a listing shows it.
type Object struct {
	Hour     afterhours.Hour
	Key      string // relative to the lake's root
	Size     int64
	Modified time.Time
	Version  string
}
