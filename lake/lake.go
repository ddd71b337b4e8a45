package lake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"runtime"
	"time"
)

var (
	// ErrConflict is wrapped when somebody else published since the base was
	// read, or when nobody knows whether the own publish got through. Start
	// again from [Lake.Base].
	ErrConflict = errors.New("the partition has changed since it was read")

	// ErrRefused is wrapped when a partition must not be rewritten by this
	// build: it is of another hour, of a newer format, has columns that this
	// build does not know or knows otherwise, or is damaged. The object is left
	// as it is; trying again does not help.
	ErrRefused = errors.New("the partition must not be rewritten")

	// ErrNotCovered is wrapped when a rebuild was not given every row that the
	// base holds. Merge instead.
	ErrNotCovered = errors.New("the rows read do not cover the partition")
)

// Options are how a lake is used. The zero value is fine.
type Options struct {
	TempDir string           // for sorting and for uploads; the system's if empty
	Logger  *slog.Logger     // slog.Default() if nil
	Now     func() time.Time // time.Now if nil; for the history of publishes

	// BlockRows is how many rows a row group has at most, save for the quarter that
	// it may grow; 16,384 if 0. A strip has a part of that: see the package.
	BlockRows int
}

// Lake is where partitions are published. It is safe for concurrent use, also
// by several processes.
type Lake struct {
	url     string
	objects objects
	opt     Options

	builders chan struct{} // a token for each block that is being made
}

// Open opens a lake by its URL: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or
// file:///DIR. Parameters such as region and endpoint are those of
// gocloud.dev/blob; credentials are found as the SDK of each cloud does it.
// Only a directory is touched; [Lake.Prove] tries the others.
func Open(ctx context.Context, rawURL string, o Options) (*Lake, error) {
	o = o.withDefaults()
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("open lake: %w", err)
	}
	l := &Lake{opt: o, builders: newBuilders()}
	switch u.Scheme {
	case "s3", "gs":
		l.url, l.objects, err = openBucket(ctx, u, o)
	case "file":
		l.url, l.objects, err = openDir(u, o.Now())
	default:
		err = fmt.Errorf("scheme %q: want s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or file:///DIR", u.Scheme)
	}
	if err != nil {
		return nil, fmt.Errorf("open lake %s: %w", u.Redacted(), err)
	}
	return l, nil
}

// newBuilders bounds how many blocks of all rewrites are made at once: each takes
// a processor, and a few times blockBytes of memory.
func newBuilders() chan struct{} { return make(chan struct{}, processors) }

// processors is how many there are. A program may have given itself more threads.
var processors = runtime.GOMAXPROCS(0)

// URL names the lake: the same for every way to write its URL, and without
// secrets.
func (l *Lake) URL() string { return l.url }

// Prove shows that the lake can be written to and that it honours the conditions
// on which no publish is ever lost: for uploads in one request and in several,
// with a stale version and with one of an absent object. Call it once before
// publishing. It writes and removes objects of its own, below _proof or .tmp. Only if
// it finds that the store copies ranges as they must be are rewrites left to copy; if
// not it logs why, which is no error.
func (l *Lake) Prove(ctx context.Context) error {
	if err := l.objects.prove(ctx); err != nil {
		return fmt.Errorf("prove lake %s: %w", l.url, err)
	}
	return nil
}

// Hours visits every partition, in any order, by listing: none is opened.
// Objects that are no partitions are skipped.
func (l *Lake) Hours(ctx context.Context, visit func(Object) error) error {
	err := l.objects.list(ctx, func(o Object) error {
		if h, ok := hourOf(o.Key); ok {
			o.Hour = h
			if err := visit(o); err != nil {
				return stopped{err}
			}
		}
		return nil
	})
	var s stopped
	if errors.As(err, &s) {
		return s.error
	}
	if err != nil {
		return fmt.Errorf("list lake %s: %w", l.url, err)
	}
	return nil
}

// Close releases connections. Bases and rewrites must be closed before.
func (l *Lake) Close() error { return l.objects.close() }

// temp returns a temporary file that has no name any more: it is gone when it is
// closed, however that comes about.
func temp(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "afterhours-*")
	if err != nil {
		return nil, fmt.Errorf("create temporary file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("create temporary file: %w", err), f.Close())
	}
	return f, nil
}
