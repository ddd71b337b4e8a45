package lake

import (
	"context"
	"log/slog"
	"os"
	"time"
)

// Objects is an object store that [Open] does not know, such as one that a
// simulation controls. Keys are relative to the lake's root. Its methods are
// called by several goroutines at once.
type Objects interface {
	// Get opens the newest version of an object, bytes and version from one
	// response, nil if there certainly is none. The lake closes the file.
	Get(ctx context.Context, key string) (*Stored, error)

	// Stat is Get without the bytes: File may be nil.
	Stat(ctx context.Context, key string) (*Stored, error)

	// Tail reads the last n bytes of an object as a listing showed it. If it is of
	// another version by now, or gone, the error wraps ErrConflict.
	Tail(ctx context.Context, o Object, n int64) ([]byte, error)

	// Create opens a temporary file for Put. The lake closes and removes it.
	Create() (*os.File, error)

	// Put makes the file's content the object, if and only if the newest version
	// is still base, "" for none, and returns the new version. If it is not, or if
	// nobody knows whether the request got through, the error wraps ErrConflict.
	Put(ctx context.Context, key string, f *os.File, base string) (version string, err error)

	// List visits every object; it need not set Object.Hour.
	List(ctx context.Context, visit func(Object) error) error
}

// Stored is one version of an object, open for reading if it has a file.
type Stored struct {
	File    *os.File
	Size    int64
	Version string
}

// New returns a lake that keeps its partitions in o. url is what [Lake.URL]
// returns: it names the lake. There is nothing for [Lake.Prove] to try: that o
// honours conditions is the caller's to know.
func New(url string, o Objects, opt Options) *Lake {
	return &Lake{url: url, objects: custom{o}, opt: opt.withDefaults(), builders: newBuilders()}
}

func (o Options) withDefaults() Options {
	if o.TempDir == "" {
		o.TempDir = os.TempDir()
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.BlockRows <= 0 {
		o.BlockRows = defaultBlockRows
	}
	return o
}

// custom is how the lake sees a caller's objects.
type custom struct{ o Objects }

func (c custom) get(ctx context.Context, key string) (*object, error) {
	s, err := c.o.Get(ctx, key)
	return s.object(), err
}

func (c custom) stat(ctx context.Context, key string) (*object, error) {
	s, err := c.o.Stat(ctx, key)
	return s.object(), err
}

func (s *Stored) object() *object {
	if s == nil {
		return nil
	}
	return &object{file: s.File, size: s.Size, version: s.Version}
}

func (c custom) tail(ctx context.Context, o Object, n int64) ([]byte, error) {
	return c.o.Tail(ctx, o, n)
}

func (c custom) create() (*os.File, error) { return c.o.Create() }

func (c custom) sync(*os.File) error { return nil }

func (c custom) put(ctx context.Context, key string, d *draft, base *object) (string, error) {
	var version string
	if base != nil {
		version = base.version
	}
	return c.o.Put(ctx, key, d.file, version)
}

func (c custom) list(ctx context.Context, visit func(Object) error) error {
	return c.o.List(ctx, visit)
}

func (c custom) prove(context.Context) error { return nil }

func (c custom) close() error { return nil }
